//! Pointwise functions of one tensor, by a table of expressions.

mod cases;
mod table;

pub use cases::cases;
pub(crate) use table::gelu_reference;

use crate::error::{Error, Result};
use crate::ops::rows::{Variant, elements};
use crate::shape::Walk;
use crate::tape::record;
use crate::tensor::Tensor;
use table::{Unary, row};

/// The pointwise function `name` (as its method is called) with its parameters, by a chosen variant, as
/// far as it can run: for benchmarks and checks.
pub fn unary_with(
    x: &Tensor,
    name: &str,
    [a, b]: [f32; 2],
    variant: Option<Variant>,
) -> Result<Tensor> {
    let row = row(name)?;
    if !x.dtype().is_float() {
        return Err(Error::op(
            row.name,
            format!("a float tensor is needed, {x:?} was given; cast it first"),
        ));
    }
    let y = forward(row, x, [a, b], variant)?;
    let saved = if row.from_result {
        y.clone()
    } else {
        x.detach()
    };
    Ok(record(row.name, y, &[x], move |dy, _| {
        Ok(vec![Some(backward(row, dy, &saved, [a, b], variant)?)])
    }))
}

impl Tensor {
    fn unary(&self, name: &'static str, a: f32, b: f32) -> Result<Tensor> {
        unary_with(self, name, [a, b], None)
    }

    /// Negative.
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
    /// Natural logarithm of positive values.
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
    /// x to the power of a number. Negative x is right for whole exponents, as in PyTorch.
    pub fn pow_scalar(&self, exponent: f32) -> Result<Tensor> {
        self.unary("pow_scalar", exponent, 0.0)
    }
    /// x limited to `low..=high`; the gradient is 0 outside.
    pub fn clamp(&self, low: f32, high: f32) -> Result<Tensor> {
        self.unary("clamp", low, high)
    }
}

fn forward(row: &Unary, x: &Tensor, [a, b]: [f32; 2], variant: Option<Variant>) -> Result<Tensor> {
    let device = x.device();
    let y = Tensor::empty(device, x.shape(), x.dtype())?;
    let walk = Walk::new(row.name, x.shape(), &[x.strides()])?;
    let (defines, lanes) = elements(variant, &[x]);
    let defines = defines
        .code(
            "op",
            &format!(
                "fn op(x: f32, a: f32, b: f32) -> f32 {{ return {}; }}",
                row.wgsl
            ),
        )
        .flag_if(x.is_contiguous(), "CONTIGUOUS");
    let kernel = device.kernel("unary", &defines)?;
    device
        .launch(&kernel)
        .u32("n", x.numel())
        .u32("offset", x.offset())
        .f32("a", a)
        .f32("b", b)
        .u32s("shape", &walk.shape)
        .u32s("strides", &walk.strides[0])
        .bind(x.buffer())
        .bind(y.buffer())
        .invocations(x.numel().div_ceil(lanes) as u64)?;
    Ok(y)
}

fn backward(
    row: &Unary,
    dy: &Tensor,
    v: &Tensor,
    [a, b]: [f32; 2],
    variant: Option<Variant>,
) -> Result<Tensor> {
    let device = dy.device();
    let dx = Tensor::empty(device, dy.shape(), dy.dtype())?;
    let walk = Walk::new(row.name, dy.shape(), &[dy.strides(), v.strides()])?;
    let name = if row.from_result { "y" } else { "x" };
    let line = format!(
        "fn derivative({name}: f32, a: f32, b: f32) -> f32 {{ return {}; }}",
        row.derivative
    );
    let (defines, lanes) = elements(variant, &[dy, v]);
    let defines = defines
        .code("derivative", &line)
        .flag_if(dy.is_contiguous() && v.is_contiguous(), "CONTIGUOUS");
    let kernel = device.kernel("unary_backward", &defines)?;
    device
        .launch(&kernel)
        .u32("n", dy.numel())
        .u32("dy_offset", dy.offset())
        .u32("v_offset", v.offset())
        .f32("a", a)
        .f32("b", b)
        .u32s("shape", &walk.shape)
        .u32s("dy_strides", &walk.strides[0])
        .u32s("v_strides", &walk.strides[1])
        .bind(dy.buffer())
        .bind(v.buffer())
        .bind(dx.buffer())
        .invocations(dy.numel().div_ceil(lanes) as u64)?;
    Ok(dx)
}

/// `dy` times the derivative of the exact GELU at `x`: what fused kernels need in their backward pass.
pub(crate) fn gelu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    backward(row("gelu")?, dy, x, [0.0, 0.0], None)
}
