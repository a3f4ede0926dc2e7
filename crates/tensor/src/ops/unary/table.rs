//! The table of pointwise functions of one tensor, and what their float64 references need.

use crate::error::{Error, Result};

/// One pointwise function. The WGSL expressions see `x` (in the derivative also or instead `y`, the
/// result) and the parameters `a` and `b`.
pub(super) struct Unary {
    /// The name of the method.
    pub name: &'static str,
    pub wgsl: &'static str,
    pub derivative: &'static str,
    /// Whether the derivative is written in the result instead of the input.
    pub from_result: bool,
    /// The function in float64, of x, a and b.
    pub reference: fn(f64, f64, f64) -> f64,
    /// PyTorch's expression, of `x0`.
    pub torch: &'static str,
    /// The range of inputs the cases draw from.
    pub range: (f64, f64),
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

/// All of them.
pub(super) const UNARY: &[Unary] = &[
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
        derivative: "select(0.0, sign(x), abs(x) > 0.0)",
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
        derivative: "reciprocal(x)",
        from_result: false,
        reference: |x, _, _| x.ln(),
        torch: "x0.log()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "sqrt",
        wgsl: "sqrt(x)",
        derivative: "0.5 * reciprocal(y)",
        from_result: true,
        reference: |x, _, _| x.sqrt(),
        torch: "x0.sqrt()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "rsqrt",
        wgsl: "reciprocal(sqrt(x))",
        derivative: "-0.5 * y * y * y",
        from_result: true,
        reference: |x, _, _| 1.0 / x.sqrt(),
        torch: "x0.rsqrt()",
        range: (0.3, 3.0),
    },
    Unary {
        name: "sin",
        wgsl: "precise_sin(x)",
        derivative: "precise_cos(x)",
        from_result: false,
        reference: |x, _, _| x.sin(),
        torch: "x0.sin()",
        range: (-3.0, 3.0),
    },
    Unary {
        name: "cos",
        wgsl: "precise_cos(x)",
        derivative: "-precise_sin(x)",
        from_result: false,
        reference: |x, _, _| x.cos(),
        torch: "x0.cos()",
        range: (-3.0, 3.0),
    },
    Unary {
        name: "relu",
        wgsl: "maximum(x, 0.0)",
        derivative: "select(1.0, 0.0, y <= 0.0)",
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
        wgsl: "maximum(x, 0.0) + precise_log1p(precise_exp(-abs(x)))",
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
        derivative: "select(a * precise_pow(x, a - 1.0), 0.0, a == 0.0)",
        from_result: false,
        reference: |x, a, _| x.powf(a),
        torch: "x0 ** {a}",
        range: (0.3, 2.0),
    },
    Unary {
        name: "clamp",
        wgsl: "minimum(maximum(x, a), b)",
        derivative: "select(0.0, 1.0, x > a && x < b)",
        from_result: false,
        reference: |x, a, b| x.max(a).min(b),
        torch: "x0.clamp({a}, {b})",
        range: (-2.0, 2.0),
    },
];

/// The row of that name.
pub(super) fn row(name: &str) -> Result<&'static Unary> {
    UNARY
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| Error::op("unary", format!("there is no pointwise op {name}")))
}
