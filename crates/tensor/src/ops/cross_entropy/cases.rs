//! The float64 reference of cross-entropy and its rows of the op matrix.

use super::{CrossEntropy, Reduction};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::tensor::Tensor;

fn reference(x: &[HostArray], options: CrossEntropy) -> HostArray {
    let classes = x[0].shape[1];
    let smoothing = f64::from(options.label_smoothing);
    let mut count = 0.0f64;
    let mut losses = HostArray::zeros(&x[1].shape);
    let rows = x[0].data.chunks_exact(classes).zip(&x[1].data);
    for ((row, target), loss) in rows.zip(&mut losses.data) {
        if options
            .ignore_index
            .is_some_and(|i| f64::from(i) == *target)
        {
            continue;
        }
        count += 1.0;
        let top = row.iter().fold(f64::MIN, |m, v| m.max(*v));
        let lse = top + row.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
        let mean = row.iter().sum::<f64>() / classes as f64;
        let at_target = row[(*target as usize).min(classes - 1)];
        *loss = lse - (1.0 - smoothing) * at_target - smoothing * mean;
    }
    let total: f64 = losses.data.iter().sum();
    let one = |value| HostArray {
        shape: vec![],
        data: vec![value],
    };
    match options.reduction {
        Reduction::None => losses,
        Reduction::Sum => one(total),
        Reduction::Mean => one(total / count.max(1.0)),
    }
}

fn case(logits: Input, targets: Input, options: CrossEntropy) -> Case {
    let ignore = options
        .ignore_index
        .map_or(String::new(), |i| format!(", ignore_index={i}"));
    let torch = format!(
        "F.cross_entropy(x0, x1{ignore}, label_smoothing={}, reduction='{}')",
        options.label_smoothing,
        options.reduction.torch()
    );
    Case::new(
        "cross_entropy",
        &torch,
        vec![logits, targets],
        move |x| x[0].cross_entropy(&x[1], &options),
        move |x: &[HostArray]| reference(x, options),
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let targets = |rows: usize, classes: u32| Input::new(&[rows], DType::U32).index(classes);
    let plain = CrossEntropy::default();
    for dtype in [DType::F32, DType::F16] {
        for (shape, layout) in [
            ([1, 1], Contiguous),
            ([5, 2], Contiguous),
            ([3, 257], Transposed),
            ([7, 33], Sliced),
            ([4, 10], Expanded),
            ([2, 3001], Contiguous),
            ([3, 1036], Contiguous),
        ] {
            for (smoothing, ignore) in [(0.0, None), (0.1, None), (0.0, Some(1)), (0.3, Some(0))] {
                for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
                    let logits = Input::new(&shape, dtype).layout(layout).range(-4.0, 4.0);
                    let labels = targets(shape[0], shape[1] as u32);
                    let labels = match layout {
                        Sliced => labels.layout(Sliced),
                        _ => labels,
                    };
                    let options = CrossEntropy {
                        ignore_index: ignore,
                        label_smoothing: smoothing,
                        reduction,
                        in_place: false,
                    };
                    let mut row = case(logits, labels, options);
                    if shape[1] == 1 && ignore == Some(0) && reduction == Reduction::Mean {
                        // Every row is ignored: PyTorch's mean is NaN.
                        row.torch = "(x0 * 0.0).sum()".into();
                    }
                    out.push(row);
                }
            }
        }
    }
    let far = Input::new(&[6, 50], DType::F32).range(900.0, 910.0);
    let smooth = CrossEntropy {
        label_smoothing: 0.1,
        ..plain
    };
    out.push(case(far, targets(6, 50), smooth).note("far from 0"));
    let many = Input::new(&[70_000, 3], DType::F32);
    out.push(case(many, targets(70_000, 3), plain));
    in_place(out);
    let small = || Input::new(&[4, 5], DType::F32);
    let mut beyond = case(small(), targets(4, 9), plain).note("targets beyond the classes");
    beyond.torch = "F.cross_entropy(x0, x1.clamp(max=4))".into();
    out.push(beyond);
    for (inputs, smoothing, text) in [
        (
            vec![Input::new(&[4], DType::F32), targets(4, 5)],
            0.0,
            "logits have shape [N, C]",
        ),
        (
            vec![Input::new(&[0, 5], DType::F32), targets(0, 5)],
            0.0,
            "at least one row and class",
        ),
        (vec![small(), targets(3, 5)], 0.0, "the targets are u32 [4]"),
        (
            vec![small(), Input::new(&[4], DType::F32)],
            0.0,
            "the targets are u32 [4]",
        ),
        (vec![small(), targets(4, 5)], 1.5, "must be in 0..=1"),
    ] {
        let options = CrossEntropy {
            label_smoothing: smoothing,
            ..plain
        };
        out.push(Case::rejects(
            "cross_entropy",
            inputs,
            move |x| x[0].cross_entropy(&x[1], &options),
            text,
        ));
    }
}

/// The gradient over the logits: with logits that have no other handle, also as a reshaped view, and with logits that
/// have one.
fn in_place(out: &mut Vec<Case>) {
    let options = CrossEntropy {
        in_place: true,
        label_smoothing: 0.1,
        ..CrossEntropy::default()
    };
    let inputs = |shape: &[usize], dtype| {
        let rows = shape.iter().product::<usize>() / shape[shape.len() - 1];
        let classes = shape[shape.len() - 1] as u32;
        vec![
            Input::new(shape, dtype).range(-4.0, 4.0),
            Input::new(&[rows], DType::U32).index(classes),
        ]
    };
    let flat = |x: &Tensor| {
        let side = x.shape().last().copied().unwrap_or(1);
        x.reshape(&[usize::MAX, side])
    };
    for dtype in [DType::F32, DType::F16] {
        for shape in [vec![5, 33], vec![3, 36], vec![2, 3, 8]] {
            for held in [false, true] {
                let run = move |x: &[Tensor]| {
                    let logits = x[0].mul_scalar(2.0)?;
                    let loss = flat(&logits)?.cross_entropy(&x[1], &options)?;
                    match held {
                        // The sum reads the logits in its forward pass and in none of its own.
                        true => loss.add(&logits.exp()?.sum_all()?.cast(DType::F32)?),
                        false => Ok(loss),
                    }
                };
                let case = Case::new(
                    "cross_entropy",
                    "",
                    inputs(&shape, dtype),
                    run,
                    move |x: &[HostArray]| {
                        let mut logits = x[0].map(|v| 2.0 * v);
                        let side = shape_side(&logits);
                        let sum: f64 = logits.data.iter().map(|v| v.exp()).sum();
                        logits.shape = vec![logits.data.len() / side, side];
                        let y = reference(&[logits, x[1].clone()], options);
                        y.map(|v| if held { v + sum } else { v })
                    },
                );
                out.push(case.note(format!("in place, held {held}")));
            }
        }
    }
    out.push(Case::rejects(
        "cross_entropy",
        inputs(&[3, 8], DType::F32),
        move |x| {
            let loss = x[0].mul_scalar(2.0)?.cross_entropy(&x[1], &options)?;
            loss.backward()?;
            loss.backward()?;
            Ok(loss)
        },
        "wrote over the logits",
    ));
}

fn shape_side(x: &HostArray) -> usize {
    x.shape.last().copied().unwrap_or(1)
}
