//! Joining tensors along a dimension, and repeating one.

use crate::autograd::{Saved, record};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::dim;
use crate::tensor::Tensor;

impl Tensor {
    /// The tensors one behind the other along dimension `at`; their other sides and types must be equal.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let a = Tensor::from_slice(&device, &[1.0f32, 2.0], &[1, 2])?;
    /// let b = Tensor::from_slice(&device, &[3.0f32, 4.0], &[1, 2])?;
    /// assert_eq!(Tensor::concat(&[&a, &b], 1)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(Tensor::stack(&[&a, &b], 0)?.shape(), [2, 1, 2]);
    /// assert_eq!(a.repeat(&[2, 2])?.shape(), [2, 4]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn concat(tensors: &[&Tensor], at: isize) -> Result<Tensor> {
        let refuse = |message: String| Err(Error::op("concat", message));
        let Some(first) = tensors.first() else {
            return refuse("no tensor was given; give at least one".into());
        };
        if first.rank() == 0 {
            return refuse("a tensor of shape [] has no dimension to join along; use stack".into());
        }
        let at = dim("concat", at, first.rank())?;
        let mut shape = first.shape().to_vec();
        shape[at] = 0;
        for tensor in tensors {
            let mut others = tensor.shape().to_vec();
            if let Some(side) = others.get_mut(at) {
                *side = first.shape()[at];
            }
            if others != first.shape() {
                return refuse(format!(
                    "shapes {:?} and {:?} differ in more than dimension {at}",
                    first.shape(),
                    tensor.shape()
                ));
            }
            if tensor.dtype() != first.dtype() {
                return refuse(format!(
                    "element types differ, {} and {}; cast one of them",
                    first.dtype(),
                    tensor.dtype()
                ));
            }
            shape[at] += tensor.shape()[at];
        }
        let sides: Vec<usize> = tensors.iter().map(|t| t.shape()[at]).collect();
        let forward = |_: &mut Saved| {
            let y = Tensor::empty(first.device(), &shape, first.dtype())?;
            let mut start = 0;
            for tensor in tensors {
                let side = tensor.shape()[at];
                tensor.copy_into(&y.narrow(at as isize, start, side)?)?;
                start += side;
            }
            Ok(y)
        };
        record("concat", tensors, forward, move |ctx, dy| {
            let mut start = 0;
            let mut parts = Vec::with_capacity(sides.len());
            for (i, side) in sides.iter().enumerate() {
                parts.push(match ctx.needs(i) {
                    true => Some(dy.narrow(at as isize, start, *side)?),
                    false => None,
                });
                start += side;
            }
            Ok(parts)
        })
    }

    /// The tensors, all of one shape, along a new dimension `at`; negative ones count from the back of
    /// the result.
    pub fn stack(tensors: &[&Tensor], at: isize) -> Result<Tensor> {
        let Some(first) = tensors.first() else {
            return Err(Error::op("stack", "no tensor was given; give at least one"));
        };
        let at = dim("stack", at, first.rank() + 1)?;
        let mut rows = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            if tensor.shape() != first.shape() {
                return Err(Error::op(
                    "stack",
                    format!(
                        "shapes {:?} and {:?} differ; use concat if only one side does",
                        first.shape(),
                        tensor.shape()
                    ),
                ));
            }
            rows.push(tensor.unsqueeze(at as isize)?);
        }
        Tensor::concat(&rows.iter().collect::<Vec<_>>(), at as isize)
    }

    /// The tensor repeated `times[i]` times along dimension `i`; dimensions are added in front if
    /// `times` has more. PyTorch's `repeat`.
    pub fn repeat(&self, times: &[usize]) -> Result<Tensor> {
        let Some(lead) = times.len().checked_sub(self.rank()) else {
            return Err(Error::op(
                "repeat",
                format!("{times:?} has fewer numbers than {:?} sides", self.shape()),
            ));
        };
        let mut sides = vec![1; lead];
        sides.extend_from_slice(self.shape());
        let interleave = |times: &[usize]| -> Vec<usize> {
            times
                .iter()
                .zip(&sides)
                .flat_map(|(t, s)| [*t, *s])
                .collect()
        };
        let (one, many) = (interleave(&vec![1; times.len()]), interleave(times));
        let shape: Vec<usize> = times
            .iter()
            .zip(&sides)
            .map(|(t, s)| t.saturating_mul(*s))
            .collect();
        self.reshape(&one)?.expand(&many)?.reshape(&shape)
    }
}

fn concat_reference(x: &[HostArray], at: usize) -> HostArray {
    let mut shape = x[0].shape.clone();
    shape[at] = x.iter().map(|t| t.shape[at]).sum();
    HostArray::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        let mut source = 0;
        while i[at] >= x[source].shape[at] {
            i[at] -= x[source].shape[at];
            source += 1;
        }
        x[source].get(&i)
    })
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for layout in [Layout::Contiguous, Layout::Transposed, Layout::Sliced] {
            concat_cases(out, dtype, layout);
        }
        repeat_cases(out, dtype);
    }
    integer_cases(out);
    rejections(out);
}

fn concat_cases(out: &mut Vec<Case>, dtype: DType, layout: Layout) {
    let input = |shape: &[usize]| Input::new(shape, dtype).layout(layout);
    for (sides, at) in [
        (vec![[1, 1], [1, 1]], 0usize),
        (vec![[3, 5], [2, 5], [1, 5]], 0),
        (vec![[3, 5], [3, 257], [3, 1]], 1),
        (vec![[2, 7], [0, 7], [4, 7]], 0),
        (vec![[9, 4]], 1),
    ] {
        out.push(Case::new(
            "concat",
            &format!(
                "torch.cat([{}], {at})",
                (0..sides.len())
                    .map(|i| format!("x{i}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            sides.iter().map(|s| input(s)).collect(),
            move |x| Tensor::concat(&x.iter().collect::<Vec<_>>(), at as isize),
            move |x: &[HostArray]| concat_reference(x, at),
        ));
    }
    for (shape, at) in [
        (vec![3, 5], 0isize),
        (vec![3, 5], 1),
        (vec![3, 5], -1),
        (vec![2, 3, 4], -3),
    ] {
        let place = (at + if at < 0 { shape.len() as isize + 1 } else { 0 }) as usize;
        out.push(Case::new(
            "stack",
            &format!("torch.stack([x0, x1, x0], {at})"),
            vec![input(&shape), input(&shape)],
            move |x| Tensor::stack(&[&x[0], &x[1], &x[0]], at),
            move |x: &[HostArray]| {
                let row = |t: &HostArray| {
                    let mut shape = t.shape.clone();
                    shape.insert(place, 1);
                    HostArray {
                        shape,
                        data: t.data.clone(),
                    }
                };
                concat_reference(&[row(&x[0]), row(&x[1]), row(&x[0])], place)
            },
        ));
    }
}

fn repeat_cases(out: &mut Vec<Case>, dtype: DType) {
    for (shape, times) in [
        (vec![], vec![3]),
        (vec![3], vec![1]),
        (vec![2, 3], vec![2, 5]),
        (vec![5, 1], vec![4, 1, 70]),
    ] {
        let (a, b) = (times.clone(), times.clone());
        out.push(Case::new(
            "repeat",
            &format!("x0.repeat({times:?})"),
            vec![Input::new(&shape, dtype)],
            move |x| x[0].repeat(&a),
            move |x: &[HostArray]| {
                let lead = b.len() - x[0].shape.len();
                let mut shape = b.clone();
                for (side, of) in shape[lead..].iter_mut().zip(&x[0].shape) {
                    *side *= of;
                }
                HostArray::from_fn(&shape, |i| {
                    let i: Vec<usize> = i[lead..]
                        .iter()
                        .zip(&x[0].shape)
                        .map(|(i, s)| i % s)
                        .collect();
                    x[0].get(&i)
                })
            },
        ));
    }
}

fn integer_cases(out: &mut Vec<Case>) {
    for dtype in [DType::U32, DType::I32] {
        let input = |shape: &[usize]| Input::new(shape, dtype).index(1000);
        out.push(Case::new(
            "concat",
            "torch.cat([x0, x1], 1)",
            vec![input(&[3, 5]).layout(Layout::Sliced), input(&[3, 2])],
            |x| Tensor::concat(&[&x[0], &x[1]], 1),
            |x: &[HostArray]| concat_reference(x, 1),
        ));
    }
}

fn rejections(out: &mut Vec<Case>) {
    let both = |a: &[usize], b: &[usize], dtype| {
        vec![
            Input::new(a, DType::F32).frozen(),
            Input::new(b, dtype).range(0.0, 9.0).frozen(),
        ]
    };
    let concat = |at| move |x: &[Tensor]| Tensor::concat(&[&x[0], &x[1]], at);
    out.extend([
        Case::rejects(
            "concat",
            both(&[2, 3], &[2, 4], DType::F32),
            concat(0),
            "more than dimension 0",
        ),
        Case::rejects(
            "concat",
            both(&[2, 3], &[6], DType::F32),
            concat(0),
            "more than dimension 0",
        ),
        Case::rejects(
            "concat",
            both(&[2, 3], &[2, 3], DType::U32),
            concat(1),
            "element types differ",
        ),
        Case::rejects(
            "concat",
            both(&[2, 3], &[2, 3], DType::F32),
            concat(2),
            "dim 2 is out of range",
        ),
        Case::rejects("concat", both(&[], &[], DType::F32), concat(0), "use stack"),
        Case::rejects("concat", vec![], |_| Tensor::concat(&[], 0), "at least one"),
        Case::rejects("stack", vec![], |_| Tensor::stack(&[], 0), "at least one"),
        Case::rejects(
            "stack",
            both(&[2, 3], &[2, 4], DType::F32),
            |x| Tensor::stack(&[&x[0], &x[1]], 0),
            "use concat",
        ),
    ]);
    out.push(Case::rejects(
        "repeat",
        vec![Input::new(&[4, 3], DType::F32)],
        |x| x[0].repeat(&[2]),
        "fewer numbers",
    ));
}
