//! Losses composed of other ops, which also give the gradients.

use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::broadcast;
use crate::tensor::Tensor;

/// How the losses of single elements or rows are reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// No reduction: all losses are returned.
    None,
}

impl Reduction {
    fn apply(self, losses: Tensor) -> Result<Tensor> {
        match self {
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
            Reduction::None => Ok(losses),
        }
    }

    /// PyTorch's name.
    pub(crate) fn torch(self) -> &'static str {
        match self {
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::None => "none",
        }
    }
}

/// Both tensors as f32, if their shapes and types are equal.
fn pair(op: &'static str, input: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor)> {
    if input.shape() != target.shape() || input.dtype() != target.dtype() {
        return Err(Error::op(
            op,
            format!(
                "the input is {input:?} and the target {target:?}; shapes and types must be equal"
            ),
        ));
    }
    if !input.dtype().is_float() {
        return Err(Error::op(
            op,
            format!("float tensors are needed, {input:?} was given; cast it first"),
        ));
    }
    Ok((input.cast(DType::F32)?, target.cast(DType::F32)?))
}

impl Tensor {
    /// (x - target)^2. Shapes and types must be equal; the loss is f32, also of f16.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor, ops::losses::Reduction};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 5.0], &[2])?;
    /// let y = Tensor::from_slice(&device, &[2.0f32, 2.0], &[2])?;
    /// assert_eq!(x.mse_loss(&y, Reduction::Mean)?.item()?, 5.0);
    /// assert_eq!(x.l1_loss(&y, Reduction::Sum)?.item()?, 4.0);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn mse_loss(&self, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let (x, target) = pair("mse_loss", self, target)?;
        reduction.apply(x.sub(&target)?.pow_scalar(2.0)?)
    }

    /// |x - target|. Shapes and types must be equal; the loss is f32, also of f16.
    pub fn l1_loss(&self, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let (x, target) = pair("l1_loss", self, target)?;
        reduction.apply(x.sub(&target)?.abs()?)
    }

    /// Binary cross-entropy of logits x and targets t in 0..=1:
    /// pos_weight * t * softplus(-x) + (1 - t) * softplus(x), which is finite for every x.
    /// `pos_weight` broadcasts to the shape of `self` (usually one weight a class). Types must be
    /// equal; the loss is f32, also of f16.
    pub fn bce_with_logits(
        &self,
        targets: &Tensor,
        pos_weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Result<Tensor> {
        let op = "bce_with_logits";
        let (x, t) = pair(op, self, targets)?;
        let losses = match pos_weight {
            // softplus(-x) = softplus(x) - x
            None => x.softplus()?.sub(&x.mul(&t)?)?,
            Some(weight) => {
                let fits = broadcast(op, x.shape(), weight.shape())? == x.shape();
                if !fits || weight.dtype() != self.dtype() {
                    return Err(Error::op(
                        op,
                        format!("pos_weight {weight:?} does not broadcast to the input {self:?}"),
                    ));
                }
                let weight = weight.cast(DType::F32)?;
                let positive = x.neg()?.softplus()?.mul(&weight)?.mul(&t)?;
                let negative = x.softplus()?.mul(&t.affine(-1.0, 1.0)?)?;
                positive.add(&negative)?
            }
        };
        reduction.apply(losses)
    }
}

fn reduced(losses: HostArray, reduction: Reduction) -> HostArray {
    let total: f64 = losses.data.iter().sum();
    let value = match reduction {
        Reduction::None => return losses,
        Reduction::Sum => total,
        Reduction::Mean => total / losses.data.len() as f64,
    };
    HostArray {
        shape: vec![],
        data: vec![value],
    }
}

/// Binary cross-entropy with weights, written out.
const WEIGHTED: &str = "x2 * x1 * F.softplus(-x0) + (1 - x1) * F.softplus(x0)";

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let named = reduction.torch();
            for (shape, layout) in shapes::pointwise() {
                let x = || Input::new(&shape, dtype).layout(layout).range(-2.0, 2.0);
                out.push(Case::new(
                    "mse_loss",
                    &format!("F.mse_loss(x0, x1, reduction='{named}')"),
                    vec![x(), Input::new(&shape, dtype)],
                    move |x| x[0].mse_loss(&x[1], reduction),
                    move |x: &[HostArray]| {
                        reduced(x[0].zip(&x[1], |a, b| (a - b).powi(2)), reduction)
                    },
                ));
                // Apart from each other, where |a - b| has one slope.
                out.push(Case::new(
                    "l1_loss",
                    &format!("F.l1_loss(x0, x1, reduction='{named}')"),
                    vec![
                        x().range(0.5, 2.0),
                        Input::new(&shape, dtype).range(-2.0, 0.0),
                    ],
                    move |x| x[0].l1_loss(&x[1], reduction),
                    move |x: &[HostArray]| {
                        reduced(x[0].zip(&x[1], |a, b| (a - b).abs()), reduction)
                    },
                ));
                out.push(bce(x(), None, reduction));
            }
            for (shape, weight) in [
                (vec![4, 6], vec![6]),
                (vec![3, 5, 2], vec![]),
                (vec![257], vec![1]),
            ] {
                let input = Input::new(&shape, dtype).range(-9.0, 9.0);
                let weight = Input::new(&weight, dtype).range(0.5, 3.0);
                out.push(bce(input.clone(), Some(weight.clone().frozen()), reduction));
                // PyTorch's function has no gradient for the weights; its parts have.
                let mut row = bce(input, Some(weight), reduction);
                row.torch = match reduction {
                    Reduction::None => WEIGHTED.into(),
                    _ => format!("({WEIGHTED}).{named}()"),
                };
                out.push(row);
            }
        }
    }
    rejections(out);
}

fn bce(input: Input, weight: Option<Input>, reduction: Reduction) -> Case {
    let weighted = weight.is_some();
    let targets = Input::new(&input.shape, input.dtype).range(0.0, 1.0);
    let targets = match input.layout {
        Layout::Expanded => targets,
        layout => targets.layout(layout),
    };
    let pos_weight = if weighted { ", pos_weight=x2" } else { "" };
    Case::new(
        "bce_with_logits",
        &format!(
            "F.binary_cross_entropy_with_logits(x0, x1, reduction='{}'{pos_weight})",
            reduction.torch()
        ),
        [Some(input), Some(targets), weight]
            .into_iter()
            .flatten()
            .collect(),
        move |x| x[0].bce_with_logits(&x[1], x.get(2), reduction),
        move |x: &[HostArray]| {
            let mut positive = x[0].zip(&x[1], |v, t| t * softplus(-v));
            if weighted {
                positive = positive.zip(&x[2], |p, w| p * w);
            }
            let negative = x[0].zip(&x[1], |v, t| (1.0 - t) * softplus(v));
            reduced(positive.zip(&negative, |p, n| p + n), reduction)
        },
    )
}

fn rejections(out: &mut Vec<Case>) {
    let float = |shape: &[usize]| Input::new(shape, DType::F32);
    let mean = Reduction::Mean;
    out.push(Case::rejects(
        "mse_loss",
        vec![float(&[2, 3]), float(&[3])],
        move |x| x[0].mse_loss(&x[1], mean),
        "shapes and types must be equal",
    ));
    out.push(Case::rejects(
        "mse_loss",
        vec![float(&[2]), Input::new(&[2], DType::F16)],
        move |x| x[0].mse_loss(&x[1], mean),
        "shapes and types must be equal",
    ));
    out.push(Case::rejects(
        "mse_loss",
        vec![
            Input::new(&[2], DType::U32).index(3),
            Input::new(&[2], DType::U32).index(3),
        ],
        move |x| x[0].mse_loss(&x[1], mean),
        "float tensors are needed",
    ));
    out.push(Case::rejects(
        "l1_loss",
        vec![float(&[2, 3]), float(&[3, 2])],
        move |x| x[0].l1_loss(&x[1], mean),
        "shapes and types must be equal",
    ));
    out.push(Case::rejects(
        "bce_with_logits",
        vec![float(&[2, 3]), float(&[2])],
        move |x| x[0].bce_with_logits(&x[1], None, mean),
        "shapes and types must be equal",
    ));
    out.push(Case::rejects(
        "bce_with_logits",
        vec![float(&[3]), float(&[3]), float(&[2, 3])],
        move |x| x[0].bce_with_logits(&x[1], x.get(2), mean),
        "does not broadcast to the input",
    ));
}
