//! Pointwise functions of two tensors, broadcasting: one table row each.

use wgrad_runtime::Defines;

use crate::cases::{Case, HostArray, Input, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
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

fn row(name: &'static str) -> Result<&'static Binary> {
    BINARY
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| Error::op("binary", format!("there is no pointwise op {name}")))
}

impl Tensor {
    fn binary(&self, other: &Tensor, name: &'static str) -> Result<Tensor> {
        let row = row(name)?;
        if self.dtype() != other.dtype() {
            return Err(Error::op(
                row.name,
                format!(
                    "element types differ, {} and {}; cast one of them",
                    self.dtype(),
                    other.dtype()
                ),
            ));
        }
        let Some(gradient) = row.gradient else {
            refuse_grad(row.name, &[self, other])?;
            return forward(row, self, other);
        };
        let y = forward(row, self, other)?;
        let (a, b) = (self.detach(), other.detach());
        Ok(record(row.name, y, &[self, other], move |dy, needs| {
            let part = |side: usize, of: &Tensor| {
                if !needs[side] {
                    return Ok(None);
                }
                let full = match gradient[side] {
                    "dy" => dy.clone(),
                    code => backward(row.name, code, dy, &a, &b)?,
                };
                full.sum_to(of.shape()).map(Some)
            };
            Ok(vec![part(0, &a)?, part(1, &b)?])
        }))
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

fn forward(row: &Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let device = a.device();
    let shape = broadcast(row.name, a.shape(), b.shape())?;
    let arithmetic = row.gradient.is_some();
    let compute = if a.dtype().is_float() {
        DType::F32
    } else {
        a.dtype()
    };
    if row.name == "pow" && !a.dtype().is_float() {
        return Err(Error::op(
            "pow",
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
    let defines = Defines::new()
        .code("op", &line)
        .alias("S", a.dtype().wgsl())
        .alias("T", out.wgsl())
        .alias("COMPUTE", compute.wgsl())
        .flag_if(plain, "CONTIGUOUS");
    let kernel = device.kernel("binary", &defines)?;
    device
        .launch(&kernel)
        .u32("n", y.numel())
        .u32("a_offset", a.offset())
        .u32("b_offset", b.offset())
        .words("shape", &walk.shape)
        .words("a_strides", &walk.strides[0])
        .words("b_strides", &walk.strides[1])
        .bind(a.buffer())
        .bind(b.buffer())
        .bind(y.buffer())
        .invocations(y.numel() as u64)?;
    Ok(y)
}

fn backward(op: &'static str, code: &str, dy: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let device = dy.device();
    let shape = dy.shape();
    let dx = Tensor::empty(device, shape, dy.dtype())?;
    let a_strides = broadcast_strides(a.shape(), a.strides(), shape);
    let b_strides = broadcast_strides(b.shape(), b.strides(), shape);
    let walk = Walk::new(op, shape, &[dy.strides(), &a_strides, &b_strides])?;
    let line = format!("fn derivative(dy: f32, a: f32, b: f32) -> f32 {{ return {code}; }}");
    let defines = Defines::new()
        .code("derivative", &line)
        .alias("S", dy.dtype().wgsl());
    let kernel = device.kernel("binary_backward", &defines)?;
    device
        .launch(&kernel)
        .u32("n", dx.numel())
        .u32("dy_offset", dy.offset())
        .u32("a_offset", a.offset())
        .u32("b_offset", b.offset())
        .words("shape", &walk.shape)
        .words("dy_strides", &walk.strides[0])
        .words("a_strides", &walk.strides[1])
        .words("b_strides", &walk.strides[2])
        .bind(dy.buffer())
        .bind(a.buffer())
        .bind(b.buffer())
        .bind(dx.buffer())
        .invocations(dx.numel() as u64)?;
    Ok(dx)
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for row in BINARY {
        let name = row.name;
        let reference = row.reference;
        for dtype in [DType::F32, DType::F16] {
            for (a, b) in shapes::pairs() {
                let side = |(shape, layout): (Vec<usize>, _)| {
                    let input = Input::new(&shape, dtype).layout(layout);
                    // Comparisons draw from few values, so that equal pairs happen.
                    match row.gradient {
                        Some(_) => input.range(row.range.0, row.range.1),
                        None => input.steps(4).frozen(),
                    }
                };
                out.push(Case::new(
                    name,
                    row.torch,
                    vec![side(a), side(b)],
                    move |x| x[0].binary(&x[1], name),
                    move |x: &[HostArray]| x[0].zip(&x[1], reference),
                ));
            }
        }
        out.push(Case::rejects(
            name,
            vec![
                Input::new(&[3, 2], DType::F32).frozen(),
                Input::new(&[4], DType::F32).frozen(),
            ],
            move |x| x[0].binary(&x[1], name),
            "do not broadcast",
        ));
        out.push(Case::rejects(
            name,
            vec![
                Input::new(&[3], DType::F32).frozen(),
                Input::new(&[3], DType::U32).index(4),
            ],
            move |x| x[0].binary(&x[1], name),
            "element types differ",
        ));
    }
    for dtype in [DType::U32, DType::I32] {
        out.push(Case::new(
            "add",
            "x0 + x1",
            vec![
                Input::new(&[5, 3], dtype).index(90),
                Input::new(&[3], dtype).index(9),
            ],
            |x| x[0].add(&x[1]),
            |x: &[HostArray]| x[0].zip(&x[1], |a, b| a + b),
        ));
        out.push(Case::new(
            "eq",
            "(x0 == x1)",
            vec![
                Input::new(&[300], dtype).index(3),
                Input::new(&[300], dtype).index(3),
            ],
            |x| x[0].eq(&x[1]),
            |x: &[HostArray]| x[0].zip(&x[1], |a, b| f64::from(a == b)),
        ));
    }
}
