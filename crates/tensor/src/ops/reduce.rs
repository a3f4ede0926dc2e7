//! Reductions over dimensions.

use crate::cases::Case;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Tensor {
    /// Sums the dimensions that broadcasting repeated, down to `shape`: the transpose of `expand`.
    pub fn sum_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        Err(Error::op("sum_to", "not yet"))
    }
}

/// The rows of the op matrix.
pub fn cases(_out: &mut Vec<Case>) {}
