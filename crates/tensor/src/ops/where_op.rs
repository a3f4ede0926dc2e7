//! Choosing between two tensors by a condition, and filling by a mask.

use wgrad_runtime::Defines;

use crate::autograd::record;
use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::elementwise::Elementwise;
use crate::shape::broadcast;
use crate::tensor::Tensor;

impl Tensor {
    /// `a` where `cond` (u32) is not 0, else `b`; all three broadcast. Gradients flow to `a` and `b`
    /// where they were chosen. PyTorch's `torch.where`.
    ///
    /// Errors if `cond` is not u32, if `a` and `b` differ in type, or if the shapes do not broadcast.
    ///
    /// ```
    /// # use wgrad_tensor::{DType, Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[-1.0f32, 2.0], &[2])?;
    /// let zero = Tensor::zeros(&device, &[2], DType::F32)?;
    /// let positive = x.gt(&zero)?;
    /// assert_eq!(Tensor::where_cond(&positive, &x, &zero)?.to_vec::<f32>()?, [0.0, 2.0]);
    /// assert_eq!(x.masked_fill(&positive, 9.0)?.to_vec::<f32>()?, [-1.0, 9.0]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn where_cond(cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if cond.dtype() != DType::U32 {
            return Err(Error::op(
                "where_cond",
                format!("the condition is {cond:?}, u32 is needed; compare it, e.g. with ne"),
            ));
        }
        if a.dtype() != b.dtype() {
            return Err(Error::op(
                "where_cond",
                format!(
                    "element types differ, {} and {}; cast one of them",
                    a.dtype(),
                    b.dtype()
                ),
            ));
        }
        let (a_shape, b_shape) = (a.shape().to_vec(), b.shape().to_vec());
        record(
            "where_cond",
            &[a, b],
            |ctx| {
                ctx.save(cond);
                forward(cond, a, b)
            },
            move |ctx, dy| {
                let cond = ctx.saved(0)?;
                let zero = Tensor::zeros(dy.device(), &[], dy.dtype())?;
                let da = match ctx.needs(0) {
                    true => Some(forward(cond, dy, &zero)?.sum_to(&a_shape)?),
                    false => None,
                };
                let db = match ctx.needs(1) {
                    true => Some(forward(cond, &zero, dy)?.sum_to(&b_shape)?),
                    false => None,
                };
                Ok(vec![da, db])
            },
        )
    }

    /// `value` where `mask` (u32, broadcast to the shape of `self`) is not 0, else the values of `self`.
    ///
    /// Errors if `mask` does not broadcast to that shape, or if the tensor's type does not hold `value`.
    pub fn masked_fill(&self, mask: &Tensor, value: f32) -> Result<Tensor> {
        let whole = value == value.trunc();
        let (fits, limits) = match self.dtype() {
            DType::F32 => (true, ""),
            // Infinities and NaN are values of f16.
            DType::F16 => (
                !value.is_finite() || value.abs() <= 65504.0,
                "in -65504..=65504 or infinite",
            ),
            DType::U32 => (
                whole && (0.0..4_294_967_296.0).contains(&value),
                "whole and in 0..2^32",
            ),
            DType::I32 => (
                whole && (-2_147_483_648.0..2_147_483_648.0).contains(&value),
                "whole and in -2^31..2^31",
            ),
        };
        if !fits {
            return Err(Error::op(
                "masked_fill",
                format!(
                    "{value} is no value of {}: it must be {limits}",
                    self.dtype()
                ),
            ));
        }
        if broadcast("masked_fill", mask.shape(), self.shape())? != self.shape() {
            return Err(Error::op(
                "masked_fill",
                format!(
                    "a mask of shape {:?} is larger than the tensor's {:?}; expand the tensor first",
                    mask.shape(),
                    self.shape()
                ),
            ));
        }
        let fill = Tensor::full(self.device(), &[], value, self.dtype())?;
        Tensor::where_cond(mask, &fill, self)
    }
}

fn forward(cond: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = broadcast("where_cond", a.shape(), b.shape())?;
    let shape = broadcast("where_cond", cond.shape(), &shape)?;
    let y = Tensor::empty(a.device(), &shape, a.dtype())?;
    Elementwise {
        op: "where_cond",
        kernel: "where_cond",
        variant: None,
        inputs: &[("cond", cond), ("a", a), ("b", b)],
        output: ("y", &y),
        defines: Defines::new(),
        floats: &[],
    }
    .run()?;
    Ok(y)
}

fn reference(x: &[HostArray]) -> HostArray {
    // Two steps of two, since HostArray broadcasts pairs.
    let nothing = |c: f64, v: f64, on: bool| if (c != 0.0) == on { v } else { 0.0 };
    let a = x[0].zip(&x[1], |c, v| nothing(c, v, true));
    let b = x[0].zip(&x[2], |c, v| nothing(c, v, false));
    a.zip(&b, |a, b| a + b)
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    where_cases(out);
    masked_fill_cases(out);
}

fn where_cases(out: &mut Vec<Case>) {
    const TORCH: &str = "torch.where(x0 != 0, x1, x2)";
    let run = |x: &[Tensor]| Tensor::where_cond(&x[0], &x[1], &x[2]);
    for dtype in [DType::F32, DType::F16, DType::U32, DType::I32] {
        let value = |shape: &[usize], layout| {
            let input = Input::new(shape, dtype).layout(layout);
            if dtype.is_float() {
                input
            } else {
                input.index(1000)
            }
        };
        for (shape, layout) in shapes::pointwise() {
            out.push(Case::new(
                "where_cond",
                TORCH,
                vec![
                    Input::new(&shape, DType::U32).index(2).layout(layout),
                    value(&shape, layout),
                    value(&shape, Layout::Contiguous),
                ],
                run,
                reference,
            ));
        }
        for ((a, a_layout), (b, b_layout)) in shapes::pairs() {
            for cond in [&a, &b, &vec![]] {
                out.push(Case::new(
                    "where_cond",
                    TORCH,
                    vec![
                        Input::new(cond, DType::U32).index(3),
                        value(&a, a_layout),
                        value(&b, b_layout),
                    ],
                    run,
                    reference,
                ));
            }
        }
    }
    // One more row of 256 invocations than fits into the first side of a grid. Too large to be dumped
    // for PyTorch.
    let many = 65_536 * 256 + 1;
    let case = Case::new(
        "where_cond",
        "",
        vec![
            Input::new(&[1], DType::U32).index(2),
            Input::new(&[], DType::F32).frozen(),
            Input::new(&[many], DType::F32)
                .layout(Layout::Expanded)
                .frozen(),
        ],
        run,
        |x: &[HostArray]| match x[0].data[0] == 0.0 {
            true => x[2].clone(),
            false => x[2].map(|_| x[1].data[0]),
        },
    );
    out.push(case.note("a folded grid"));
    out.push(Case::new(
        "where_cond",
        TORCH,
        vec![
            Input::new(&[0, 3], DType::U32).index(2),
            Input::new(&[0, 3], DType::F32),
            Input::new(&[3], DType::F32),
        ],
        run,
        reference,
    ));
    for (cond, a, b, text) in [
        (DType::F32, DType::F32, DType::F32, "u32 is needed"),
        (DType::U32, DType::F32, DType::U32, "element types differ"),
    ] {
        out.push(Case::rejects(
            "where_cond",
            [cond, a, b]
                .map(|t| Input::new(&[3], t).range(0.0, 9.0).frozen())
                .to_vec(),
            run,
            text,
        ));
    }
    out.push(Case::rejects(
        "where_cond",
        vec![
            Input::new(&[3], DType::U32).index(2),
            Input::new(&[2, 4], DType::F32),
            Input::new(&[4], DType::F32),
        ],
        run,
        "do not broadcast",
    ));
}

fn masked_fill_cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for (mask, shape, layout) in [
            (vec![], vec![], Layout::Contiguous),
            (vec![1], vec![1], Layout::Contiguous),
            (vec![257], vec![257], Layout::Contiguous),
            (vec![5, 5], vec![2, 3, 5, 5], Layout::Transposed),
            (vec![2, 1, 1, 7], vec![2, 3, 4, 7], Layout::Sliced),
            (vec![3, 1], vec![4, 3, 10], Layout::Expanded),
        ] {
            for value in [0.0f32, -1.5] {
                out.push(Case::new(
                    "masked_fill",
                    &format!("x0.masked_fill(x1 != 0, {value:?})"),
                    vec![
                        Input::new(&shape, dtype).layout(layout),
                        Input::new(&mask, DType::U32).index(2),
                    ],
                    move |x| x[0].masked_fill(&x[1], value),
                    move |x: &[HostArray]| {
                        x[0].zip(&x[1], |v, m| if m != 0.0 { f64::from(value) } else { v })
                    },
                ));
            }
        }
    }
    let rejects = |dtype, mask: &[usize], value: f32, text| {
        Case::rejects(
            "masked_fill",
            vec![
                Input::new(&[2, 3], dtype).range(0.0, 9.0).frozen(),
                Input::new(mask, DType::U32).index(2),
            ],
            move |x| x[0].masked_fill(&x[1], value),
            text,
        )
    };
    out.extend([
        rejects(DType::U32, &[3], f32::INFINITY, "in 0..2^32"),
        rejects(DType::I32, &[3], f32::NAN, "must be whole"),
        rejects(DType::F16, &[3], -1e5, "-65504..=65504"),
        rejects(DType::U32, &[3], -1.0, "in 0..2^32"),
        rejects(DType::I32, &[3], 0.5, "must be whole"),
        rejects(DType::F32, &[4, 2, 3], 0.0, "larger than the tensor"),
        rejects(DType::F32, &[2], 0.0, "do not broadcast"),
    ]);
}
