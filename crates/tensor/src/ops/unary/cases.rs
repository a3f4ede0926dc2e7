//! The rows of the op matrix for pointwise functions of one tensor.

use super::table::UNARY;
use super::unary_with;
use crate::cases::{Case, HostArray, Input, shapes};
use crate::dtype::DType;
use crate::ops::rows::RowVariant;

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for row in UNARY {
        let (a, b) = match row.name {
            "affine" => (1.5f32, -0.25f32),
            "pow_scalar" => (2.5, 0.0),
            "clamp" => (-0.7501, 0.5002),
            _ => (0.0, 0.0),
        };
        let torch = row
            .torch
            .replace("{a}", &a.to_string())
            .replace("{b}", &b.to_string());
        let (name, reference) = (row.name, row.reference);
        let mut push = |input: Input, variant: Option<RowVariant>| {
            let mut case = Case::new(
                name,
                &torch,
                vec![input.range(row.range.0, row.range.1)],
                move |x| unary_with(&x[0], name, [a, b], variant),
                move |x: &[HostArray]| x[0].map(|v| reference(v, a.into(), b.into())),
            );
            if let Some(variant) = variant {
                case.note = format!("{variant:?}");
            }
            out.push(case);
        };
        for dtype in [DType::F32, DType::F16] {
            for (shape, layout) in shapes::pointwise() {
                push(Input::new(&shape, dtype).layout(layout), None);
            }
        }
        for variant in RowVariant::ELEMENTS {
            push(Input::new(&[5, 412], DType::F32), Some(variant));
        }
        // Several texels to an invocation, which 412 columns are not a multiple of.
        push(
            Input::new(&[5, 416], DType::F32),
            Some(RowVariant::Subgroup),
        );
        push(Input::new(&[36], DType::F16), Some(RowVariant::Vectors));
        let name = row.name;
        if matches!(name, "sin" | "cos") {
            // Many turns away from 0; finite differences in float64 still hold there.
            let far = Input::new(&[5, 412], DType::F32).range(-1e5, 1e5);
            let case = Case::new(
                name,
                &torch,
                vec![far],
                move |x| unary_with(&x[0], name, [a, b], None),
                move |x: &[HostArray]| x[0].map(|v| reference(v, a.into(), b.into())),
            );
            out.push(case.note(format!("{torch}, far from 0")));
        }
        out.push(Case::rejects(
            name,
            vec![Input::new(&[3], DType::U32).index(5)],
            move |x| unary_with(&x[0], name, [a, b], None),
            "float tensor is needed",
        ));
    }
}
