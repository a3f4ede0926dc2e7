//! The float64 reference of matrix products and their rows of the op matrix.

use super::{Activation, Variant, linear_rows};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;

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
    let erf_gelu = |v: f64| crate::ops::unary::gelu_reference(v);
    for dtype in [DType::F32, DType::F16] {
        for variant in Variant::ALL {
            for (rows, inputs, outputs) in [
                (1, 1, 1),
                (5, 12, 7),
                (40, 36, 68),
                (33, 6, 10),
                (70, 64, 4),
            ] {
                for (bias, gelu) in [(false, false), (true, false), (true, true)] {
                    let activation = if gelu {
                        Activation::Gelu
                    } else {
                        Activation::None
                    };
                    let mut list = vec![
                        Input::new(&[rows, inputs], dtype),
                        Input::new(&[outputs, inputs], dtype),
                    ];
                    if bias {
                        list.push(Input::new(&[outputs], dtype));
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
                        .note(format!("{variant:?} {torch}")),
                    );
                }
            }
        }
    }
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
