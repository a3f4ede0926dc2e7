//! Views: the same memory with another shape. No kernel runs, but for reshapes of scattered memory.

use crate::autograd::{record_narrow, record_view};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{broadcast_strides, contiguous_strides, dim, new_dim};
use crate::tensor::Tensor;

impl Tensor {
    /// The same elements, row-major, in another shape. Copies only what is not contiguous. One side may
    /// be given as `usize::MAX`, to be worked out from the rest (PyTorch's -1).
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
    /// assert_eq!(x.reshape(&[3, 2])?.shape(), [3, 2]);
    /// assert_eq!(x.transpose(0, 1)?.to_vec::<f32>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    /// assert_eq!(x.narrow(-1, 1, 2)?.to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);
    /// assert_eq!(x.unsqueeze(0)?.expand(&[4, 2, 3])?.shape(), [4, 2, 3]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        let mut shape = shape.to_vec();
        let refuse = |shape: &[usize]| {
            Error::op(
                "reshape",
                format!(
                    "{:?} has {} elements, {shape:?} does not",
                    self.shape(),
                    self.numel()
                ),
            )
        };
        if let Some(at) = shape.iter().position(|side| *side == usize::MAX) {
            let rest: usize = shape
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != at)
                .map(|(_, s)| s)
                .product();
            if rest == 0 || !self.numel().is_multiple_of(rest) {
                return Err(refuse(&shape));
            }
            shape[at] = self.numel() / rest;
        }
        if shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s)) != Some(self.numel()) {
            return Err(refuse(&shape));
        }
        let packed = self.contiguous()?;
        let strides = contiguous_strides(&shape);
        let from = self.shape().to_vec();
        let y = packed.view(shape, strides, packed.offset());
        Ok(record_view("reshape", &packed, y, true, move |dy| {
            dy.reshape(&from)
        }))
    }

    /// The dimensions in another order: dimension `i` of the result is dimension `dims[i]` of `self`; negative ones count
    /// from the back.
    pub fn permute(&self, dims: &[isize]) -> Result<Tensor> {
        let places = dims
            .iter()
            .map(|d| dim("permute", *d, self.rank()))
            .collect::<Result<Vec<usize>>>()?;
        let mut inverse = vec![usize::MAX; self.rank()];
        for (to, from) in places.iter().enumerate() {
            if let Some(slot) = inverse.get_mut(*from) {
                *slot = to;
            }
        }
        if dims.len() != self.rank() || inverse.contains(&usize::MAX) {
            return Err(Error::op(
                "permute",
                format!(
                    "{dims:?} does not name each dimension of {:?} once",
                    self.shape()
                ),
            ));
        }
        Ok(self.permuted(&places, inverse))
    }

    /// `dims` name each dimension once; `inverse` undoes them.
    fn permuted(&self, dims: &[usize], inverse: Vec<usize>) -> Tensor {
        let back = dims.to_vec();
        let pick = |values: &[usize]| dims.iter().map(|d| values[*d]).collect::<Vec<_>>();
        let y = self.view(pick(self.shape()), pick(self.strides()), self.offset());
        record_view("permute", self, y, false, move |dy| {
            Ok(dy.permuted(&inverse, back.clone()))
        })
    }

    /// Two dimensions swapped; negative ones count from the back.
    pub fn transpose(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (
            dim("transpose", a, self.rank())?,
            dim("transpose", b, self.rank())?,
        );
        let mut dims: Vec<usize> = (0..self.rank()).collect();
        // PyTorch allows dimension 0 for a scalar.
        if self.rank() > 0 {
            dims.swap(a, b);
        }
        Ok(self.permuted(&dims, dims.clone()))
    }

    /// Sides of 1 repeated, and dimensions added in front, without copying.
    pub fn expand(&self, shape: &[usize]) -> Result<Tensor> {
        let fits = shape.len() >= self.rank()
            && self
                .shape()
                .iter()
                .rev()
                .zip(shape.iter().rev())
                .all(|(from, to)| from == to || *from == 1);
        if !fits {
            return Err(Error::op(
                "expand",
                format!(
                    "{:?} does not expand to {shape:?}: only sides of 1 can be repeated",
                    self.shape()
                ),
            ));
        }
        let strides = broadcast_strides(self.shape(), self.strides(), shape);
        let from = self.shape().to_vec();
        let y = self.view(shape.to_vec(), strides, self.offset());
        Ok(record_view("expand", self, y, false, move |dy| {
            dy.sum_to(&from)
        }))
    }

    /// `length` elements of dimension `at` from `start`, without copying.
    pub fn narrow(&self, at: isize, start: usize, length: usize) -> Result<Tensor> {
        let at = dim("narrow", at, self.rank())?;
        let Some(side) = self.shape().get(at).copied() else {
            return Err(Error::op(
                "narrow",
                "a scalar has no dimension to narrow; reshape it to [1] first",
            ));
        };
        if start.checked_add(length).is_none_or(|end| end > side) {
            return Err(Error::op(
                "narrow",
                format!(
                    "{length} elements from {start} are beyond dimension {at} of {:?}",
                    self.shape()
                ),
            ));
        }
        let mut shape = self.shape().to_vec();
        shape[at] = length;
        let y = self.view(
            shape,
            self.strides().to_vec(),
            self.offset() + start * self.strides()[at],
        );
        Ok(record_narrow(self, y, at, start))
    }

    /// A new dimension of side 1, which is dimension `at` of the result; negative ones count from its back.
    pub fn unsqueeze(&self, at: isize) -> Result<Tensor> {
        let at = new_dim("unsqueeze", at, self.rank())?;
        let mut shape = self.shape().to_vec();
        shape.insert(at, 1);
        let mut strides = self.strides().to_vec();
        strides.insert(at, 1);
        let from = self.shape().to_vec();
        let y = self.view(shape, strides, self.offset());
        Ok(record_view("unsqueeze", self, y, false, move |dy| {
            dy.reshape(&from)
        }))
    }

    /// Without dimension `at` if its side is 1, else itself, as PyTorch's `squeeze`.
    pub fn squeeze(&self, at: isize) -> Result<Tensor> {
        let at = dim("squeeze", at, self.rank())?;
        if self.shape().get(at) != Some(&1) {
            return Ok(self.clone());
        }
        let (mut shape, mut strides) = (self.shape().to_vec(), self.strides().to_vec());
        shape.remove(at);
        strides.remove(at);
        let y = self.view(shape, strides, self.offset());
        Ok(record_view("squeeze", self, y, false, move |dy| {
            dy.unsqueeze(at as isize)
        }))
    }
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for layout in [Layout::Contiguous, Layout::Transposed, Layout::Sliced] {
            let input = |shape: &[usize]| vec![Input::new(shape, dtype).layout(layout)];
            for (from, to) in [
                (vec![4, 6], vec![2, 12]),
                (vec![3, 5, 7], vec![105]),
                (vec![1, 1], vec![]),
                (vec![129, 2], vec![2, 129]),
            ] {
                let target = to.clone();
                let shape = to.clone();
                out.push(Case::new(
                    "reshape",
                    &format!("x0.reshape({to:?})"),
                    input(&from),
                    move |x| x[0].reshape(&target),
                    move |x: &[HostArray]| HostArray {
                        shape: shape.clone(),
                        data: x[0].data.clone(),
                    },
                ));
            }
            for dims in [[1isize, 0, 2], [2, 1, 0], [0, 2, 1], [2, 0, 1], [-1, 0, -2]] {
                let b = dims.map(|d| d.rem_euclid(3) as usize);
                out.push(Case::new(
                    "permute",
                    &format!("x0.permute({dims:?})"),
                    input(&[3, 5, 4]),
                    move |x| x[0].permute(&dims)?.contiguous(),
                    move |x: &[HostArray]| x[0].permute(&b),
                ));
            }
            for (from, to) in [
                (vec![1, 5], vec![4, 5]),
                (vec![3, 1], vec![2, 3, 6]),
                (vec![1, 1, 1], vec![3, 2, 70]),
            ] {
                let (a, b) = (to.clone(), to.clone());
                out.push(Case::new(
                    "expand",
                    &format!("x0.expand({to:?})"),
                    input(&from),
                    move |x| x[0].expand(&a)?.contiguous(),
                    move |x: &[HostArray]| x[0].broadcast_to(&b),
                ));
            }
            for (at, start, length) in [(0isize, 1, 3), (1, 0, 1), (-1, 2, 4), (2, 0, 7)] {
                out.push(Case::new(
                    "narrow",
                    &format!("x0.narrow({at}, {start}, {length})"),
                    input(&[4, 3, 7]),
                    move |x| x[0].narrow(at, start, length)?.contiguous(),
                    move |x: &[HostArray]| {
                        let at = if at < 0 { 2 } else { at as usize };
                        let mut shape = x[0].shape.clone();
                        shape[at] = length;
                        HostArray::from_fn(&shape, |i| {
                            let mut i = i.to_vec();
                            i[at] += start;
                            x[0].get(&i)
                        })
                    },
                ));
            }
        }
    }
    let one = |shape: &[usize]| vec![Input::new(shape, DType::F32)];
    out.push(Case::rejects(
        "reshape",
        one(&[2, 3]),
        |x| x[0].reshape(&[4, 2]),
        "has 6 elements",
    ));
    out.push(Case::rejects(
        "permute",
        one(&[2, 3]),
        |x| x[0].permute(&[0, -2]),
        "each dimension",
    ));
    out.push(Case::rejects(
        "permute",
        one(&[2, 3]),
        |x| x[0].permute(&[0, 2]),
        "dim 2 is out of range for a tensor of rank 2; dims go from -2 to 1",
    ));
    for (at, place) in [(0isize, 0), (2, 2), (-1, 2), (-3, 0)] {
        out.push(Case::new(
            "unsqueeze",
            &format!("x0.unsqueeze({at})"),
            one(&[2, 3]),
            move |x| x[0].unsqueeze(at),
            move |x: &[HostArray]| {
                let mut shape = x[0].shape.clone();
                shape.insert(place, 1);
                HostArray {
                    shape,
                    data: x[0].data.clone(),
                }
            },
        ));
    }
    for (at, to) in [(1isize, vec![2, 3]), (-2, vec![2, 3]), (0, vec![2, 1, 3])] {
        out.push(Case::new(
            "squeeze",
            &format!("x0.squeeze({at})"),
            one(&[2, 1, 3]),
            move |x| x[0].squeeze(at),
            move |x: &[HostArray]| HostArray {
                shape: to.clone(),
                data: x[0].data.clone(),
            },
        ));
    }
    for at in [3, -4] {
        out.push(Case::rejects(
            "unsqueeze",
            one(&[2, 3]),
            move |x| x[0].unsqueeze(at),
            "out of range for a new dimension of a tensor of rank 2; dims go from -3 to 2",
        ));
    }
    out.push(Case::rejects(
        "squeeze",
        one(&[2, 3]),
        |x| x[0].squeeze(2),
        "dims go from -2 to 1",
    ));
    out.push(Case::rejects(
        "expand",
        one(&[2, 3]),
        |x| x[0].expand(&[4, 3]),
        "does not expand",
    ));
    out.push(Case::rejects(
        "narrow",
        one(&[]),
        |x| x[0].narrow(0, 0, 0),
        "no dimension",
    ));
    out.push(Case::new(
        "permute",
        "x0.transpose(0, 0)",
        one(&[]),
        |x| x[0].transpose(0, 0)?.contiguous(),
        |x: &[HostArray]| x[0].clone(),
    ));
    out.push(Case::rejects(
        "narrow",
        one(&[2, 3]),
        |x| x[0].narrow(1, 2, 2),
        "beyond dimension",
    ));
}
