//! Pointwise functions of one tensor, by a table of expressions.

mod cases;
mod table;

pub use cases::cases;
pub(crate) use table::gelu_reference;

use wgrad_runtime::Defines;

use crate::autograd::record;
use crate::error::{Error, Result};
use crate::ops::elementwise::Elementwise;
use crate::ops::rows::RowVariant;
use crate::tensor::Tensor;
use table::{Unary, row};

/// The pointwise function `name` (as its method is called) with its parameters, by a chosen variant, if
/// it can run, for benchmarks and checks.
pub fn unary_with(
    x: &Tensor,
    name: &str,
    [a, b]: [f32; 2],
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let row = row(name)?;
    if !x.dtype().is_float() {
        return Err(Error::op(
            row.name,
            format!("a float tensor is needed, {x:?} was given; cast it first"),
        ));
    }
    let reads = mentions(row.derivative, if row.from_result { "y" } else { "x" });
    record(
        row.name,
        &[x],
        |ctx| {
            let y = forward(row, x, [a, b], variant)?;
            if reads {
                ctx.save(if row.from_result { &y } else { x });
            }
            Ok(y)
        },
        move |ctx, dy| {
            // A derivative that is a number leaves the kernel's second tensor unread.
            let v = if reads { ctx.saved(0)? } else { dy };
            Ok(vec![Some(backward(row, dy, v, [a, b], variant)?)])
        },
    )
}

/// Whether an expression reads the variable `name`.
pub(crate) fn mentions(expression: &str, name: &str) -> bool {
    expression
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == name)
}

impl Tensor {
    fn unary(&self, name: &'static str, a: f32, b: f32) -> Result<Tensor> {
        unary_with(self, name, [a, b], None)
    }

    /// Negative.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[-2.0f32, 0.0, 3.0], &[3])?;
    /// assert_eq!(x.neg()?.to_vec::<f32>()?, [2.0, 0.0, -3.0]);
    /// assert_eq!(x.relu()?.to_vec::<f32>()?, [0.0, 0.0, 3.0]);
    /// assert_eq!(x.affine(2.0, 1.0)?.to_vec::<f32>()?, [-3.0, 1.0, 7.0]);
    /// assert_eq!(x.clamp(-1.0, 1.0)?.to_vec::<f32>()?, [-1.0, 0.0, 1.0]);
    /// assert_eq!(x.sigmoid()?.to_vec::<f32>()?[1], 0.5);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn neg(&self) -> Result<Tensor> {
        self.unary("neg", 0.0, 0.0)
    }
    /// Absolute value; the gradient at 0 is 0.
    pub fn abs(&self) -> Result<Tensor> {
        self.unary("abs", 0.0, 0.0)
    }
    /// Exponential.
    pub fn exp(&self) -> Result<Tensor> {
        self.unary("exp", 0.0, 0.0)
    }
    /// Natural logarithm: minus infinity for 0, NaN for negative values.
    pub fn log(&self) -> Result<Tensor> {
        self.unary("log", 0.0, 0.0)
    }
    /// Square root.
    pub fn sqrt(&self) -> Result<Tensor> {
        self.unary("sqrt", 0.0, 0.0)
    }
    /// One over the square root.
    pub fn rsqrt(&self) -> Result<Tensor> {
        self.unary("rsqrt", 0.0, 0.0)
    }
    /// Sine (radians).
    pub fn sin(&self) -> Result<Tensor> {
        self.unary("sin", 0.0, 0.0)
    }
    /// Cosine (radians).
    pub fn cos(&self) -> Result<Tensor> {
        self.unary("cos", 0.0, 0.0)
    }
    /// Rectifier, max(x, 0); the gradient at 0 is 0.
    pub fn relu(&self) -> Result<Tensor> {
        self.unary("relu", 0.0, 0.0)
    }
    /// Hyperbolic tangent.
    pub fn tanh(&self) -> Result<Tensor> {
        self.unary("tanh", 0.0, 0.0)
    }
    /// Logistic function, 1 / (1 + exp(-x)).
    pub fn sigmoid(&self) -> Result<Tensor> {
        self.unary("sigmoid", 0.0, 0.0)
    }
    /// x * sigmoid(x), also called swish.
    pub fn silu(&self) -> Result<Tensor> {
        self.unary("silu", 0.0, 0.0)
    }
    /// Exact GELU, x * Phi(x) (arXiv:1606.08415).
    pub fn gelu(&self) -> Result<Tensor> {
        self.unary("gelu", 0.0, 0.0)
    }
    /// The tanh approximation of GELU (`gelu_new`, `gelu_pytorch_tanh`).
    pub fn gelu_tanh(&self) -> Result<Tensor> {
        self.unary("gelu_tanh", 0.0, 0.0)
    }
    /// log(1 + exp(x)).
    pub fn softplus(&self) -> Result<Tensor> {
        self.unary("softplus", 0.0, 0.0)
    }
    /// x * mul + add, with numbers.
    pub fn affine(&self, mul: f32, add: f32) -> Result<Tensor> {
        self.unary("affine", mul, add)
    }
    /// x + value.
    pub fn add_scalar(&self, value: f32) -> Result<Tensor> {
        self.affine(1.0, value)
    }
    /// x * value.
    pub fn mul_scalar(&self, value: f32) -> Result<Tensor> {
        self.affine(value, 0.0)
    }
    /// x to the power of a number, as C's `pow`: negative x with a fractional exponent gives NaN.
    pub fn pow_scalar(&self, exponent: f32) -> Result<Tensor> {
        self.unary("pow_scalar", exponent, 0.0)
    }
    /// x limited to `low..=high`; `high` where `low` is above it. The gradient is 0 at the bounds and outside, as in
    /// PyTorch.
    pub fn clamp(&self, low: f32, high: f32) -> Result<Tensor> {
        self.unary("clamp", low, high)
    }
}

fn forward(
    row: &Unary,
    x: &Tensor,
    [a, b]: [f32; 2],
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let y = Tensor::empty(x.device(), x.shape(), x.dtype())?;
    let line = format!(
        "fn op(x: f32, a: f32, b: f32) -> f32 {{ return {}; }}",
        row.wgsl
    );
    Elementwise {
        op: row.name,
        kernel: "unary",
        variant,
        inputs: &[("x", x)],
        output: ("y", &y),
        defines: Defines::new().code("op", &line),
        floats: &[("a", a), ("b", b)],
    }
    .run()?;
    Ok(y)
}

fn backward(
    row: &Unary,
    dy: &Tensor,
    v: &Tensor,
    [a, b]: [f32; 2],
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let dx = Tensor::empty(dy.device(), dy.shape(), dy.dtype())?;
    let name = if row.from_result { "y" } else { "x" };
    let line = format!(
        "fn derivative({name}: f32, a: f32, b: f32) -> f32 {{ return {}; }}",
        row.derivative
    );
    Elementwise {
        op: row.name,
        kernel: "unary_backward",
        variant,
        inputs: &[("dy", dy), ("v", v)],
        output: ("dx", &dx),
        defines: Defines::new().code("derivative", &line),
        floats: &[("a", a), ("b", b)],
    }
    .run()?;
    Ok(dx)
}

/// `dy` times the derivative of the exact GELU at `x`: what fused kernels need in their backward pass.
pub(crate) fn gelu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    backward(row("gelu")?, dy, x, [0.0, 0.0], None)
}
