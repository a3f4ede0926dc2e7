//! An operand of a matrix product as the kernels see it.

use crate::dtype::DType;
use crate::error::Result;
use crate::ops::pieces::Binding;
use crate::shape::broadcast_strides;
use crate::tensor::Tensor;

/// One operand as the kernels see it: strides in elements, batch dimensions padded to four.
#[derive(Clone)]
pub(super) struct Operand {
    pub tensor: Tensor,
    pub binding: Binding,
    pub row: usize,
    pub col: usize,
    pub batch: [u32; 4],
}

impl Operand {
    pub fn new(tensor: &Tensor, lead: &[usize]) -> Operand {
        let rank = tensor.rank();
        let (shape, strides) = (tensor.shape(), tensor.strides());
        let expanded = broadcast_strides(&shape[..rank - 2], &strides[..rank - 2], lead);
        let mut batch = [0; 4];
        for (slot, stride) in batch[4 - lead.len()..].iter_mut().zip(expanded) {
            *slot = stride as u32;
        }
        Operand {
            tensor: tensor.clone(),
            binding: tensor.binding(),
            row: strides[rank - 2],
            col: strides[rank - 1],
            batch,
        }
    }

    /// Whether it is contiguous along one dimension and everything else begins at multiples of four.
    fn in_fours(&self) -> bool {
        let step = match (self.row, self.col) {
            (row, 1) => row,
            (1, col) => col,
            _ => return false,
        };
        step.is_multiple_of(4)
            && self.tensor.offset().is_multiple_of(4)
            && self.batch.iter().all(|s| s.is_multiple_of(4))
    }

    /// Whether the subgroup kernel can read it.
    pub fn in_texels(&self) -> bool {
        self.tensor.dtype() == DType::F32
            && self.in_fours()
            && self.tensor.device().fits_texture(self.tensor.buffer())
    }

    /// Whether the tiled kernel can load vectors of it; `side` is the one that it lies contiguous along.
    pub fn in_vectors(&self, side: usize) -> bool {
        self.in_fours() && side.is_multiple_of(4)
    }
}

/// A copy as another type, both sides zero-padded to multiples of `side`, contiguous along the side that `tensor` is.
pub(super) fn laid_out(tensor: &Tensor, dtype: DType, side: usize) -> Result<Tensor> {
    let rank = tensor.rank();
    if tensor.strides()[rank - 2] == 1 && tensor.strides()[rank - 1] != 1 {
        return laid_out(&tensor.detach().transpose(-2, -1)?, dtype, side)?.transpose(-2, -1);
    }
    let mut shape = tensor.shape().to_vec();
    for length in &mut shape[rank - 2..] {
        *length = length.next_multiple_of(side);
    }
    let out = if shape == tensor.shape() {
        Tensor::empty(tensor.device(), &shape, dtype)?
    } else {
        Tensor::zeros(tensor.device(), &shape, dtype)?
    };
    let window =
        out.narrow(-2, 0, tensor.shape()[rank - 2])?
            .narrow(-1, 0, tensor.shape()[rank - 1])?;
    tensor.detach().copy_into(&window)?;
    Ok(out)
}
