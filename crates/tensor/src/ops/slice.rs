//! Parts of a tensor along a dimension, as views: the same memory, no kernel runs.

use crate::autograd::{record_narrow, record_view};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::dim;
use crate::tensor::Tensor;

impl Tensor {
    /// Pieces of the given sizes along dimension `at`, as views; the sizes must add up to its side.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0, 5.0], &[5])?;
    /// let parts = x.split(0, &[2, 3])?;
    /// assert_eq!(parts[1].to_vec::<f32>()?, [3.0, 4.0, 5.0]);
    /// assert_eq!(x.slice(0, 0, 5, 2)?.to_vec::<f32>()?, [1.0, 3.0, 5.0]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn split(&self, at: isize, sizes: &[usize]) -> Result<Vec<Tensor>> {
        let at = dim("split", at, self.rank())?;
        let sum = sizes
            .iter()
            .try_fold(0usize, |sum, size| sum.checked_add(*size));
        if sum.is_none() || sum.as_ref() != self.shape().get(at) {
            return Err(Error::op(
                "split",
                format!(
                    "sizes {sizes:?} do not add up to dimension {at} of {:?}",
                    self.shape()
                ),
            ));
        }
        let mut start = 0;
        sizes
            .iter()
            .map(|size| {
                let piece = self.narrow(at as isize, start, *size);
                start += size;
                piece
            })
            .collect()
    }

    /// Views of equal size along dimension `at`, the last one smaller if it must be. There may be fewer
    /// than `chunks`, as in PyTorch: 6 in 4 chunks are 2, 2 and 2.
    pub fn chunk(&self, at: isize, chunks: usize) -> Result<Vec<Tensor>> {
        let at = dim("chunk", at, self.rank())?;
        if chunks == 0 || self.rank() == 0 {
            return Err(Error::op(
                "chunk",
                format!("{:?} cannot be cut into {chunks} chunks", self.shape()),
            ));
        }
        let side = self.shape()[at];
        let size = side.div_ceil(chunks).max(1);
        let mut sizes = vec![size; side / size];
        if !side.is_multiple_of(size) || side == 0 {
            sizes.push(side % size);
        }
        self.split(at as isize, &sizes)
    }

    /// Every `step`-th element of dimension `at` from `start` up to but without `end`, as a view. As in
    /// Python, negative positions count from the back and those beyond an end are moved to it;
    /// `isize::MAX` is "to the end". `step` must be 1 or more.
    pub fn slice(&self, at: isize, start: isize, end: isize, step: usize) -> Result<Tensor> {
        let at = dim("slice", at, self.rank())?;
        if step == 0 || self.rank() == 0 {
            return Err(Error::op(
                "slice",
                format!(
                    "{:?} cannot be sliced with step {step}; it needs a dimension and a step of 1 or more",
                    self.shape()
                ),
            ));
        }
        let side = self.shape()[at];
        let place = |position: isize| match usize::try_from(position) {
            Ok(position) => position.min(side),
            Err(_) => side.saturating_sub(position.unsigned_abs()),
        };
        let (start, end) = (place(start), place(end));
        let length = end.saturating_sub(start).div_ceil(step);
        let full = self.shape().to_vec();
        let y = every(self, at, start, length, step);
        if step == 1 && length > 0 {
            return Ok(record_narrow(self, y, at, start));
        }
        Ok(record_view("slice", self, y, false, move |dy| {
            let dx = Tensor::zeros(dy.device(), &full, dy.dtype())?;
            dy.copy_into(&every(&dx, at, start, length, step))?;
            Ok(dx)
        }))
    }
}

/// The strided view of [`Tensor::slice`], outside the graph.
fn every(x: &Tensor, at: usize, start: usize, length: usize, step: usize) -> Tensor {
    let (mut shape, mut strides) = (x.shape().to_vec(), x.strides().to_vec());
    // An empty view stays within the buffer.
    let start = if length == 0 { 0 } else { start };
    let offset = x.offset() + start * strides[at];
    shape[at] = length;
    strides[at] *= step;
    x.view(shape, strides, offset)
}

fn slice_reference(
    x: &HostArray,
    at: usize,
    start: usize,
    length: usize,
    step: usize,
) -> HostArray {
    let mut shape = x.shape.clone();
    shape[at] = length;
    HostArray::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        i[at] = start + i[at] * step;
        x.get(&i)
    })
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for layout in [Layout::Contiguous, Layout::Transposed, Layout::Sliced] {
            slice_cases(out, dtype, layout);
        }
    }
    for dtype in [DType::U32, DType::I32] {
        let input = |shape: &[usize]| Input::new(shape, dtype).index(1000);
        out.push(Case::new(
            "slice",
            "x0[:, 1:7:2]",
            vec![input(&[3, 8])],
            |x| x[0].slice(1, 1, 7, 2)?.contiguous(),
            |x: &[HostArray]| slice_reference(&x[0], 1, 1, 3, 2),
        ));
    }
    rejections(out);
}

fn slice_cases(out: &mut Vec<Case>, dtype: DType, layout: Layout) {
    let input = |shape: &[usize]| vec![Input::new(shape, dtype).layout(layout)];
    // (start, end, step) and what of a side of 10 they reach: (first, length).
    for (bounds, (first, length)) in [
        ((0, isize::MAX, 1), (0, 10)),
        ((2, 9, 3), (2, 3)),
        ((-4, -1, 2), (6, 2)),
        ((-50, 4, 1), (0, 4)),
        ((7, 3, 1), (7, 0)),
    ] {
        let (start, end, step) = bounds;
        let shown = if end == isize::MAX {
            String::new()
        } else {
            end.to_string()
        };
        for (at, torch) in [
            (0isize, format!("x0[{start}:{shown}:{step}]")),
            (1, format!("x0[:, {start}:{shown}:{step}]")),
            (-1, format!("x0[:, :, {start}:{shown}:{step}]")),
        ] {
            let place = if at < 0 { 2 } else { at as usize };
            let mut shape = [3, 4, 5];
            shape[place] = 10;
            out.push(Case::new(
                "slice",
                &torch,
                input(&shape),
                move |x| x[0].slice(at, start, end, step)?.contiguous(),
                move |x: &[HostArray]| slice_reference(&x[0], place, first, length, step),
            ));
        }
    }
    for (sizes, at, take) in [
        (vec![1, 2, 3], 0isize, 1usize),
        (vec![4, 3], 1, 0),
        (vec![7, 0], -1, 1),
    ] {
        let place = if at < 0 { 1 } else { at as usize };
        let first = sizes[..take].iter().sum();
        let length = sizes[take];
        out.push(Case::new(
            "split",
            &format!("torch.split(x0, {sizes:?}, {at})[{take}]"),
            input(&[6, 7]),
            move |x| x[0].split(at, &sizes)?[take].contiguous(),
            move |x: &[HostArray]| slice_reference(&x[0], place, first, length, 1),
        ));
    }
    for (chunks, at, take, first, length) in [
        (4usize, 0usize, 2usize, 4, 2),
        (2, 1, 1, 4, 3),
        (1, 1, 0, 0, 7),
        (9, 0, 5, 5, 1),
    ] {
        out.push(Case::new(
            "chunk",
            &format!("torch.chunk(x0, {chunks}, {at})[{take}]"),
            input(&[6, 7]),
            move |x| x[0].chunk(at as isize, chunks)?[take].contiguous(),
            move |x: &[HostArray]| slice_reference(&x[0], at, first, length, 1),
        ));
    }
}

fn rejections(out: &mut Vec<Case>) {
    let one = || vec![Input::new(&[4, 3], DType::F32)];
    let first = |pieces: Vec<Tensor>| pieces[0].clone();
    out.extend([
        Case::rejects(
            "split",
            one(),
            move |x| x[0].split(0, &[1, 2]).map(first),
            "do not add up",
        ),
        Case::rejects(
            "split",
            one(),
            move |x| x[0].split(2, &[4]).map(first),
            "out of range",
        ),
        Case::rejects(
            "chunk",
            one(),
            move |x| x[0].chunk(0, 0).map(first),
            "into 0 chunks",
        ),
        Case::rejects(
            "slice",
            one(),
            |x| x[0].slice(0, 0, 2, 0),
            "a step of 1 or more",
        ),
        Case::rejects("slice", one(), |x| x[0].slice(-3, 0, 2, 1), "out of range"),
    ]);
}
