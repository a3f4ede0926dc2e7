//! Pointwise functions of one tensor: one table row each.

mod cases;

pub use cases::cases;

use crate::error::{Error, Result};
use crate::ops::rows::{Variant, elements};
use crate::shape::Walk;
use crate::tape::record;
use crate::tensor::Tensor;

/// One pointwise function. The WGSL expressions see `x` (in the derivative also or instead `y`, the
/// result) and the parameters `a` and `b`.
struct Unary {
    name: &'static str,
    wgsl: &'static str,
    derivative: &'static str,
    /// Whether the derivative is written in the result instead of the input.
    from_result: bool,
    reference: fn(f64, f64, f64) -> f64,
    torch: &'static str,
    /// The range of inputs the cases draw from.
    range: (f64, f64),
}

/// The error function in float64, from its series and continued fraction.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 2.5 {
        let (mut term, mut sum, mut n) = (t, t, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -t * t / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let mut f = 0.0;
        for k in (1..=60).rev() {
            f = f64::from(k) / 2.0 / (t + f);
        }
        1.0 - (-t * t).exp() / ((t + f) * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

/// The exact GELU in float64.
pub(crate) fn gelu_reference(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const UNARY: &[Unary] = &[
    Unary {
        name: "neg",
        wgsl: "-x",
        derivative: "-1.0",
        from_result: false,
        reference: |x, _, _| -x,
        torch: "-x0",
        range: (-2.0, 2.0),
    },
    Unary {
        name: "abs",
        wgsl: "abs(x)",
        derivative: "sign(x)",
        from_result: false,
        reference: |x, _, _| x.abs(),
        torch: "x0.abs()",
        range: (-2.0, 2.0),
    },
    Unary {
        name: "exp",
        wgsl: "precise_exp(x)",
        derivative: "y",
        from_result: true,
        reference: |x, _, _| x.exp(),
        torch: "x0.exp()",
        range: (-3.0, 3.0),
    },
    Unary {
        name: "log",
        wgsl: "precise_log(x)",
        derivative: "1.0 / x",
        from_result: false,
        reference: |x, _, _| x.ln(),
        torch: "x0.log()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "sqrt",
        wgsl: "sqrt(x)",
        derivative: "0.5 / y",
        from_result: true,
        reference: |x, _, _| x.sqrt(),
        torch: "x0.sqrt()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "rsqrt",
        wgsl: "1.0 / sqrt(x)",
        derivative: "-0.5 * y * y * y",
        from_result: true,
        reference: |x, _, _| 1.0 / x.sqrt(),
        torch: "x0.rsqrt()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "sin",
        wgsl: "sin(x)",
        derivative: "cos(x)",
        from_result: false,
        reference: |x, _, _| x.sin(),
        torch: "x0.sin()",
        range: (-3.0, 3.0),
    },
    Unary {
        name: "cos",
        wgsl: "cos(x)",
        derivative: "-sin(x)",
        from_result: false,
        reference: |x, _, _| x.cos(),
        torch: "x0.cos()",
        range: (-3.0, 3.0),
    },
    Unary {
        name: "relu",
        wgsl: "max(x, 0.0)",
        derivative: "select(0.0, 1.0, y > 0.0)",
        from_result: true,
        reference: |x, _, _| x.max(0.0),
        torch: "F.relu(x0)",
        range: (-2.0, 2.0),
    },
    Unary {
        name: "tanh",
        wgsl: "precise_tanh(x)",
        derivative: "1.0 - y * y",
        from_result: true,
        reference: |x, _, _| x.tanh(),
        torch: "x0.tanh()",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "sigmoid",
        wgsl: "sigmoid(x)",
        derivative: "y * (1.0 - y)",
        from_result: true,
        reference: |x, _, _| sigmoid(x),
        torch: "x0.sigmoid()",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "silu",
        wgsl: "x * sigmoid(x)",
        derivative: "sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))",
        from_result: false,
        reference: |x, _, _| x * sigmoid(x),
        torch: "F.silu(x0)",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "gelu",
        wgsl: "gelu(x)",
        derivative: "gelu_derivative(x)",
        from_result: false,
        reference: |x, _, _| gelu_reference(x),
        torch: "F.gelu(x0)",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "gelu_tanh",
        wgsl: "gelu_tanh(x)",
        derivative: "gelu_tanh_derivative(x)",
        from_result: false,
        reference: |x, _, _| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + u.tanh())
        },
        torch: "F.gelu(x0, approximate='tanh')",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "softplus",
        wgsl: "max(x, 0.0) + precise_log1p(precise_exp(-abs(x)))",
        derivative: "sigmoid(x)",
        from_result: false,
        reference: |x, _, _| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        torch: "F.softplus(x0)",
        range: (-4.0, 4.0),
    },
    Unary {
        name: "affine",
        wgsl: "x * a + b",
        derivative: "a",
        from_result: false,
        reference: |x, a, b| x * a + b,
        torch: "x0 * {a} + {b}",
        range: (-2.0, 2.0),
    },
    Unary {
        name: "pow_scalar",
        wgsl: "precise_pow(x, a)",
        derivative: "a * precise_pow(x, a - 1.0)",
        from_result: false,
        reference: |x, a, _| x.powf(a),
        torch: "x0 ** {a}",
        range: (0.3, 2.0),
    },
    Unary {
        name: "clamp",
        wgsl: "clamp(x, a, b)",
        derivative: "select(0.0, 1.0, x >= a && x <= b)",
        from_result: false,
        reference: |x, a, b| x.clamp(a, b),
        torch: "x0.clamp({a}, {b})",
        range: (-2.0, 2.0),
    },
];

fn row(name: &str) -> Result<&'static Unary> {
    UNARY
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| Error::op("unary", format!("there is no pointwise op {name}")))
}

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
        .words("shape", &walk.shape)
        .words("strides", &walk.strides[0])
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
        .words("shape", &walk.shape)
        .words("dy_strides", &walk.strides[0])
        .words("v_strides", &walk.strides[1])
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
