//! The float64 reference of matrix products and their rows of the op matrix.

use super::gemm::split_k;
use super::{Activation, Variant, linear_rows};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::tensor::Tensor;

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
        for variant in Variant::ALL {
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
                |x| x[0].matmul_with(&x[1], Some(Variant::Tiled)),
                |x: &[HostArray]| product(&x[0], &x[1]),
            );
            out.push(case.note("Tiled, many tiles"));
        }
    }
    for layout in [Contiguous, Transposed, Sliced] {
        out.push(
            Case::new(
                "matmul",
                "x0 @ x1",
                vec![
                    Input::new(&[5, 32], DType::F32).layout(layout).frozen(),
                    Input::new(&[32, 7], DType::F32).layout(layout).frozen(),
                ],
                |x| split_k("matmul", &x[0], &x[1], 4, Some(Variant::Tiled), DType::F32),
                |x: &[HostArray]| product(&x[0], &x[1]),
            )
            .note("split along K"),
        );
    }
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
        |x| x[0].linear(&x[1], None, Activation::None),
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
        (F16, F32, &[&odd[..], &[(5, 12, 7)]].concat()),
        (F32, F16, &vec![(40, 36, 68)]),
    ] {
        for variant in Variant::ALL {
            for &(rows, inputs, outputs) in sizes {
                for (bias, gelu) in [(false, false), (true, false), (true, true)] {
                    let activation = if gelu {
                        Activation::Gelu
                    } else {
                        Activation::None
                    };
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
                            move |x| linear_rows(&x[0], &x[1], x.get(2), activation, Some(variant)),
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
    stacked_cases(out);
    feed_forward_cases(out);
    for shape in [vec![6], vec![2, 3, 6], vec![2, 2, 3, 6]] {
        out.push(Case::new(
            "linear",
            "F.gelu(F.linear(x0, x1, x2))",
            vec![
                Input::new(&shape, DType::F32),
                Input::new(&[5, 6], DType::F32).layout(Layout::Transposed),
                Input::new(&[5], DType::F32).layout(Layout::Sliced),
            ],
            |x| x[0].linear(&x[1], Some(&x[2]), Activation::Gelu),
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
                let case = Case::new(
                    "feed_forward",
                    "F.linear(F.gelu(F.linear(x0, x1, x2)), x3, x4)",
                    list,
                    |x| x[0].feed_forward([&x[1], &x[2]], [&x[3], &x[4]]),
                    |x: &[HostArray]| {
                        let inner = layer(&x[0], &x[1], &x[2]);
                        layer(&inner.map(crate::ops::unary::gelu_reference), &x[3], &x[4])
                    },
                );
                out.push(case.note(format!("frozen {frozen:?}, parameters {parameters}")));
            }
        }
    }
    out.push(Case::rejects(
        "feed_forward",
        [vec![2, 3], vec![4, 3], vec![4], vec![2, 5], vec![2]]
            .iter()
            .map(|shape| Input::new(shape, DType::F32))
            .collect(),
        |x| x[0].feed_forward([&x[1], &x[2]], [&x[3], &x[4]]),
        "do not follow each other",
    ));
}
