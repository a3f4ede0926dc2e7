//! The float64 references of the softmaxes and their rows of the op matrix.

use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::ops::rows::RowVariant;
use crate::tensor::Tensor;

use super::softmax_with;

/// exp(v) / sum(exp(v)) of the values that are seen, 0 elsewhere.
fn softmax(values: &[f64], seen: impl Fn(usize) -> bool) -> Vec<f64> {
    let top = (0..values.len())
        .filter(|j| seen(*j))
        .fold(f64::MIN, |m, j| m.max(values[j]));
    let parts: Vec<f64> = (0..values.len())
        .map(|j| {
            if seen(j) {
                (values[j] - top).exp()
            } else {
                0.0
            }
        })
        .collect();
    let total: f64 = parts.iter().sum();
    let inverse = if total == 0.0 { 0.0 } else { 1.0 / total };
    parts.iter().map(|e| e * inverse).collect()
}

fn along(x: &HostArray, at: isize, log: bool) -> HostArray {
    if x.data.is_empty() {
        return x.clone();
    }
    if x.shape.is_empty() {
        return x.map(|_| if log { 0.0 } else { 1.0 });
    }
    let rank = x.shape.len() as isize;
    let at = if at < 0 { rank + at } else { at } as usize;
    x.along(at, |values| {
        let y = softmax(values, |_| true);
        if !log {
            return y;
        }
        let top = values.iter().fold(f64::MIN, |m, v| m.max(*v));
        let sum: f64 = values.iter().map(|v| (v - top).exp()).sum();
        values.iter().map(|v| v - top - sum.ln()).collect()
    })
}

fn masked(x: &HostArray, mask: Option<&HostArray>, scale: f64, causal: bool) -> HostArray {
    let (heads, queries, keys) = (x.shape[1], x.shape[2], x.shape[3]);
    let mut out = x.map(|v| v * scale);
    for (r, row) in out.data.chunks_exact_mut(keys).enumerate() {
        let (b, i) = (r / (heads * queries), r % queries);
        let seen = |j: usize| {
            mask.is_none_or(|m| m.data[b * keys + j] != 0.0) && (!causal || j + queries <= i + keys)
        };
        let y = softmax(row, seen);
        row.copy_from_slice(&y);
    }
    out
}

fn masked_torch(mask: bool, scale: f32, causal: bool, scores: &[usize]) -> String {
    let (queries, keys) = (scores[2], scores[3]);
    let mut hidden = Vec::new();
    if mask {
        hidden.push("(x1 == 0)[:, None, None, :]".to_owned());
    }
    if causal {
        hidden.push(format!(
            "torch.ones({queries}, {keys}, dtype=torch.bool).triu({})[None, None]",
            keys as isize - queries as isize + 1
        ));
    }
    if hidden.is_empty() {
        return format!("torch.softmax(x0 * {scale}, dim=-1)");
    }
    // A row without a key is NaN in PyTorch's softmax, and its gradient with it.
    let hidden = hidden.join(" | ");
    format!(
        "torch.softmax((x0 * {scale}).masked_fill({hidden}, -1e30), dim=-1).masked_fill({hidden}, 0.0)"
    )
}

fn row(log: bool, input: Input, at: isize) -> Case {
    let name = if log { "log_softmax" } else { "softmax" };
    Case::new(
        name,
        &format!("torch.{name}(x0, dim={at})"),
        vec![input],
        move |x| match log {
            true => x[0].log_softmax(at),
            false => x[0].softmax(at),
        },
        move |x: &[HostArray]| along(&x[0], at, log),
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for log in [false, true] {
        let name = if log { "log_softmax" } else { "softmax" };
        let run = if log {
            Tensor::log_softmax
        } else {
            Tensor::softmax
        };
        let mut push = |input: Input, at: isize, note: &str| {
            out.push(row(log, input, at).note(note));
        };
        for dtype in [DType::F32, DType::F16] {
            for (shape, layout) in shapes::rows() {
                let input = Input::new(&shape, dtype).layout(layout).range(-3.0, 3.0);
                push(input.clone(), -1, "");
                push(input, 0, "");
            }
            for (shape, layout, at) in [
                (vec![], Contiguous, 0),
                (vec![1], Contiguous, 0),
                (vec![9], Contiguous, -1),
                (vec![4, 3, 5, 6], Contiguous, 1),
                (vec![4, 3, 5, 6], Sliced, 2),
                (vec![4, 3, 5, 6], Transposed, -2),
                (vec![4, 3, 5, 6], Expanded, 3),
                (vec![0, 5], Contiguous, 1),
                (vec![2, 513], Contiguous, 1),
                (vec![2, 2049], Contiguous, 1),
            ] {
                push(Input::new(&shape, dtype).layout(layout), at, "");
            }
        }
        // Each variant, at the edges of what its lanes keep.
        for variant in [RowVariant::Plain, RowVariant::Vectors, RowVariant::Subgroup] {
            for shape in [[3, 4], [5, 36], [7, 384], [2, 1024], [2, 1028]] {
                let input = Input::new(&shape, DType::F32).range(-3.0, 3.0);
                let torch = format!("torch.{name}(x0, dim=1)");
                out.push(
                    Case::new(
                        name,
                        &torch,
                        vec![input],
                        move |x| softmax_with(&x[0], 1, log, Some(variant)),
                        move |x: &[HostArray]| along(&x[0], 1, log),
                    )
                    .note(format!("{variant:?}")),
                );
            }
        }
        let mut push = |input: Input, at: isize, note: &str| {
            out.push(row(log, input, at).note(note));
        };
        // Rows that are read twice, rows far from 0, more than 65,535 rows.
        push(Input::new(&[2, 5000], DType::F32).range(-9.0, 9.0), 1, "");
        push(
            Input::new(&[3, 40], DType::F32).range(900.0, 920.0),
            1,
            "far from 0",
        );
        push(
            Input::new(&[2, 3000], DType::F32).range(-920.0, -900.0),
            1,
            "far from 0",
        );
        push(Input::new(&[70_000, 3], DType::F32), 1, "");
        push(Input::new(&[1, 100_001], DType::F32), 1, "");
        out.push(Case::rejects(
            name,
            vec![Input::new(&[3], DType::U32).index(5)],
            move |x| run(&x[0], 0),
            "a float tensor is needed",
        ));
        out.push(Case::rejects(
            name,
            vec![Input::new(&[2, 3], DType::F32)],
            move |x| run(&x[0], -3),
            "dim -3 is out of range",
        ));
    }
    masked_cases(out);
}

fn masked_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let name = "softmax_masked";
    for dtype in [DType::F32, DType::F16] {
        for (shape, layout) in [
            ([1, 1, 1, 1], Contiguous),
            ([2, 3, 4, 4], Contiguous),
            ([2, 2, 9, 7], Transposed),
            ([3, 2, 5, 65], Sliced),
            ([2, 1, 3, 257], Contiguous),
            ([2, 2, 17, 17], Expanded),
            ([2, 1, 2, 2500], Contiguous),
        ] {
            for (mask, causal) in [(false, false), (true, false), (false, true), (true, true)] {
                let scale = 0.125;
                let mut inputs = vec![Input::new(&shape, dtype).layout(layout).range(-20.0, 20.0)];
                if mask {
                    // Half of the keys; with causal some rows see none.
                    let keys = Input::new(&[shape[0], shape[3]], DType::U32).index(2);
                    inputs.push(keys.layout(layout));
                }
                let torch = masked_torch(mask, scale, causal, &shape);
                out.push(
                    Case::new(
                        name,
                        &torch,
                        inputs,
                        move |x| x[0].softmax_masked(x.get(1), scale, causal),
                        move |x: &[HostArray]| masked(&x[0], x.get(1), scale.into(), causal),
                    )
                    .note(format!("mask {mask}, causal {causal}")),
                );
            }
        }
    }
    let scores = || Input::new(&[2, 3, 4, 5], DType::F32);
    out.push(
        Case::new(
            name,
            &masked_torch(true, 1.0, false, &[2, 3, 4, 5]),
            vec![scores(), Input::new(&[2, 5], DType::U32).index(1)],
            |x| x[0].softmax_masked(Some(&x[1]), 1.0, false),
            |x: &[HostArray]| masked(&x[0], Some(&x[1]), 1.0, false),
        )
        .note("no key left"),
    );
    for (inputs, text) in [
        (
            vec![Input::new(&[2, 3, 4], DType::F32)],
            "scores have shape [B, H, Tq, Tk]",
        ),
        (
            vec![scores(), Input::new(&[2, 4], DType::U32).index(2)],
            "has shape [2, 5] and type u32",
        ),
        (
            vec![scores(), Input::new(&[2, 5], DType::F32)],
            "has shape [2, 5] and type u32",
        ),
    ] {
        out.push(Case::rejects(
            name,
            inputs,
            |x| x[0].softmax_masked(x.get(1), 1.0, false),
            text,
        ));
    }
}
