//! Ops limited by memory bandwidth: the plain kernel and the chosen one by turns.

use anyhow::{Result, bail};
use wgrad_tensor::ops::binary::binary_with;
use wgrad_tensor::ops::layer_norm::norm_with;
use wgrad_tensor::ops::rows::RowVariant;
use wgrad_tensor::ops::softmax::softmax_with;
use wgrad_tensor::ops::unary::unary_with;
use wgrad_tensor::{DType, Norm, Tensor, no_grad};

use super::row::Work;
use super::session::{Bench, Way};
use super::values::uniform;

/// The ops that [`run`] knows.
pub const OPS: [&str; 5] = ["softmax", "layer_norm", "rms_norm", "gelu", "add"];

/// The inputs of an op.
struct Inputs {
    x: Tensor,
    other: Tensor,
    weight: Tensor,
    bias: Tensor,
}

fn call(op: &str, on: &Inputs, variant: Option<RowVariant>) -> Result<()> {
    let Inputs {
        x,
        other,
        weight,
        bias,
    } = on;
    let norm = Norm {
        weight: Some(weight),
        eps: 1e-5,
        ..Norm::default()
    };
    no_grad(|| match op {
        "softmax" => softmax_with(x, -1, false, variant),
        "layer_norm" => {
            let bias = Some(bias);
            norm_with(x, &Norm { bias, ..norm }, variant)
        }
        "rms_norm" => norm_with(x, &Norm { rms: true, ..norm }, variant),
        "add" => binary_with(x, other, op, variant),
        _ => unary_with(x, op, [0.0; 2], variant),
    })?;
    Ok(())
}

/// Times `op` on `[rows, columns]`: by the plain kernel (one row or element after the other), then as the
/// op chooses. Each input is counted once and the result once.
pub fn run(bench: &mut Bench, op: &str, [r, c]: [usize; 2], dtype: DType) -> Result<()> {
    if !OPS.contains(&op) {
        bail!("there is no row op `{op}`; there are {}", OPS.join(", "));
    }
    let device = bench.device.clone();
    let name = format!("{op} {} {r}x{c}", dtype.wgsl());
    let made = || -> Result<Inputs> {
        if dtype == DType::F16 && !device.has_f16() {
            bail!("the adapter has no shader-f16");
        }
        Ok(Inputs {
            x: uniform(&device, &[r, c], dtype, 1)?,
            other: uniform(&device, &[r, c], dtype, 2)?,
            weight: uniform(&device, &[c], dtype, 3)?,
            bias: uniform(&device, &[c], dtype, 4)?,
        })
    };
    let inputs = match made() {
        Ok(inputs) => inputs,
        Err(error) => {
            return bench.skip(bench.title(&name), &error);
        }
    };
    let elements = (r * c) as f64;
    // Nominal counts: memory is the limit, not arithmetic.
    let (operations, tensors, rows) = match op {
        "softmax" => (5.0, 2.0, 0.0),
        "layer_norm" => (8.0, 2.0, 2.0),
        "rms_norm" => (6.0, 2.0, 1.0),
        "add" => (1.0, 3.0, 0.0),
        _ => (8.0, 2.0, 0.0),
    };
    let bytes = dtype.size() as f64 * (tensors * elements + rows * c as f64);
    let work = Work::new(operations * elements, bytes);
    let work = match dtype {
        DType::F16 => work.half(),
        _ => work,
    };
    let inputs = &inputs;
    let ways = [(" plain", Some(RowVariant::Plain)), ("", None)].map(|(way, variant)| -> Way {
        let call = move || call(op, inputs, variant);
        (format!("{name}{way}"), work, Box::new(call))
    });
    bench.versus(ways.into())
}
