//! Rows of the op matrix for several layers in few kernels.

use super::super::{LinearOptions, MatmulVariant, linear_rows};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::ops::activation::Activation;
use crate::tensor::Tensor;

pub fn cases(out: &mut Vec<Case>) {
    stacked_cases(out);
    feed_forward_cases(out);
    scattered_bias_cases(out);
}

/// `x` as a matrix times the transpose of `weight`, plus `bias`.
fn layer(x: &HostArray, weight: &HostArray, bias: &HostArray) -> HostArray {
    let inputs = weight.shape[1];
    let mut flat = x.clone();
    flat.shape = vec![flat.data.len() / inputs, inputs];
    let mut y = flat
        .matmul(&weight.permute(&[1, 0]))
        .zip(bias, |a, b| a + b);
    y.shape = x.shape.clone();
    if let Some(last) = y.shape.last_mut() {
        *last = weight.shape[0];
    }
    y
}

fn stacked_cases(out: &mut Vec<Case>) {
    // Sides whose bytes are multiples of 256 lie side by side after packing, others have gaps.
    for (x, sizes, inputs) in [
        (vec![5, 7], [3, 1, 4], 7),
        (vec![2, 9, 4], [64, 64, 64], 4),
        (vec![70, 64], [64, 128, 64], 64),
    ] {
        use DType::{F16, F32};
        for (dtype, parameters, pack, frozen) in [
            (F32, F32, true, None),
            (F32, F32, false, None),
            (F32, F32, true, Some(2)),
            (F32, F32, true, Some(4)),
            (F16, F16, true, None),
            (F16, F32, true, None),
            (F16, F32, false, Some(4)),
        ] {
            let mut list = vec![Input::new(&x, dtype)];
            list.extend(sizes.map(|side| Input::new(&[side, inputs], parameters)));
            list.extend(sizes.map(|side| Input::new(&[side], parameters)));
            if let Some(at) = frozen {
                list[at] = list[at].clone().frozen();
            }
            let case = Case::new(
                "linear_stacked",
                "F.linear(x0, torch.cat([x1, x2, x3]), torch.cat([x4, x5, x6]))",
                list,
                move |x| {
                    let (weights, biases) = (x[1..4].iter().collect::<Vec<_>>(), &x[4..7]);
                    let biases: Vec<_> = biases.iter().collect();
                    if pack {
                        Tensor::pack(&weights)?;
                        Tensor::pack(&biases)?;
                    }
                    x[0].linear_stacked(&weights, &biases)
                },
                move |x: &[HostArray]| {
                    let concat = |parts: &[HostArray]| {
                        let mut all = parts[0].clone();
                        for part in &parts[1..] {
                            all.data.extend(&part.data);
                            all.shape[0] += part.shape[0];
                        }
                        all
                    };
                    layer(&x[0], &concat(&x[1..4]), &concat(&x[4..7]))
                },
            );
            let note = format!("pack {pack} frozen {frozen:?}, parameters {parameters}");
            out.push(case.note(note));
        }
    }
    out.push(Case::rejects(
        "linear_stacked",
        vec![
            Input::new(&[2, 3], DType::F32),
            Input::new(&[4, 3], DType::F32),
            Input::new(&[4], DType::F32),
        ],
        |x| x[0].linear_stacked(&[&x[1], &x[1]], &[&x[2]]),
        "a bias for each weight",
    ));
}

fn feed_forward_cases(out: &mut Vec<Case>) {
    use DType::{F16, F32};
    for (dtype, parameters) in [(F32, F32), (F16, F16), (F16, F32)] {
        for (x, hidden, outputs) in [
            (vec![3], 5, 2),
            (vec![2, 9, 4], 16, 4),
            (vec![70, 36], 68, 36),
        ] {
            let inputs = x[x.len() - 1];
            for frozen in [None, Some(0), Some(1), Some(3)] {
                let mut list = vec![
                    Input::new(&x, dtype),
                    Input::new(&[hidden, inputs], parameters),
                    Input::new(&[hidden], parameters),
                    Input::new(&[outputs, hidden], parameters),
                    Input::new(&[outputs], parameters),
                ];
                if let Some(at) = frozen {
                    list[at] = list[at].clone().frozen();
                }
                // Where all is trained, with a residual, in the type of the parameters, too.
                let shape = [&x[..x.len() - 1], &[outputs]].concat();
                let residual = frozen.is_none().then(|| Input::new(&shape, parameters));
                for residual in [None].into_iter().chain(residual.map(Some)) {
                    let with = if residual.is_some() { " + x5" } else { "" };
                    let mut list = list.clone();
                    list.extend(residual);
                    let case = Case::new(
                        "feed_forward",
                        &format!("F.linear(F.gelu(F.linear(x0, x1, x2)), x3, x4){with}"),
                        list,
                        |x| x[0].feed_forward([&x[1], &x[2]], [&x[3], &x[4]], x.get(5)),
                        |x: &[HostArray]| {
                            let inner = layer(&x[0], &x[1], &x[2]);
                            let inner = inner.map(crate::ops::unary::gelu_reference);
                            let y = layer(&inner, &x[3], &x[4]);
                            match x.get(5) {
                                Some(residual) => y.zip(residual, |a, b| a + b),
                                None => y,
                            }
                        },
                    );
                    let note = format!("frozen {frozen:?}, parameters {parameters}{with}");
                    out.push(case.note(note));
                }
            }
        }
    }
    out.push(Case::rejects(
        "feed_forward",
        [vec![2, 3], vec![4, 3], vec![4], vec![2, 5], vec![2]]
            .iter()
            .map(|shape| Input::new(shape, DType::F32))
            .collect(),
        |x| x[0].feed_forward([&x[1], &x[2]], [&x[3], &x[4]], None),
        "do not follow each other",
    ));
}

/// Biases that do not lie side by side: every second value of a tensor, and one value for all. Layers of no inputs
/// give their bias.
fn scattered_bias_cases(out: &mut Vec<Case>) {
    let every_second = |x: &Tensor| x.slice(0, 0, isize::MAX, 2);
    let seconds = |x: &HostArray| HostArray {
        shape: vec![x.data.len() / 2],
        data: x.data.iter().step_by(2).copied().collect(),
    };
    for dtype in [DType::F32, DType::F16] {
        let input = move |shape: &[usize]| Input::new(shape, dtype);
        for variant in MatmulVariant::ALL {
            for (rows, outputs) in [(3, 5), (70, 68)] {
                let parts = vec![input(&[rows, 36]), input(&[outputs, 36])];
                let run = move |x: &[Tensor], bias: &Tensor| {
                    let layer = LinearOptions {
                        bias: Some(bias),
                        activation: None,
                        ..LinearOptions::default()
                    };
                    linear_rows(&x[0], &x[1], &layer, Some(variant))
                };
                let strided = Case::new(
                    "linear",
                    "F.linear(x0, x1, x2[::2])",
                    [parts.clone(), vec![input(&[2 * outputs])]].concat(),
                    move |x| run(x, &every_second(&x[2])?),
                    move |x: &[HostArray]| layer(&x[0], &x[1], &seconds(&x[2])),
                );
                out.push(strided.note(format!("{variant:?}")));
                let one = input(&[outputs]).layout(Layout::Expanded);
                let expanded = Case::new(
                    "linear",
                    "F.linear(x0, x1, x2)",
                    [parts, vec![one]].concat(),
                    move |x| run(x, &x[2]),
                    |x: &[HostArray]| layer(&x[0], &x[1], &x[2]),
                );
                out.push(expanded.note(format!("{variant:?}")));
            }
        }
        out.push(Case::new(
            "feed_forward",
            "F.linear(F.gelu(F.linear(x0, x1, x2[::2])), x3, x4[::2])",
            [&[9, 4][..], &[16, 4], &[32], &[4, 16], &[8]]
                .iter()
                .map(|shape| input(shape))
                .collect(),
            move |x| {
                let (inner, outer) = (every_second(&x[2])?, every_second(&x[4])?);
                x[0].feed_forward([&x[1], &inner], [&x[3], &outer], None)
            },
            move |x: &[HostArray]| {
                let inner = layer(&x[0], &x[1], &seconds(&x[2]));
                let inner = inner.map(crate::ops::unary::gelu_reference);
                layer(&inner, &x[3], &seconds(&x[4]))
            },
        ));
        for activation in [None, Some(Activation::Gelu)] {
            let call = match activation {
                None => "F.linear(x0, x1, x2)",
                Some(_) => "F.gelu(F.linear(x0, x1, x2))",
            };
            out.push(Case::new(
                "linear",
                call,
                vec![input(&[2, 4, 0]), input(&[3, 0]), input(&[3])],
                move |x| x[0].linear(&x[1], Some(&x[2]), activation),
                move |x: &[HostArray]| {
                    let y = HostArray::from_fn(&[2, 4, 3], |at| x[2].data[at[2]]);
                    match activation {
                        None => y,
                        Some(_) => y.map(crate::ops::unary::gelu_reference),
                    }
                },
            ));
        }
    }
}
