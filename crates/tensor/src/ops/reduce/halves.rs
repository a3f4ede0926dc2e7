//! Reductions of tensors larger than one binding of the adapter.

use super::kind::Kind;
use super::{reduce, without};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::elementwise::compute;
use crate::ops::pieces::{half, widest};
use crate::shape::numel;
use crate::tensor::Tensor;

/// The dimension to cut. Two partial results must fit one binding together; else a dimension that is kept is cut first.
pub(super) fn side(x: &Tensor, reduced: &[bool]) -> Option<usize> {
    let outputs = numel(&without(x.shape(), reduced));
    let few = (2 * outputs * compute(x.dtype()).size()) as u64 <= x.device().max_binding_bytes();
    widest(std::slice::from_ref(x), |at| few || !reduced[at])
}

/// What [`reduce`] computes, in two parts along dimension `at`.
pub(super) fn reduce_halves(
    op: &'static str,
    kind: Kind,
    x: &Tensor,
    reduced: &[bool],
    scale: f32,
    (shape, dtype): (&[usize], DType),
    at: usize,
) -> Result<Tensor> {
    let (scale_of_part, dtype_of_part) = match reduced[at] {
        true => (1.0, compute(x.dtype())),
        false => (scale, dtype),
    };
    let side = x.shape()[at];
    let half = half(side);
    let part = |start: usize, length: usize| {
        let part = x.piece(at, start, length);
        let kept = without(part.shape(), reduced);
        reduce(
            op,
            kind,
            &part,
            reduced,
            scale_of_part,
            (&kept, dtype_of_part),
        )
    };
    let parts = [part(0, half)?, part(half, side - half)?];
    let parts = [&parts[0], &parts[1]];
    if !reduced[at] {
        let place = reduced[..at].iter().filter(|gone| !**gone).count();
        return Tensor::concat(&parts, place as isize)?.reshape(shape);
    }
    let both = Tensor::stack(&parts, 0)?;
    let mut first = vec![false; both.rank()];
    first[0] = true;
    reduce(op, kind, &both, &first, scale, (shape, dtype))
}
