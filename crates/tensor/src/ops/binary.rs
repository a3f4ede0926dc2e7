//! Pointwise functions of two tensors, broadcasting: one table row each.

mod cases;

pub use cases::cases;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::rows::{Variant, elements};
use crate::shape::{Walk, broadcast, broadcast_strides};
use crate::tape::{record, refuse_grad};
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
        gradient: Some(["dy / b", "-dy * a / (b * b)"]),
        reference: |a, b| a / b,
        torch: "x0 / x1",
        range: (0.4, 2.0),
    },
    Binary {
        name: "pow",
        wgsl: "precise_pow(a, b)",
        gradient: Some([
            "dy * b * precise_pow(a, b - 1.0)",
            "dy * precise_pow(a, b) * precise_log(a)",
        ]),
        reference: |a, b| a.powf(b),
        torch: "x0 ** x1",
        range: (0.4, 2.0),
    },
    Binary {
        name: "maximum",
        wgsl: "max(a, b)",
        gradient: Some([
            "dy * select(select(0.0, 0.5, a == b), 1.0, a > b)",
            "dy * select(select(0.0, 0.5, a == b), 1.0, b > a)",
        ]),
        reference: f64::max,
        torch: "torch.maximum(x0, x1)",
        range: (-2.0, 2.0),
    },
    Binary {
        name: "minimum",
        wgsl: "min(a, b)",
        gradient: Some([
            "dy * select(select(0.0, 0.5, a == b), 1.0, a < b)",
            "dy * select(select(0.0, 0.5, a == b), 1.0, b < a)",
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

/// The pointwise function `name` (as its method is called), by a chosen variant, as far as it can run:
/// for benchmarks and checks.
pub fn binary_with(a: &Tensor, b: &Tensor, name: &str, variant: Option<Variant>) -> Result<Tensor> {
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
        refuse_grad(row.name, &[a, b])?;
        return forward(row, a, b, variant);
    };
    let y = forward(row, a, b, variant)?;
    let (a_kept, b_kept) = (a.detach(), b.detach());
    Ok(record(row.name, y, &[a, b], move |dy, needs| {
        let part = |side: usize, of: &Tensor| {
            if !needs[side] {
                return Ok(None);
            }
            let full = match gradient[side] {
                "dy" => dy.clone(),
                code => backward(row.name, code, [dy, &a_kept, &b_kept], variant)?,
            };
            full.sum_to(of.shape()).map(Some)
        };
        Ok(vec![part(0, &a_kept)?, part(1, &b_kept)?])
    }))
}

impl Tensor {
    fn binary(&self, other: &Tensor, name: &str) -> Result<Tensor> {
        binary_with(self, other, name, None)
    }

    /// Sum of two tensors.
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
    /// `self` to the power `other`; the gradient of the exponent needs positive bases.
    pub fn pow(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "pow")
    }
    /// silu(self) * other, the gated unit of arXiv:2002.05202, in one kernel.
    pub fn swiglu(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "swiglu")
    }
    /// The larger; where both are equal each gets half of the gradient, as in PyTorch.
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        self.binary(other, "maximum")
    }
    /// The smaller; where both are equal each gets half of the gradient.
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

fn forward(row: &Binary, a: &Tensor, b: &Tensor, variant: Option<Variant>) -> Result<Tensor> {
    let device = a.device();
    let shape = broadcast(row.name, a.shape(), b.shape())?;
    let arithmetic = row.gradient.is_some();
    let compute = if a.dtype().is_float() {
        DType::F32
    } else {
        a.dtype()
    };
    if ["pow", "swiglu"].contains(&row.name) && !a.dtype().is_float() {
        return Err(Error::op(
            row.name,
            "float tensors are needed; cast them first",
        ));
    }
    let out = if arithmetic { a.dtype() } else { DType::U32 };
    let y = Tensor::empty(device, &shape, out)?;
    let a_strides = broadcast_strides(a.shape(), a.strides(), &shape);
    let b_strides = broadcast_strides(b.shape(), b.strides(), &shape);
    let walk = Walk::new(row.name, &shape, &[&a_strides, &b_strides])?;
    let plain = a.shape() == b.shape() && a.is_contiguous() && b.is_contiguous();
    let result = if arithmetic { compute.wgsl() } else { "bool" };
    let line = format!(
        "fn op(a: {0}, b: {0}) -> {result} {{ return {1}; }}",
        compute.wgsl(),
        row.wgsl
    );
    let vectors = (plain && arithmetic).then_some(variant);
    let (defines, lanes) = elements(vectors.unwrap_or(Some(Variant::Plain)), &[a, b]);
    let out = match lanes {
        1 => out.wgsl().to_owned(),
        _ => format!("vec4<{out}>"),
    };
    let defines = defines
        .code("op", &line)
        .alias("T", &out)
        .alias("COMPUTE", compute.wgsl())
        .flag_if(plain, "CONTIGUOUS");
    let kernel = device.kernel("binary", &defines)?;
    device
        .launch(&kernel)
        .u32("n", y.numel())
        .u32("a_offset", a.offset())
        .u32("b_offset", b.offset())
        .u32s("shape", &walk.shape)
        .u32s("a_strides", &walk.strides[0])
        .u32s("b_strides", &walk.strides[1])
        .bind(a.buffer())
        .bind(b.buffer())
        .bind(y.buffer())
        .invocations(y.numel().div_ceil(lanes) as u64)?;
    Ok(y)
}

fn backward(
    op: &'static str,
    code: &str,
    [dy, a, b]: [&Tensor; 3],
    variant: Option<Variant>,
) -> Result<Tensor> {
    let device = dy.device();
    let shape = dy.shape();
    let dx = Tensor::empty(device, shape, dy.dtype())?;
    let a_strides = broadcast_strides(a.shape(), a.strides(), shape);
    let b_strides = broadcast_strides(b.shape(), b.strides(), shape);
    let walk = Walk::new(op, shape, &[dy.strides(), &a_strides, &b_strides])?;
    let line = format!("fn derivative(dy: f32, a: f32, b: f32) -> f32 {{ return {code}; }}");
    let vectors = (a.shape() == b.shape()).then_some(variant);
    let (defines, lanes) = elements(vectors.unwrap_or(Some(Variant::Plain)), &[dy, a, b]);
    let defines = defines.code("derivative", &line);
    let kernel = device.kernel("binary_backward", &defines)?;
    device
        .launch(&kernel)
        .u32("n", dx.numel())
        .u32("dy_offset", dy.offset())
        .u32("a_offset", a.offset())
        .u32("b_offset", b.offset())
        .u32s("shape", &walk.shape)
        .u32s("dy_strides", &walk.strides[0])
        .u32s("a_strides", &walk.strides[1])
        .u32s("b_strides", &walk.strides[2])
        .bind(dy.buffer())
        .bind(a.buffer())
        .bind(b.buffer())
        .bind(dx.buffer())
        .invocations(dx.numel().div_ceil(lanes) as u64)?;
    Ok(dx)
}
