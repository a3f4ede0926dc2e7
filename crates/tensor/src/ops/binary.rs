//! Pointwise functions of two tensors, broadcasting: one table row each.

mod cases;

pub use cases::cases;

use wgrad_runtime::Defines;

use crate::autograd::{record_with, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::elementwise::{Elementwise, compute};
use crate::ops::rows::RowVariant;
use crate::ops::unary::mentions;
use crate::shape::broadcast;
use crate::tensor::Tensor;

/// One pointwise function. The WGSL expressions see `a` and `b`, in the gradients also `dy`.
struct Binary {
    name: &'static str,
    wgsl: &'static str,
    /// The gradients with respect to `a` and `b`; `None` where there is none.
    gradient: Option<[&'static str; 2]>,
    reference: fn(f64, f64) -> f64,
    torch: &'static str,
    range: (f64, f64),
}

const BINARY: &[Binary] = &[
    Binary {
        name: "add",
        wgsl: "a + b",
        gradient: Some(["dy", "dy"]),
        reference: |a, b| a + b,
        torch: "x0 + x1",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "sub",
        wgsl: "a - b",
        gradient: Some(["dy", "-dy"]),
        reference: |a, b| a - b,
        torch: "x0 - x1",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "mul",
        wgsl: "a * b",
        gradient: Some(["dy * b", "dy * a"]),
        reference: |a, b| a * b,
        torch: "x0 * x1",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "div",
        wgsl: "a / b",
        // Divided twice: b * b of a small b is 0.
        gradient: Some(["dy / b", "-dy * (a / b / b)"]),
        reference: |a, b| a / b,
        torch: "x0 / x1",
        range: (0.4, 2.0),
    },
    Binary {
        name: "pow",
        wgsl: "precise_pow(a, b)",
        gradient: Some([
            "select(dy * b * precise_pow(a, b - 1.0), 0.0, b == 0.0)",
            "select(dy * precise_pow(a, b) * precise_log(a), 0.0, a == 0.0 && b >= 0.0)",
        ]),
        reference: |a, b| a.powf(b),
        torch: "x0 ** x1",
        range: (0.4, 2.0),
    },
    Binary {
        name: "maximum",
        wgsl: "maximum(a, b)",
        gradient: Some([
            "dy * select(select(1.0, 0.5, a == b), 0.0, a < b)",
            "dy * select(select(1.0, 0.5, a == b), 0.0, b < a)",
        ]),
        reference: f64::max,
        torch: "torch.maximum(x0, x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "minimum",
        wgsl: "minimum(a, b)",
        gradient: Some([
            "dy * select(select(1.0, 0.5, a == b), 0.0, a > b)",
            "dy * select(select(1.0, 0.5, a == b), 0.0, b > a)",
        ]),
        reference: f64::min,
        torch: "torch.minimum(x0, x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "swiglu",
        wgsl: "a * sigmoid(a) * b",
        gradient: Some([
            "dy * b * sigmoid(a) * (1.0 + a * (1.0 - sigmoid(a)))",
            "dy * a * sigmoid(a)",
        ]),
        reference: |a, b| a / (1.0 + (-a).exp()) * b,
        torch: "F.silu(x0) * x1",
        range: (-4.0, 4.0),
    },
    Binary {
        name: "eq",
        wgsl: "a == b",
        gradient: None,
        reference: |a, b| f64::from(a == b),
        torch: "(x0 == x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "ne",
        wgsl: "a != b",
        gradient: None,
        reference: |a, b| f64::from(a != b),
        torch: "(x0 != x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "lt",
        wgsl: "a < b",
        gradient: None,
        reference: |a, b| f64::from(a < b),
        torch: "(x0 < x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "le",
        wgsl: "a <= b",
        gradient: None,
        reference: |a, b| f64::from(a <= b),
        torch: "(x0 <= x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "gt",
        wgsl: "a > b",
        gradient: None,
        reference: |a, b| f64::from(a > b),
        torch: "(x0 > x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "ge",
        wgsl: "a >= b",
        gradient: None,
        reference: |a, b| f64::from(a >= b),
        torch: "(x0 >= x1)",
        range: (-2.0, 2.0),
    },
];

fn row(name: &str) -> Result<&'static Binary> {
    BINARY
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| Error::op("binary", format!("there is no pointwise op {name}")))
}

/// The pointwise function `name` (the name of its method) by a chosen variant, if it can run, for
/// benchmarks and checks.
pub fn binary_with(
    a: &Tensor,
    b: &Tensor,
    name: &str,
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let row = row(name)?;
    if a.dtype() != b.dtype() {
        return Err(Error::op(
            row.name,
            format!(
                "element types differ, {} and {}; cast one of them",
                a.dtype(),
                b.dtype()
            ),
        ));
    }
    let Some(gradient) = row.gradient else {
        // Comparisons have no gradient by nature.
        same_device(row.name, &[a, b])?;
        return forward(row, &a.detach(), &b.detach(), variant);
    };
    let shapes = [a.shape().to_vec(), b.shape().to_vec()];
    record_with(
        row.name,
        &[a, b],
        |ctx| {
            let y = forward(row, a, b, variant)?;
            let read = |name| (0..2).any(|i| ctx.needs(i) && mentions(gradient[i], name));
            let (reads_a, reads_b) = (read("a"), read("b"));
            let a = reads_a.then(|| ctx.save(a));
            let b = reads_b.then(|| ctx.save(b));
            Ok((y, [a, b]))
        },
        move |saved, ctx, dy| {
            // A tensor that the derivative does not read was not saved, but the kernel still has a binding for it.
            let operand = |side: usize| saved[side].map_or(Ok(dy), |i| ctx.saved(i));
            let operands = [dy, operand(0)?, operand(1)?];
            let part = |side: usize| {
                if !ctx.needs(side) {
                    return Ok(None);
                }
                let full = match gradient[side] {
                    "dy" => dy.clone(),
                    code => backward(row.name, code, operands, variant)?,
                };
                full.sum_to(&shapes[side]).map(Some)
            };
            Ok(vec![part(0)?, part(1)?])
        },
    )
}

impl Tensor {
    fn binary(&self, other: &Tensor, name: &str) -> Result<Tensor> {
        binary_with(self, other, name, None)
    }

    /// Sum of two tensors.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// let row = Tensor::from_slice(&device, &[10.0f32, 20.0], &[2])?;
    /// assert_eq!(x.add(&row)?.to_vec::<f32>()?, [11.0, 22.0, 13.0, 24.0]);
    /// assert_eq!(x.mul(&x)?.to_vec::<f32>()?, [1.0, 4.0, 9.0, 16.0]);
    /// assert_eq!(x.maximum(&row)?.to_vec::<f32>()?, [10.0, 20.0, 10.0, 20.0]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "add")
    }
    /// Difference.
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "sub")
    }
    /// Product, element by element.
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "mul")
    }
    /// Quotient, element by element.
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "div")
    }
    /// `self` to the power `other`, as C's `pow`: a negative base with a fractional exponent gives NaN, and so does the
    /// gradient of the exponent of a negative base.
    pub fn pow(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "pow")
    }
    /// silu(self) * other, the gated unit of arXiv:2002.05202, in one kernel.
    pub fn swiglu(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "swiglu")
    }
    /// The larger, NaN if one is NaN; where both are equal each gets half of the gradient, as in PyTorch.
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "maximum")
    }
    /// The smaller, as [`Tensor::maximum`].
    pub fn minimum(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "minimum")
    }
    /// 1 (u32) where equal, else 0. No gradient.
    pub fn eq(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "eq")
    }
    /// 1 where different. No gradient.
    pub fn ne(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "ne")
    }
    /// 1 where less. No gradient.
    pub fn lt(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "lt")
    }
    /// 1 where less or equal. No gradient.
    pub fn le(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "le")
    }
    /// 1 where greater. No gradient.
    pub fn gt(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "gt")
    }
    /// 1 where greater or equal. No gradient.
    pub fn ge(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "ge")
    }
}

fn forward(row: &Binary, a: &Tensor, b: &Tensor, variant: Option<RowVariant>) -> Result<Tensor> {
    let shape = broadcast(row.name, a.shape(), b.shape())?;
    let arithmetic = row.gradient.is_some();
    if ["pow", "swiglu"].contains(&row.name) && !a.dtype().is_float() {
        return Err(Error::op(
            row.name,
            "float tensors are needed; cast them first",
        ));
    }
    let out = if arithmetic { a.dtype() } else { DType::U32 };
    let y = Tensor::empty(a.device(), &shape, out)?;
    let compute = compute(a.dtype()).wgsl();
    let result = if arithmetic { compute } else { "bool" };
    let code = match (row.name, a.dtype().is_float()) {
        ("maximum", false) => "max(a, b)",
        ("minimum", false) => "min(a, b)",
        _ => row.wgsl,
    };
    let line = format!("fn op(a: {compute}, b: {compute}) -> {result} {{ return {code}; }}");
    Elementwise {
        op: row.name,
        kernel: "binary",
        variant,
        inputs: &[("a", a), ("b", b)],
        output: ("y", &y),
        defines: Defines::new().code("op", &line).alias("R", result),
        floats: &[],
    }
    .run()?;
    Ok(y)
}

fn backward(
    op: &'static str,
    code: &str,
    [dy, a, b]: [&Tensor; 3],
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let dx = Tensor::empty(dy.device(), dy.shape(), dy.dtype())?;
    let line = format!("fn derivative(dy: f32, a: f32, b: f32) -> f32 {{ return {code}; }}");
    Elementwise {
        op,
        kernel: "binary_backward",
        variant,
        inputs: &[("dy", dy), ("a", a), ("b", b)],
        output: ("dx", &dx),
        defines: Defines::new().code("derivative", &line),
        floats: &[],
    }
    .run()?;
    Ok(dx)
}
