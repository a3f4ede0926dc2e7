//! Rotary positions.

use std::sync::{Arc, Mutex, PoisonError};

use wgrad_tensor::{Device, Error, Result, Rope, Tensor, rope_frequencies, rope_table};

use crate::{Module, Visitor};

/// Rows of the first table.
const FIRST: usize = 256;

/// Which channels of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RotaryPairs {
    /// Channel c with channel c + D / 2: GPT-NeoX, Llama in `transformers`.
    #[default]
    Halves,
    /// Channel 2 c with channel 2 c + 1: GPT-J, Llama's own files, GGUF.
    Interleaved,
}

/// Rotary positions (RoFormer, arXiv:2104.09864): pairs of channels of queries and keys are turned by angles that
/// grow with the position. The table of cosines and sines is made when it is needed and grows with the longest text
/// seen: a model may allow a million positions and be given ten. Clones share it. It is not saved.
///
/// ```
/// use wgrad_nn::{RotaryEmbedding, RotaryPairs};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let rotary = RotaryEmbedding::new(&device, 4, 10_000.0, 2048, RotaryPairs::Halves);
/// let q = Tensor::ones(&device, &[1, 3, 2, 4], DType::F32)?; // (B, T, H, D)
/// let turned = rotary.forward(&q, 7)?; // positions 7, 8 and 9
/// assert_eq!(turned.shape(), q.shape());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RotaryEmbedding(Arc<Inner>);

struct Inner {
    device: Device,
    frequencies: Vec<f64>,
    max_positions: usize,
    pairs: RotaryPairs,
    table: Mutex<Option<Tensor>>,
}

impl RotaryEmbedding {
    /// For heads whose first `dims` channels are turned, with the base `theta` (10,000 in the paper), and at most
    /// `max_positions` positions.
    pub fn new(
        device: &Device,
        dims: usize,
        theta: f64,
        max_positions: usize,
        pairs: RotaryPairs,
    ) -> Self {
        let frequencies = rope_frequencies(dims, theta);
        Self::with_frequencies(device, frequencies, max_positions, pairs)
    }

    /// With the angle of each pair at position 1, for long-context variants that change them.
    pub fn with_frequencies(
        device: &Device,
        frequencies: Vec<f64>,
        max_positions: usize,
        pairs: RotaryPairs,
    ) -> Self {
        Self(Arc::new(Inner {
            device: device.clone(),
            frequencies,
            max_positions,
            pairs,
            table: Mutex::new(None),
        }))
    }

    /// Turns the heads of `x` (B, T, H, D), whose first row has the position `offset`.
    ///
    /// Errors: more positions than the model has; shapes that do not fit.
    pub fn forward(&self, x: &Tensor, offset: usize) -> Result<Tensor> {
        let rows = x.shape().get(1).copied().unwrap_or(0);
        let options = Rope {
            interleaved: self.0.pairs == RotaryPairs::Interleaved,
            heads_behind: true,
            offset,
            ..Rope::default()
        };
        x.rope(&self.table(offset + rows)?, &options)
    }

    /// A table with at least `positions` rows, as `Tensor::rope` takes it. Errors where the model has fewer.
    pub fn table(&self, positions: usize) -> Result<Tensor> {
        let inner = &*self.0;
        if positions > inner.max_positions {
            return Err(Error::op(
                "rotary",
                format!(
                    "a text of {positions} tokens is longer than the model's {} positions",
                    inner.max_positions
                ),
            ));
        }
        let mut table = inner.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = &*table
            && table.shape()[0] >= positions
        {
            return Ok(table.clone());
        }
        let rows = positions.next_power_of_two().max(FIRST);
        let rows = rows.min(inner.max_positions);
        let new = rope_table(&inner.device, rows, &inner.frequencies)?;
        Ok(table.insert(new).clone())
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotaryEmbedding")
            .field("dims", &(2 * self.frequencies.len()))
            .field("max_positions", &self.max_positions)
            .field("pairs", &self.pairs)
            .finish_non_exhaustive()
    }
}

/// Its table is computed, not saved.
impl Module for RotaryEmbedding {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}
