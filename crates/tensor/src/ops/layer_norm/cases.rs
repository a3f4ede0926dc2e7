//! The float64 references of the norms and their rows of the op matrix.

use super::{Norm, norm_with};
use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::ops::dropout::threshold;
use crate::ops::rows::RowVariant;
use crate::random::{Generator, state, word};

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

/// The types of the input and of the parameters.
type Types = (DType, DType);
const FLOATS: Types = (DType::F32, DType::F32);
const HALVES: Types = (DType::F16, DType::F16);
const MIXED: Types = (DType::F16, DType::F32);

/// A row of a chosen variant, with weight and for layer_norm a bias.
fn chosen(rms: bool, variant: RowVariant, shape: &[usize], dtypes: Types) -> Case {
    let side = shape[shape.len() - 1];
    let (dtype, parameters) = dtypes;
    let input = Input::new(shape, dtype).range(-2.0, 3.0);
    let weight = Input::new(&[side], parameters).range(0.5, 1.5);
    let bias = (!rms).then(|| Input::new(&[side], parameters));
    let mut case = case(rms, input, Some(weight), bias, 1e-5);
    case.run = Box::new(move |x| {
        let norm = Norm {
            rms,
            weight: Some(&x[1]),
            bias: x.get(2),
            eps: 1e-5,
            ..Norm::default()
        };
        norm_with(&x[0], &norm, Some(variant))
    });
    case.note(format!("{variant:?} parameters {parameters}"))
}

/// A row of the norm of a sum: x, residual, weight, bias.
fn sum(
    rms: bool,
    variant: RowVariant,
    shape: &[usize],
    dtypes: Types,
    p: f32,
    layout: Layout,
) -> Case {
    let side = shape[shape.len() - 1];
    let (dtype, parameters) = dtypes;
    let input = || Input::new(shape, dtype).layout(layout).range(-2.0, 3.0);
    let weight = Input::new(&[side], parameters).range(0.5, 1.5);
    let mut inputs = vec![input(), input(), weight];
    if !rms {
        inputs.push(Input::new(&[side], parameters));
    }
    let name = if rms { "rms_norm" } else { "layer_norm" };
    let bias = if rms { "" } else { "bias=x3, " };
    let torch = match p > 0.0 {
        true => String::new(),
        false => format!("F.{name}(x1 + x0, ({side},), weight=x2, {bias}eps=1e-5)"),
    };
    Case::new(
        "add_norm",
        &torch,
        inputs,
        move |x| {
            let generator = Generator::new(x[0].device(), 5)?;
            generator.begin_step(9, 0)?;
            let norm = Norm {
                rms,
                weight: Some(&x[2]),
                bias: x.get(3),
                eps: 1e-5,
                residual: Some(&x[1]),
                dropout: Some((p, &generator)),
            };
            norm_with(&x[0], &norm, Some(variant))
        },
        move |x: &[HostArray]| {
            let words = state(5, 9, 0).unwrap_or_default();
            let mut sum = x[1].clone();
            for (i, (value, from)) in sum.data.iter_mut().zip(&x[0].data).enumerate() {
                if p == 0.0 || word(words, 0, i) >= threshold(p) {
                    *value += from / (1.0 - f64::from(p));
                }
            }
            let mut inputs = vec![sum];
            inputs.extend_from_slice(&x[2..]);
            reference(&inputs, rms, true, 1e-5)
        },
    )
    .note(format!(
        "{variant:?} rms={rms} p={p} parameters {parameters}"
    ))
}

fn variants(out: &mut Vec<Case>) {
    for rms in [false, true] {
        for variant in [RowVariant::Plain, RowVariant::Vectors, RowVariant::Subgroup] {
            for shape in [[5, 4], [70, 36], [3, 384], [2, 1300]] {
                out.push(chosen(rms, variant, &shape, FLOATS));
            }
            out.push(chosen(rms, variant, &[5, 64], HALVES));
            out.push(chosen(rms, variant, &[5, 64], MIXED));
            out.push(chosen(rms, variant, &[3, 33], MIXED));
            // The longest row that lanes keep; its backward kernel takes long to compile with checks.
            let mut longest = chosen(rms, variant, &[2, 1024], FLOATS);
            for input in &mut longest.inputs {
                input.requires_grad = false;
            }
            out.push(longest);
        }
        for variant in RowVariant::ROWS {
            for p in [0.0, 0.3] {
                for (shape, dtype, layout) in [
                    ([70, 36], FLOATS, Layout::Contiguous),
                    ([3, 384], FLOATS, Layout::Contiguous),
                    ([6, 33], FLOATS, Layout::Sliced),
                    ([2, 520], HALVES, Layout::Transposed),
                    ([7, 132], MIXED, Layout::Contiguous),
                    ([2, 8200], FLOATS, Layout::Contiguous),
                ] {
                    out.push(sum(rms, variant, &shape, dtype, p, layout));
                }
            }
            let mut frozen = sum(rms, variant, &[3, 36], FLOATS, 0.5, Layout::Contiguous);
            frozen.inputs[0].requires_grad = false;
            frozen.inputs[2].requires_grad = false;
            out.push(frozen.note(format!("{variant:?}, x and weight frozen")));
            let mut last = sum(rms, variant, &[3, 36], FLOATS, 0.5, Layout::Contiguous);
            for input in &mut last.inputs[..2] {
                input.requires_grad = false;
            }
            out.push(last.note(format!("{variant:?}, weight and bias only")));
        }
    }
    let float = |s: &[usize]| Input::new(s, DType::F32);
    out.push(Case::rejects(
        "add_norm",
        vec![float(&[2, 3]), float(&[3, 2])],
        |x| {
            let residual = Some(&x[1]);
            x[0].add_norm(&Norm {
                residual,
                ..Norm::default()
            })
        },
        "has its shape and type",
    ));
    out.push(Case::rejects(
        "add_norm",
        vec![float(&[2, 3])],
        |x| x[0].add_norm(&Norm::default()),
        "has no residual",
    ));
    out.push(Case::rejects(
        "add_norm",
        vec![float(&[2, 3])],
        |x| {
            let generator = Generator::new(x[0].device(), 1)?;
            let dropout = Some((1.0, &generator));
            let residual = Some(&x[0]);
            x[0].add_norm(&Norm {
                residual,
                dropout,
                ..Norm::default()
            })
        },
        "below 1",
    ));
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    variants(out);
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
