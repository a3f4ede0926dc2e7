//! The rows of the reductions.

use super::{kept_as_one, only, without};
use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::numel;
use crate::tensor::Tensor;

/// The float64 reference: `f` folded over the reduced dimensions.
fn fold(x: &HostArray, reduced: &[bool], start: f64, f: fn(f64, f64) -> f64) -> HostArray {
    let mut out = HostArray::zeros(&kept_as_one(&x.shape, reduced));
    out.data.fill(start);
    let places = HostArray {
        shape: out.shape.clone(),
        data: (0..out.data.len()).map(|i| i as f64).collect(),
    };
    let places = places.broadcast_to(&x.shape);
    for (place, value) in places.data.iter().zip(&x.data) {
        let slot = &mut out.data[*place as usize];
        *slot = f(*slot, *value);
    }
    out
}

struct Row {
    name: &'static str,
    torch: &'static str,
    run: fn(&Tensor, &[isize], bool) -> Result<Tensor>,
    start: f64,
    fold: fn(f64, f64) -> f64,
}

const ROWS: [Row; 4] = [
    Row {
        name: "sum",
        torch: "torch.sum",
        run: Tensor::sum,
        start: 0.0,
        fold: |a, b| a + b,
    },
    Row {
        name: "mean",
        torch: "torch.mean",
        run: Tensor::mean,
        start: 0.0,
        fold: |a, b| a + b,
    },
    Row {
        name: "max",
        torch: "torch.amax",
        run: Tensor::max,
        start: f64::MIN,
        fold: f64::max,
    },
    Row {
        name: "min",
        torch: "torch.amin",
        run: Tensor::min,
        start: f64::MAX,
        fold: f64::min,
    },
];

fn case(row: &'static Row, input: Input, dims: &[isize], keepdim: bool) -> Case {
    let rank = input.shape.len();
    let mut reduced = vec![dims.is_empty(); rank];
    for d in dims {
        reduced[if *d < 0 { rank as isize + d } else { *d } as usize] = true;
    }
    let named: Vec<String> = (0..rank)
        .filter(|d| reduced[*d])
        .map(|d| format!("{d},"))
        .collect();
    let torch = format!(
        "{}(x0, dim=({}){})",
        row.torch,
        named.concat(),
        if keepdim { ", keepdim=True" } else { "" }
    );
    let count = numel(&only(&input.shape, &reduced)) as f64;
    let scale = if row.name == "mean" { 1.0 / count } else { 1.0 };
    let dims = dims.to_vec();
    Case::new(
        row.name,
        &torch,
        vec![input],
        move |x| (row.run)(&x[0], &dims, keepdim),
        move |x: &[HostArray]| {
            let mut y = fold(&x[0], &reduced, row.start, row.fold).map(|v| v * scale);
            if !keepdim {
                y.shape = without(&y.shape, &reduced);
            }
            y
        },
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for row in &ROWS {
        let picks = matches!(row.name, "max" | "min");
        // Finite differences are no gradient where their step reorders elements, or where more than
        // two are equal.
        let picked = |input: Input| match picks {
            true if input.layout == Expanded || numel(&input.shape) > 4000 => input.frozen(),
            true => input.steps(20_000),
            false => input,
        };
        for dtype in [DType::F32, DType::F16] {
            for (shape, layout) in shapes::rows() {
                let input = picked(Input::new(&shape, dtype).layout(layout));
                out.push(case(row, input.clone(), &[-1], false));
                out.push(case(row, input.clone(), &[0], true));
                out.push(case(row, input, &[], false));
            }
            for (shape, layout, dims) in [
                (vec![], Contiguous, vec![]),
                (vec![1], Contiguous, vec![0]),
                (vec![4, 3, 5, 6], Contiguous, vec![0, 2]),
                (vec![4, 3, 5, 6], Transposed, vec![1, -1]),
                (vec![4, 3, 5, 6], Sliced, vec![1, 2]),
                (vec![4, 3, 5, 6], Expanded, vec![0, 3]),
                (vec![2, 1025, 3], Contiguous, vec![1]),
                (vec![17, 33, 2], Transposed, vec![0, 1]),
                (vec![2100, 70], Contiguous, vec![0]),
            ] {
                let input = picked(Input::new(&shape, dtype).layout(layout));
                out.push(case(row, input.clone(), &dims, false));
                out.push(case(row, input, &dims, true));
            }
        }
        let float = |shape: &[usize]| Input::new(shape, DType::F32);
        // Several passes; more than 65,535 rows; more than 65,535 workgroups.
        out.push(case(row, picked(float(&[70_001])), &[], false));
        out.push(case(row, picked(float(&[2, 70_000])), &[1], false));
        out.push(case(row, picked(float(&[70_000, 3])), &[1], false));
        out.push(case(row, picked(float(&[70_000, 3])), &[0], false));
        out.push(case(row, float(&[66_000, 33]).frozen(), &[1], false));
        if row.name == "sum" {
            out.push(case(row, float(&[2, 0]), &[1], false));
        }
        if row.name == "mean" {
            out.push(Case::rejects(
                "mean",
                vec![Input::new(&[3], DType::U32).index(5)],
                |x| x[0].mean(&[], false),
                "cast it to f32 first",
            ));
        } else {
            for dtype in [DType::U32, DType::I32] {
                for (shape, layout, dims) in [
                    (vec![257], Contiguous, vec![]),
                    (vec![40, 7], Transposed, vec![0]),
                    (vec![40, 70], Sliced, vec![1]),
                ] {
                    let input = Input::new(&shape, dtype).layout(layout).index(1000);
                    out.push(case(row, input, &dims, false));
                }
            }
        }
        if row.name != "sum" {
            let run = row.run;
            out.push(Case::rejects(
                row.name,
                vec![float(&[2, 0])],
                move |x| run(&x[0], &[1], false),
                "has no elements",
            ));
        }
        if picks {
            // Two equal elements, where finite differences too give each half.
            let ties = float(&[300, 2]).steps(2);
            out.push(case(row, ties, &[1], false).note("ties"));
        }
        let run = row.run;
        out.push(Case::rejects(
            row.name,
            vec![float(&[2, 3])],
            move |x| run(&x[0], &[2], false),
            "dim 2 is out of range",
        ));
        out.push(Case::rejects(
            row.name,
            vec![float(&[2, 3])],
            move |x| run(&x[0], &[1, -1], false),
            "named twice",
        ));
    }
    sum_to_cases(out);
}

fn sum_to_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for (from, layout, to) in [
            (vec![5], Contiguous, vec![]),
            (vec![5], Contiguous, vec![1]),
            (vec![4, 5], Contiguous, vec![5]),
            (vec![4, 5], Contiguous, vec![4, 1]),
            (vec![4, 5], Transposed, vec![1, 1]),
            (vec![4, 5], Contiguous, vec![4, 5]),
            (vec![2, 3, 4], Sliced, vec![3, 1]),
            (vec![2, 3, 4], Expanded, vec![1, 3, 4]),
            (vec![2, 3, 4], Contiguous, vec![]),
            (vec![3, 257, 2], Contiguous, vec![1, 1, 2]),
            (vec![1030, 64], Contiguous, vec![64]),
            (vec![2, 3, 2, 5], Transposed, vec![2, 1, 2, 1]),
        ] {
            let target = to.clone();
            let torch = format!("x0.sum_to_size({to:?})");
            out.push(Case::new(
                "sum_to",
                &torch,
                vec![Input::new(&from, dtype).layout(layout)],
                move |x| x[0].sum_to(&target),
                move |x: &[HostArray]| {
                    let lead = x[0].shape.len() - to.len();
                    let reduced: Vec<bool> = (0..x[0].shape.len())
                        .map(|d| d < lead || x[0].shape[d] != to[d - lead])
                        .collect();
                    let mut y = fold(&x[0], &reduced, 0.0, |a, b| a + b);
                    y.shape = to.clone();
                    y
                },
            ));
        }
    }
    for target in [vec![3, 4], vec![2, 2], vec![1, 2, 3]] {
        out.push(Case::rejects(
            "sum_to",
            vec![Input::new(&[2, 3], DType::F32)],
            move |x| x[0].sum_to(&target),
            "does not sum to",
        ));
    }
}
