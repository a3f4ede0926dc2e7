//! The rows of the op matrix for `gather` and `index_select`, and their float64 references.

use super::SPAN;
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::tensor::Tensor;

fn gather_reference(x: &HostArray, at: usize, index: &HostArray) -> HostArray {
    HostArray::from_fn(&index.shape, |i| {
        let mut from = i.to_vec();
        from[at] = (index.get(i) as usize).min(x.shape[at] - 1);
        x.get(&from)
    })
}

fn select_reference(x: &HostArray, at: usize, index: &HostArray) -> HostArray {
    let mut shape = x.shape.clone();
    shape[at] = index.data.len();
    HostArray::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        i[at] = (index.data[i[at]] as usize).min(x.shape[at] - 1);
        x.get(&i)
    })
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    gather_cases(out);
    select_cases(out);
    rejections(out);
}

fn gather_case(
    (shape, layout): (&[usize], Layout),
    dtype: DType,
    at: isize,
    (index, index_layout): (&[usize], Layout),
) -> Case {
    let place = if at < 0 {
        at + shape.len() as isize
    } else {
        at
    } as usize;
    let x = Input::new(shape, dtype).layout(layout);
    Case::new(
        "gather",
        &format!("torch.gather(x0, {at}, x1.long())"),
        vec![
            if dtype.is_float() { x } else { x.index(1000) },
            Input::new(index, DType::U32)
                .index(shape[place] as u32)
                .layout(index_layout),
        ],
        move |x| x[0].gather(at, &x[1]),
        move |x: &[HostArray]| gather_reference(&x[0], place, &x[1]),
    )
}

fn gather_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for layout in [Contiguous, Transposed, Sliced] {
            for (shape, at, index) in [
                (vec![1], 0isize, vec![1]),
                (vec![5], 0, vec![257]),
                (vec![4, 7], 0, vec![3, 7]),
                (vec![4, 7], 1, vec![4, 1]),
                (vec![4, 7], -1, vec![2, 9]),
                (vec![3, 5, 4], 1, vec![2, 6, 3]),
                (vec![300, 3], 1, vec![300, 2]),
                (vec![300, 3], 0, vec![700, 2]),
            ] {
                for index_layout in [Contiguous, Sliced] {
                    out.push(gather_case(
                        (&shape, layout),
                        dtype,
                        at,
                        (&index, index_layout),
                    ));
                }
            }
        }
        out.push(gather_case(
            (&[4, 3, 10], Expanded),
            dtype,
            2,
            (&[4, 3, 5], Expanded),
        ));
        // More entries than one launch of the backward kernel walks.
        out.push(gather_case(
            (&[3], Contiguous),
            dtype,
            0,
            (&[SPAN + 700], Contiguous),
        ));
        out.push(gather_case(
            (&[3, 4], Contiguous),
            dtype,
            1,
            (&[3, 0], Contiguous),
        ));
        // Indices beyond the dimension take its last element, forward and backward.
        out.push(Case::new(
            "gather",
            "torch.gather(x0, 1, x1.clamp(max=4).long())",
            vec![
                Input::new(&[6, 5], dtype),
                Input::new(&[6, 9], DType::U32).index(4_000_000_000),
            ],
            |x| x[0].gather(1, &x[1]),
            |x: &[HostArray]| gather_reference(&x[0], 1, &x[1]),
        ));
    }
    for dtype in [DType::U32, DType::I32] {
        out.push(gather_case(
            (&[6, 5], Transposed),
            dtype,
            1,
            (&[6, 2], Contiguous),
        ));
    }
}

fn select_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for layout in [Contiguous, Transposed, Sliced, Expanded] {
            for (shape, at, index) in [
                (vec![5], 0isize, 3),
                (vec![5, 7], 0, 1),
                (vec![5, 7], 1, 9),
                (vec![2, 6, 3], -2, 70),
                (vec![257, 3], 0, 33),
            ] {
                let place = if at < 0 {
                    at + shape.len() as isize
                } else {
                    at
                } as usize;
                out.push(Case::new(
                    "index_select",
                    &format!("torch.index_select(x0, {at}, x1.long())"),
                    vec![
                        Input::new(&shape, dtype).layout(layout),
                        Input::new(&[index], DType::U32).index(shape[place] as u32),
                    ],
                    move |x| x[0].index_select(at, &x[1]),
                    move |x: &[HostArray]| select_reference(&x[0], place, &x[1]),
                ));
            }
        }
    }
}

fn rejections(out: &mut Vec<Case>) {
    let inputs = |x: &[usize], index: &[usize], dtype| {
        vec![
            Input::new(x, DType::F32),
            Input::new(index, dtype).range(0.0, 2.0).frozen(),
        ]
    };
    let gather = |at| move |x: &[Tensor]| x[0].gather(at, &x[1]);
    let select = |at| move |x: &[Tensor]| x[0].index_select(at, &x[1]);
    let (u, f) = (DType::U32, DType::F32);
    out.extend([
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4, 1], f),
            gather(1),
            "u32 is needed",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4], u),
            gather(1),
            "does not fit",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[5, 1], u),
            gather(1),
            "does not fit",
        ),
        Case::rejects("gather", inputs(&[], &[], u), gather(0), "does not fit"),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4, 1], u),
            gather(2),
            "out of range",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 0], &[4, 1], u),
            gather(1),
            "nothing to pick",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2], f),
            select(1),
            "u32 is needed",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2, 1], u),
            select(1),
            "an index with one",
        ),
        Case::rejects(
            "index_select",
            inputs(&[], &[1], u),
            select(0),
            "with dimensions",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2], u),
            select(2),
            "out of range",
        ),
        Case::rejects(
            "index_select",
            inputs(&[0, 3], &[2], u),
            select(0),
            "nothing to pick",
        ),
    ]);
}
