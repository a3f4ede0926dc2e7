//! The table of rows by id.

use wgrad_tensor::{Device, Error, Generator, Result, Tensor};

use crate::{Init, Parameters, join};

/// A row of `weight` for each id, as `nn.Embedding`.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// (V, C)
    pub weight: Tensor,
    /// The row that gets no gradient.
    pub padding_idx: Option<usize>,
}

impl Embedding {
    /// `rows` rows of `channels` numbers; PyTorch's initial values are `Init::Normal { mean: 0.0, std: 1.0 }`.
    pub fn new(
        device: &Device,
        rows: usize,
        channels: usize,
        init: Init,
        generator: &Generator,
    ) -> Result<Self> {
        Ok(Self {
            weight: init.tensor(device, &[rows, channels], generator)?,
            padding_idx: None,
        })
    }

    /// From a table that exists. Errors unless it is (V, C) and has a row `padding_idx`.
    pub fn from_tensors(weight: Tensor, padding_idx: Option<usize>) -> Result<Self> {
        let fits = weight.rank() == 2 && padding_idx.is_none_or(|row| row < weight.shape()[0]);
        if fits {
            return Ok(Self {
                weight,
                padding_idx,
            });
        }
        Err(Error::op(
            "embedding",
            format!("weight {weight:?} is not (V, C) with a row {padding_idx:?}"),
        ))
    }

    /// `ids` are u32 of any shape, below V (ids beyond read the last row); the result has C behind it.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        wgrad_tensor::ops::embedding::embedding(&self.weight, ids, self.padding_idx)
    }

    /// Appends `weight`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        out.push((join(prefix, "weight"), self.weight.clone()));
    }
}
