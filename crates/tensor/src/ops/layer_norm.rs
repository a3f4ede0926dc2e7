//! Layer normalisation and root-mean-square normalisation of the last dimension.

use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tape::record;
use crate::tensor::Tensor;

use super::rows::Rows;

/// Values of a row that a lane keeps at most (see [`Rows::new`]); two each in the backward pass.
const KEPT: usize = 32;
const KEPT_BACKWARD: usize = 16;
/// Rows that one invocation sums at most for the gradients of weight and bias.
const SERIAL: usize = 1024;

impl Tensor {
    /// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension C (arXiv:1607.06450);
    /// weight and bias are `[C]` and of the type of `self`. The variance divides by C.
    pub fn layer_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor> {
        Norm {
            op: "layer_norm",
            rms: false,
            weight,
            bias,
        }
        .apply(self, eps)
    }

    /// x / sqrt(mean(x^2) + eps) * weight over the last dimension C (arXiv:1910.07467); weight is `[C]`
    /// and of the type of `self`.
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f32) -> Result<Tensor> {
        Norm {
            op: "rms_norm",
            rms: true,
            weight,
            bias: None,
        }
        .apply(self, eps)
    }
}

struct Norm<'a> {
    op: &'static str,
    rms: bool,
    weight: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
}

impl Norm<'_> {
    fn apply(&self, x: &Tensor, eps: f32) -> Result<Tensor> {
        let length = self.check(x)?;
        let x = x.contiguous()?;
        let rows = x.numel() / length;
        let device = x.device();
        let y = Tensor::empty(device, x.shape(), x.dtype())?;
        let statistics = Tensor::empty(device, &[2, rows], DType::F32)?;
        let defines = Rows::new(device, length, KEPT)
            .defines()
            .alias("S", x.dtype().wgsl())
            .flag_if(self.rms, "RMS")
            .flag_if(self.weight.is_some(), "WEIGHT")
            .flag_if(self.bias.is_some(), "BIAS");
        let kernel = device.kernel("layer_norm", &defines)?;
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("offset", x.offset())
            .u32("weight_offset", self.weight.map_or(0, Tensor::offset))
            .u32("weight_stride", self.weight.map_or(0, |w| w.strides()[0]))
            .u32("bias_offset", self.bias.map_or(0, Tensor::offset))
            .u32("bias_stride", self.bias.map_or(0, |b| b.strides()[0]))
            .f32("eps", eps)
            .bind(x.buffer())
            .bind(self.weight.unwrap_or(&x).buffer())
            .bind(self.bias.unwrap_or(&x).buffer())
            .bind(y.buffer())
            .bind(statistics.buffer())
            .groups(rows as u64)?;
        let inputs: Vec<&Tensor> = [Some(&x), self.weight, self.bias]
            .into_iter()
            .flatten()
            .collect();
        let saved = Saved {
            rms: self.rms,
            x: x.detach(),
            weight: self.weight.map(Tensor::detach),
            has_bias: self.bias.is_some(),
            statistics,
        };
        Ok(record(self.op, y, &inputs, move |dy, needs| {
            saved.backward(dy, needs)
        }))
    }

    /// The side that is normalised.
    fn check(&self, x: &Tensor) -> Result<usize> {
        let length = x.shape().last().copied().unwrap_or(0);
        if length == 0 || !x.dtype().is_float() {
            return Err(Error::op(
                self.op,
                format!(
                    "a float tensor with a last dimension of at least 1 is needed, {x:?} was given"
                ),
            ));
        }
        for (name, tensor) in [("weight", self.weight), ("bias", self.bias)] {
            let Some(tensor) = tensor else { continue };
            if tensor.shape() != [length] || tensor.dtype() != x.dtype() {
                return Err(Error::op(
                    self.op,
                    format!(
                        "for {x:?} the {name} is {} [{length}], {tensor:?} was given",
                        x.dtype()
                    ),
                ));
            }
        }
        Ok(length)
    }
}

struct Saved {
    rms: bool,
    x: Tensor,
    weight: Option<Tensor>,
    has_bias: bool,
    statistics: Tensor,
}

impl Saved {
    fn backward(&self, dy: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.contiguous()?;
        let mut parts = vec![None; needs.len()];
        if needs[0] {
            parts[0] = Some(self.input(&dy)?);
        }
        if needs[1..].contains(&true) {
            let sums = self.weight_and_bias(&dy)?;
            let part = |row: usize| sums.narrow(0, row, 1)?.reshape(&[sums.shape()[1]]);
            let with_weight = usize::from(self.weight.is_some());
            if self.weight.is_some() && needs[1] {
                parts[1] = Some(part(0)?);
            }
            if self.has_bias && needs[1 + with_weight] {
                parts[1 + with_weight] = Some(part(1)?);
            }
        }
        Ok(parts)
    }

    fn sides(&self) -> (usize, usize) {
        let length = self.x.shape().last().copied().unwrap_or(1);
        (self.x.numel() / length, length)
    }

    fn input(&self, dy: &Tensor) -> Result<Tensor> {
        let device = dy.device();
        let (rows, length) = self.sides();
        let dx = Tensor::empty(device, self.x.shape(), self.x.dtype())?;
        let weight = self.weight.as_ref();
        let defines = Rows::new(device, length, KEPT_BACKWARD)
            .defines()
            .alias("S", dy.dtype().wgsl())
            .flag_if(self.rms, "RMS")
            .flag_if(weight.is_some(), "WEIGHT");
        let kernel = device.kernel("layer_norm_backward", &defines)?;
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("dy_offset", dy.offset())
            .u32("offset", self.x.offset())
            .u32("weight_offset", weight.map_or(0, Tensor::offset))
            .u32("weight_stride", weight.map_or(0, |w| w.strides()[0]))
            .bind(dy.buffer())
            .bind(self.x.buffer())
            .bind(weight.unwrap_or(&self.x).buffer())
            .bind(self.statistics.buffer())
            .bind(dx.buffer())
            .groups(rows as u64)?;
        Ok(dx)
    }

    /// The gradients of weight and bias as the rows of one tensor.
    fn weight_and_bias(&self, dy: &Tensor) -> Result<Tensor> {
        let device = dy.device();
        let (rows, length) = self.sides();
        // A subgroup of 8 is Mesa's software adapter, which has few lanes to fill.
        let wanted = match device.subgroup_size() {
            Some(8) => 1024,
            _ => 65_536,
        };
        let lanes = length.div_ceil(4);
        let chunks = (wanted / lanes)
            .min(rows / 16)
            .max(rows.div_ceil(SERIAL))
            .max(1);
        let partials = Tensor::empty(device, &[chunks, 2, length], DType::F32)?;
        let defines = wgrad_runtime::Defines::new().alias("S", dy.dtype().wgsl());
        let kernel = device.kernel("layer_norm_backward_weight", &defines)?;
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("chunks", chunks)
            .u32("dy_offset", dy.offset())
            .u32("offset", self.x.offset())
            .bind(dy.buffer())
            .bind(self.x.buffer())
            .bind(self.statistics.buffer())
            .bind(partials.buffer())
            .invocations((lanes * chunks) as u64)?;
        partials.sum(&[0], false)?.cast(dy.dtype())
    }
}

fn reference(x: &[HostArray], rms: bool, weighted: bool, eps: f64) -> HostArray {
    let last = x[0].shape.len() - 1;
    let mut y = x[0].along(last, |row| {
        let n = row.len() as f64;
        let mean = if rms {
            0.0
        } else {
            row.iter().sum::<f64>() / n
        };
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        row.iter()
            .map(|v| (v - mean) / (variance + eps).sqrt())
            .collect()
    });
    if weighted {
        y = y.zip(&x[1], |a, b| a * b);
    }
    match x.get(1 + usize::from(weighted)) {
        Some(bias) => y.zip(bias, |a, b| a + b),
        None => y,
    }
}

/// One row; `weight` and `bias` follow `input` where they are given.
fn case(rms: bool, input: Input, weight: Option<Input>, bias: Option<Input>, eps: f32) -> Case {
    let length = input.shape[input.shape.len() - 1];
    let (weighted, biased) = (weight.is_some(), bias.is_some());
    let name = if rms { "rms_norm" } else { "layer_norm" };
    let w = if weighted { "weight=x1, " } else { "" };
    let b = match (weighted, biased) {
        (_, false) => "",
        (true, true) => "bias=x2, ",
        (false, true) => "bias=x1, ",
    };
    Case::new(
        name,
        &format!("F.{name}(x0, ({length},), {w}{b}eps={eps:e})"),
        [Some(input), weight, bias].into_iter().flatten().collect(),
        move |x| {
            let weight = weighted.then(|| &x[1]);
            let bias = biased.then(|| &x[1 + usize::from(weighted)]);
            match rms {
                true => x[0].rms_norm(weight, eps),
                false => x[0].layer_norm(weight, bias, eps),
            }
        },
        move |x: &[HostArray]| reference(x, rms, weighted, eps.into()),
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for rms in [false, true] {
        for dtype in [DType::F32, DType::F16] {
            let input =
                |shape: &[usize], layout| Input::new(shape, dtype).layout(layout).range(-2.0, 3.0);
            let weight = |side: usize| Input::new(&[side], dtype).range(0.5, 1.5);
            let long = [
                (vec![2, 513], Layout::Contiguous),
                (vec![2, 2500], Layout::Sliced),
                (vec![2, 8200], Layout::Contiguous),
            ];
            for (shape, layout) in shapes::rows().into_iter().chain(long) {
                let side = shape[shape.len() - 1];
                let bias = (!rms).then(|| Input::new(&[side], dtype));
                out.push(case(
                    rms,
                    input(&shape, layout),
                    Some(weight(side)),
                    bias,
                    1e-5,
                ));
                out.push(case(rms, input(&shape, layout), None, None, 1e-5));
            }
            // One of weight and bias; frozen ones; scattered and repeated ones.
            let x = || input(&[5, 33], Layout::Contiguous);
            out.push(case(rms, x(), Some(weight(33).frozen()), None, 1e-5));
            out.push(case(rms, x().frozen(), Some(weight(33)), None, 1e-5).note("dw only"));
            out.push(case(
                rms,
                x(),
                Some(weight(33).layout(Layout::Sliced)),
                None,
                1e-5,
            ));
            out.push(case(
                rms,
                x(),
                Some(weight(33).layout(Layout::Expanded)),
                None,
                1e-5,
            ));
            // BERT's eps; many rows for the sums over them.
            out.push(case(
                rms,
                input(&[1100, 12], Layout::Contiguous),
                Some(weight(12)),
                (!rms).then(|| Input::new(&[12], dtype)),
                1e-12,
            ));
            if !rms {
                let bias = || Input::new(&[33], dtype);
                out.push(case(rms, x(), None, Some(bias()), 1e-5));
                let w = weight(33).frozen();
                out.push(case(rms, x().frozen(), Some(w), Some(bias()), 1e-5).note("db only"));
                let sliced = bias().layout(Layout::Sliced);
                out.push(case(rms, x(), Some(weight(33)), Some(sliced), 1e-5));
            }
        }
        let float = |shape: &[usize]| Input::new(shape, DType::F32);
        // Far from 0 the variance must not be a difference of large numbers; more than 65,535 rows.
        let far = float(&[4, 300]).range(1000.0, 1001.0);
        out.push(case(rms, far, None, None, 1e-5).note("far from 0"));
        out.push(case(
            rms,
            float(&[70_000, 3]),
            Some(float(&[3]).range(0.5, 1.5)),
            None,
            1e-3,
        ));
        let name = if rms { "rms_norm" } else { "layer_norm" };
        for (inputs, text) in [
            (vec![float(&[2, 3]), float(&[2])], "the weight is f32 [3]"),
            (
                vec![float(&[2, 3]), Input::new(&[3], DType::F16)],
                "the weight is f32 [3]",
            ),
            (
                vec![Input::new(&[3], DType::U32).index(5)],
                "a float tensor with a last dimension",
            ),
            (vec![float(&[])], "a float tensor with a last dimension"),
        ] {
            out.push(Case::rejects(
                name,
                inputs,
                move |x| match rms {
                    true => x[0].rms_norm(x.get(1), 1e-5),
                    false => x[0].layer_norm(x.get(1), None, 1e-5),
                },
                text,
            ));
        }
    }
}
