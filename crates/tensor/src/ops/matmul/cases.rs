//! The float64 reference of matrix products and their rows of the op matrix.

mod several;
mod split;

use super::{LinearOptions, MatmulVariant, linear_rows};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::ops::activation::Activation;

/// The reference: broadcasts the leading dimensions, then multiplies.
fn product(a: &HostArray, b: &HostArray) -> HostArray {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let lead = HostArray::zeros(&a.shape[..ra - 2])
        .zip(&HostArray::zeros(&b.shape[..rb - 2]), |p, _| p)
        .shape;
    let widen = |x: &HostArray| {
        let rank = x.shape.len();
        let mut shape = lead.clone();
        shape.extend(&x.shape[rank - 2..]);
        x.broadcast_to(&shape)
    };
    widen(a).matmul(&widen(b))
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Sliced, Transposed};
    let shapes: Vec<(Vec<usize>, Vec<usize>)> = vec![
        (vec![1, 1], vec![1, 1]),
        (vec![5, 3], vec![3, 7]),
        (vec![33, 8], vec![8, 36]),
        (vec![65, 20], vec![20, 70]),
        (vec![16, 64], vec![64, 40]),
        (vec![3, 130], vec![130, 2]),
        (vec![2, 9, 12], vec![2, 12, 5]),
        (vec![2, 3, 8, 4], vec![2, 3, 4, 16]),
        (vec![3, 1, 6, 5], vec![4, 5, 3]),
    ];
    let layouts = [
        (Contiguous, Contiguous),
        (Transposed, Contiguous),
        (Contiguous, Transposed),
        (Transposed, Transposed),
        (Sliced, Contiguous),
        (Contiguous, Sliced),
    ];
    for dtype in [DType::F32, DType::F16] {
        for variant in MatmulVariant::ALL {
            for (a, b) in &shapes {
                for (la, lb) in layouts {
                    out.push(
                        Case::new(
                            "matmul",
                            "x0 @ x1",
                            vec![
                                Input::new(a, dtype).layout(la),
                                Input::new(b, dtype).layout(lb),
                            ],
                            move |x| x[0].matmul_with(&x[1], Some(variant)),
                            |x: &[HostArray]| product(&x[0], &x[1]),
                        )
                        .note(format!("{variant:?}")),
                    );
                }
            }
        }
    }
    // Enough tiles for the tiled kernel to take those of 64, then those of 128.
    for (a, b) in [
        (vec![32, 40, 20], vec![20, 44]),
        (vec![64, 100, 12], vec![12, 97]),
    ] {
        for (la, lb) in &layouts[..3] {
            let inputs = vec![
                Input::new(&a, DType::F32).layout(*la),
                Input::new(&b, DType::F32).layout(*lb),
            ];
            let case = Case::new(
                "matmul",
                "x0 @ x1",
                inputs,
                |x| x[0].matmul_with(&x[1], Some(MatmulVariant::Tiled)),
                |x: &[HostArray]| product(&x[0], &x[1]),
            );
            out.push(case.note("Tiled, many tiles"));
        }
    }
    split::cases(out);
    linear_cases(out);
    for (a, b) in [
        (vec![7], vec![7]),
        (vec![7], vec![7, 3]),
        (vec![2, 4, 7], vec![7]),
    ] {
        out.push(Case::new(
            "matmul",
            "x0 @ x1",
            vec![Input::new(&a, DType::F32), Input::new(&b, DType::F32)],
            |x| x[0].matmul(&x[1]),
            |x: &[HostArray]| {
                let mut a = x[0].clone();
                let mut b = x[1].clone();
                if a.shape.len() == 1 {
                    a.shape.insert(0, 1);
                }
                if b.shape.len() == 1 {
                    b.shape.push(1);
                }
                let mut y = product(&a, &b);
                if x[1].shape.len() == 1 {
                    y.shape.pop();
                }
                if x[0].shape.len() == 1 {
                    let at = y.shape.len() - usize::from(x[1].shape.len() > 1) - 1;
                    y.shape.remove(at);
                }
                y
            },
        ));
    }
    let two = |a: &[usize], b: &[usize]| vec![Input::new(a, DType::F32), Input::new(b, DType::F32)];
    out.push(Case::rejects(
        "matmul",
        two(&[2, 3], &[4, 5]),
        |x| x[0].matmul(&x[1]),
        "inner dims differ, lhs [2, 3], rhs [4, 5]",
    ));
    out.push(Case::rejects(
        "matmul",
        two(&[2, 2, 3], &[3, 3, 4]),
        |x| x[0].matmul(&x[1]),
        "do not broadcast",
    ));
    out.push(Case::rejects(
        "linear",
        two(&[2, 3], &[4, 5]),
        |x| x[0].linear(&x[1], None, None),
        "weight is (out, in)",
    ));
}

fn linear_cases(out: &mut Vec<Case>) {
    use DType::{F16, F32};
    let erf_gelu = |v: f64| crate::ops::unary::gelu_reference(v);
    let small = [(1, 1, 1), (5, 12, 7), (70, 64, 4)];
    let odd = [(40, 36, 68), (33, 6, 10)];
    // The types of the input and of the parameters.
    for (dtype, parameters, sizes) in [
        (F32, F32, &[&small[..], &odd].concat()),
        (F16, F16, &[&small[..], &odd].concat()),
        (F16, F32, &vec![(40, 36, 68)]),
    ] {
        for variant in MatmulVariant::ALL {
            for &(rows, inputs, outputs) in sizes {
                for (bias, gelu) in [(false, false), (true, false), (true, true)] {
                    let activation = if gelu { Some(Activation::Gelu) } else { None };
                    let mut list = vec![
                        Input::new(&[rows, inputs], dtype),
                        Input::new(&[outputs, inputs], parameters),
                    ];
                    if bias {
                        list.push(Input::new(&[outputs], parameters));
                    }
                    let torch = match (bias, gelu) {
                        (false, _) => "F.linear(x0, x1)",
                        (true, false) => "F.linear(x0, x1, x2)",
                        (true, true) => "F.gelu(F.linear(x0, x1, x2))",
                    };
                    out.push(
                        Case::new(
                            "linear",
                            torch,
                            list,
                            move |x| {
                                let layer = LinearOptions {
                                    bias: x.get(2),
                                    activation,
                                    ..LinearOptions::default()
                                };
                                linear_rows(&x[0], &x[1], &layer, Some(variant))
                            },
                            move |x: &[HostArray]| {
                                let y = x[0].matmul(&x[1].permute(&[1, 0]));
                                let y = match x.get(2) {
                                    Some(bias) => y.zip(bias, |a, b| a + b),
                                    None => y,
                                };
                                if gelu { y.map(erf_gelu) } else { y }
                            },
                        )
                        .note(format!("{variant:?} {torch}, parameters {parameters}")),
                    );
                }
            }
        }
    }
    residual_cases(out);
    often_read_cases(out);
    several::cases(out);
    for shape in [vec![6], vec![2, 3, 6], vec![2, 2, 3, 6]] {
        out.push(Case::new(
            "linear",
            "F.gelu(F.linear(x0, x1, x2))",
            vec![
                Input::new(&shape, DType::F32),
                Input::new(&[5, 6], DType::F32).layout(Layout::Transposed),
                Input::new(&[5], DType::F32).layout(Layout::Sliced),
            ],
            |x| x[0].linear(&x[1], Some(&x[2]), Some(Activation::Gelu)),
            move |x: &[HostArray]| {
                let mut flat = x[0].clone();
                flat.shape = vec![flat.data.len() / 6, 6];
                let mut y = flat
                    .matmul(&x[1].permute(&[1, 0]))
                    .zip(&x[2], |a, b| a + b)
                    .map(erf_gelu);
                y.shape = x[0].shape.clone();
                if let Some(last) = y.shape.last_mut() {
                    *last = 5;
                }
                y
            },
        ));
    }
}

/// Sides that matrix units read so often that they copy the f32 operand in f16 first: the weight, forward and backward;
/// the gradient of an f32 result, for that of the weight.
fn often_read_cases(out: &mut Vec<Case>) {
    use DType::{F16, F32};
    for (rows, inputs, outputs) in [(516, 20, 12), (12, 516, 20)] {
        let list = vec![
            Input::new(&[rows, inputs], F16),
            Input::new(&[outputs, inputs], F32),
            Input::new(&[rows, outputs], F32),
        ];
        let case = Case::new(
            "linear",
            "F.linear(x0, x1) + x2",
            list,
            |x| {
                let layer = LinearOptions {
                    residual: Some(&x[2]),
                    ..LinearOptions::default()
                };
                linear_rows(&x[0], &x[1], &layer, Some(MatmulVariant::Cooperative))
            },
            |x: &[HostArray]| {
                let y = x[0].matmul(&x[1].permute(&[1, 0]));
                y.zip(&x[2], |a, b| a + b)
            },
        );
        out.push(case.note("Cooperative, often read"));
    }
}

/// Scale and residual; f16 activations with an f32 residual too.
fn residual_cases(out: &mut Vec<Case>) {
    use DType::{F16, F32};
    for variant in MatmulVariant::ALL {
        // Few rows: each is a kernel of its own, which the software adapter compiles for seconds.
        for (rows, inputs, outputs, bias, gelu, types) in [
            (40, 36, 68, true, true, &[(F32, F32)][..]),
            (5, 12, 7, false, false, &[(F16, F32), (F16, F16)]),
        ] {
            for &(dtype, residual) in types {
                let activation = match gelu {
                    true => Some(Activation::Gelu),
                    false => None,
                };
                let mut list = vec![
                    Input::new(&[rows, inputs], dtype),
                    Input::new(&[outputs, inputs], F32),
                    Input::new(&[rows, outputs], residual).layout(Layout::Sliced),
                ];
                if bias {
                    list.push(Input::new(&[outputs], F32));
                }
                let torch = match (bias, gelu) {
                    (false, _) => "0.5 * F.linear(x0, x1) + x2",
                    (true, false) => "0.5 * F.linear(x0, x1) + x3 + x2",
                    (true, true) => "F.gelu(0.5 * F.linear(x0, x1) + x3) + x2",
                };
                let case = Case::new(
                    "linear",
                    torch,
                    list,
                    move |x| {
                        let residual = x[2].contiguous()?;
                        let layer = LinearOptions {
                            bias: x.get(3),
                            activation,
                            scale: 0.5,
                            residual: Some(&residual),
                        };
                        linear_rows(&x[0], &x[1], &layer, Some(variant))
                    },
                    move |x: &[HostArray]| {
                        let y = x[0].matmul(&x[1].permute(&[1, 0])).map(|v| 0.5 * v);
                        let y = match x.get(3) {
                            Some(bias) => y.zip(bias, |a, b| a + b),
                            None => y,
                        };
                        let y = match gelu {
                            true => y.map(crate::ops::unary::gelu_reference),
                            false => y,
                        };
                        y.zip(&x[2], |a, b| a + b)
                    },
                );
                out.push(case.note(format!("{variant:?} {torch}, residual {residual}")));
            }
        }
    }
    out.push(Case::rejects(
        "linear",
        [vec![2, 3], vec![4, 3], vec![2, 3]]
            .iter()
            .map(|shape| Input::new(shape, F32))
            .collect(),
        |x| {
            let layer = LinearOptions {
                residual: Some(&x[2]),
                ..LinearOptions::default()
            };
            x[0].linear_with(&x[1], &layer)
        },
        "the residual is a float tensor [2, 4]",
    ));
}
