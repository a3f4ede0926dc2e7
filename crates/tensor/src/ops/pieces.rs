//! Tensors larger than one binding of the adapter: which bytes of a buffer a view needs, and how ops cut their work.

use crate::error::Result;
use crate::tensor::Tensor;

/// Pieces of one dimension end at multiples of this many elements where they can: bindings begin at multiples of 256
/// bytes, and random words come in fours.
const STEP: usize = 64;

/// The part of a buffer that is bound for a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Bytes; the offset is a multiple of 256.
    pub offset: u64,
    pub bytes: u64,
    /// The place of the view's first element behind it, in elements.
    pub lead: usize,
}

impl Tensor {
    /// What to bind: the whole buffer where that is possible, so that views share what the driver keeps for a binding;
    /// else the bytes that the view spans.
    pub(crate) fn binding(&self) -> Binding {
        let whole = self.buffer().size();
        if whole <= self.device().max_binding_bytes() {
            return Binding {
                offset: 0,
                bytes: whole,
                lead: self.offset(),
            };
        }
        let size = self.dtype().size();
        let steps = self.shape().iter().zip(self.strides());
        let last: usize = steps
            .map(|(side, stride)| side.saturating_sub(1) * stride)
            .sum();
        let start = self.offset() * size;
        let from = start & !255;
        let end = (start + (last + 1) * size).next_multiple_of(16) as u64;
        Binding {
            offset: from as u64,
            bytes: end.min(whole) - from as u64,
            lead: (start - from) / size,
        }
    }

    /// Whether one binding holds the bytes that it spans.
    pub(crate) fn fits_binding(&self) -> bool {
        self.binding().bytes <= self.device().max_binding_bytes()
    }

    /// The same elements over a buffer that one binding holds, if what they span allows it: for kernels that bind whole
    /// buffers. Outside the graph.
    pub(crate) fn bindable(&self) -> Result<Tensor> {
        if self.buffer().size() <= self.device().max_binding_bytes() {
            return Ok(self.detach());
        }
        let binding = self.binding();
        let part = self.buffer().part(binding.offset, binding.bytes)?;
        Ok(self.within(part, binding.lead))
    }

    /// `length` elements of dimension `at` from `start`, outside the graph.
    pub(crate) fn piece(&self, at: usize, start: usize, length: usize) -> Tensor {
        let mut shape = self.shape().to_vec();
        shape[at] = length;
        let offset = self.offset() + start * self.strides()[at];
        self.view(shape, self.strides().to_vec(), offset)
    }
}

/// Calls `f` with `tensors`, all of one shape, if each fits one binding; else with pieces of them that do, or that cannot
/// be cut further.
pub(crate) fn pieces(
    tensors: &[Tensor],
    f: &mut impl FnMut(&[Tensor]) -> Result<()>,
) -> Result<()> {
    let Some(first) = tensors.first() else {
        return Ok(());
    };
    if first.numel() == 0 || tensors.iter().all(Tensor::fits_binding) {
        return f(tensors);
    }
    if first.rank() > 1 && tensors.iter().all(Tensor::is_contiguous) {
        let flat = |x: &Tensor| x.view(vec![x.numel()], vec![1], x.offset());
        return pieces(&tensors.iter().map(flat).collect::<Vec<_>>(), f);
    }
    let Some(at) = widest(tensors, |_| true) else {
        return f(tensors);
    };
    let side = first.shape()[at];
    let half = half(side);
    for (start, length) in [(0, half), (half, side - half)] {
        let parts: Vec<Tensor> = tensors.iter().map(|x| x.piece(at, start, length)).collect();
        pieces(&parts, f)?;
    }
    Ok(())
}

/// The dimension of tensors of one shape that spans the most memory, of those that `may` be cut and have more than one
/// element.
pub(crate) fn widest(tensors: &[Tensor], may: impl Fn(usize) -> bool) -> Option<usize> {
    let shape = tensors.first()?.shape();
    let span = |at: &usize| {
        let spans = tensors.iter().map(|x| x.strides()[*at] * (shape[*at] - 1));
        spans.max()
    };
    (0..shape.len())
        .filter(|at| shape[*at] > 1 && may(*at))
        .max_by_key(span)
}

/// Where to cut a side in two.
pub(crate) fn half(side: usize) -> usize {
    match (side / 2).next_multiple_of(STEP) {
        half if half < side => half,
        _ => side / 2,
    }
}

/// `f` of the rows of a contiguous `x` (..., C) in two halves, one behind the other; with gradients.
pub(crate) fn row_halves(
    x: &Tensor,
    f: impl Fn(&Tensor, usize) -> Result<Tensor>,
) -> Result<Tensor> {
    let length = x.shape().last().copied().unwrap_or(1);
    let rows = x.numel() / length.max(1);
    let flat = x.reshape(&[rows, length])?;
    let first = half(rows);
    let one = f(&flat.narrow(0, 0, first)?, 0)?;
    let two = f(&flat.narrow(0, first, rows - first)?, first)?;
    Tensor::concat(&[&one, &two], 0)
}
