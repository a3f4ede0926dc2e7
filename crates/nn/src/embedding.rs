//! The table of rows by id.

use wgrad_tensor::{DType, Error, Result, Tensor};

use crate::{Init, Module, VarBuilder};

/// A row of the table for each id, as `nn.Embedding`.
///
/// ```
/// use wgrad_nn::{Embedding, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let table = Embedding::new(10, 4, &VarBuilder::fresh(&device, &generator).pp("embedding"))?;
/// let ids = Tensor::from_slice(&device, &[3u32, 9, 3], &[1, 3])?;
/// assert_eq!(table.forward(&ids)?.shape(), [1, 3, 4]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Module)]
pub struct Embedding {
    weight: Tensor,
    padding_idx: Option<usize>,
}

impl Embedding {
    /// `rows` rows of `channels` numbers, normal with standard deviation 1, as PyTorch's.
    pub fn new(rows: usize, channels: usize, vb: &VarBuilder) -> Result<Self> {
        let normal = Init::Normal {
            mean: 0.0,
            std: 1.0,
        };
        Self::with_init(rows, channels, normal, vb)
    }

    /// With these initial values.
    pub fn with_init(rows: usize, channels: usize, init: Init, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get(&[rows, channels], "weight", init)?,
            padding_idx: None,
        })
    }

    /// From a table that exists. Errors unless it is (V, C).
    pub fn from_tensor(weight: Tensor) -> Result<Self> {
        if weight.rank() == 2 {
            return Ok(Self {
                weight,
                padding_idx: None,
            });
        }
        Err(Error::op(
            "embedding",
            format!("weight {weight:?} is not (V, C)"),
        ))
    }

    /// With a row that gets no gradient, or none. Errors unless the table has it.
    pub fn with_padding_idx(self, padding_idx: Option<usize>) -> Result<Self> {
        let rows = self.weight.shape()[0];
        match padding_idx {
            Some(row) if row >= rows => Err(Error::op(
                "embedding",
                format!("padding_idx is {row}, the table has {rows} rows"),
            )),
            padding_idx => Ok(Self {
                padding_idx,
                ..self
            }),
        }
    }

    /// A copy with its table in another float type, for inference. The copy is not part of the graph.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            weight: self.weight.detach().cast(dtype)?,
            padding_idx: self.padding_idx,
        })
    }

    /// (V, C)
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The row that gets no gradient.
    pub fn padding_idx(&self) -> Option<usize> {
        self.padding_idx
    }

    /// `ids` are u32 of any shape, below V (ids beyond read the last row); the result has C behind it.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        wgrad_tensor::ops::embedding::embedding(&self.weight, ids, self.padding_idx)
    }
}
