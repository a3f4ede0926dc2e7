//! The rows of the op matrix for pointwise functions of two tensors.

use super::{BINARY, binary_with};
use crate::cases::{Case, HostArray, Input, shapes};
use crate::dtype::DType;
use crate::ops::rows::RowVariant;

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
                    move |x| binary_with(&x[0], &x[1], name, None),
                    move |x: &[HostArray]| x[0].zip(&x[1], reference),
                ));
            }
        }
        // With 48 columns an invocation takes several texels.
        let several = (RowVariant::Subgroup, 48);
        for (variant, columns) in RowVariant::ELEMENTS
            .map(|v| (v, 40))
            .into_iter()
            .chain([several])
        {
            for dtype in [DType::F32, DType::F16] {
                let side = || match row.gradient {
                    Some(_) => Input::new(&[3, columns], dtype).range(row.range.0, row.range.1),
                    None => Input::new(&[3, columns], dtype).steps(4).frozen(),
                };
                out.push(
                    Case::new(
                        name,
                        row.torch,
                        vec![side(), side()],
                        move |x| binary_with(&x[0], &x[1], name, Some(variant)),
                        move |x: &[HostArray]| x[0].zip(&x[1], reference),
                    )
                    .note(format!("{variant:?}")),
                );
            }
        }
        out.push(Case::rejects(
            name,
            vec![
                Input::new(&[3, 2], DType::F32).frozen(),
                Input::new(&[4], DType::F32).frozen(),
            ],
            move |x| binary_with(&x[0], &x[1], name, None),
            "do not broadcast",
        ));
        out.push(Case::rejects(
            name,
            vec![
                Input::new(&[3], DType::F32).frozen(),
                Input::new(&[3], DType::U32).index(4),
            ],
            move |x| binary_with(&x[0], &x[1], name, None),
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
