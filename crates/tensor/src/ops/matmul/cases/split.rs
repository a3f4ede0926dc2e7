//! Rows of products whose inner dimension is cut into parts, with all that may follow the sums.

use super::super::MatmulVariant;
use super::super::gemm::{Epilogue, Product};
use super::super::split::split_k;
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::unary::gelu_reference;
use crate::tensor::Tensor;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Plain,
    BiasGelu,
    InputOfGelu,
    Residual,
    GeluBackward,
    RowSums,
}

const ALL: [Part; 6] = [
    Part::Plain,
    Part::BiasGelu,
    Part::InputOfGelu,
    Part::Residual,
    Part::GeluBackward,
    Part::RowSums,
];

const PARTS: usize = 4;
const SCALE: f32 = 0.5;

/// (5, 32) times (32, N): scalars and vectors, three layouts, f16 in matrix units.
pub(super) fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Sliced, Transposed};
    for (n, layout, dtype, variant) in [
        (7, Contiguous, DType::F32, MatmulVariant::Tiled),
        (8, Transposed, DType::F32, MatmulVariant::Tiled),
        (8, Sliced, DType::F32, MatmulVariant::Simple),
        (8, Transposed, DType::F16, MatmulVariant::Cooperative),
    ] {
        for part in ALL {
            let input = |shape: &[usize]| Input::new(shape, dtype).frozen();
            let list = vec![
                input(&[5, 32]).layout(layout),
                input(&[32, n]).layout(layout),
                input(&[n]),
                input(&[5, n]),
            ];
            let case = Case::new(
                "matmul",
                torch(part),
                list,
                move |x| product(part, variant, x),
                move |x: &[HostArray]| expected(part, x),
            );
            out.push(case.note(format!("split along K, {variant:?}, {part:?}")));
        }
    }
}

/// Of the exact GELU: the normal distribution's cumulative function, and x times its density.
fn gelu_derivative(x: f64) -> f64 {
    let below = if x == 0.0 { 0.5 } else { gelu_reference(x) / x };
    below + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

fn torch(part: Part) -> &'static str {
    match part {
        Part::Plain => "0.5 * (x0 @ x1)",
        Part::BiasGelu => "F.gelu(0.5 * (x0 @ x1) + x2)",
        Part::InputOfGelu => "0.5 * (x0 @ x1) + x2",
        Part::Residual => "0.5 * (x0 @ x1) + x2 + x3",
        Part::GeluBackward => {
            "0.5 * (x0 @ x1) * (0.5 + 0.5 * torch.erf(x3 / 2**0.5) + x3 * torch.exp(-x3 * x3 / 2) / 6.283185307179586**0.5)"
        }
        Part::RowSums => "x0.sum(1)",
    }
}

fn product(part: Part, variant: MatmulVariant, x: &[Tensor]) -> Result<Tensor> {
    let [a, b, bias, side] = x else {
        return Err(crate::error::Error::op("matmul", "four inputs are needed"));
    };
    let with_bias = matches!(part, Part::BiasGelu | Part::InputOfGelu | Part::Residual);
    let epilogue = Epilogue {
        scale: SCALE,
        bias: with_bias.then_some(bias),
        gelu: matches!(part, Part::BiasGelu | Part::InputOfGelu),
        gelu_input: (part == Part::GeluBackward).then_some(side),
        residual: (part == Part::Residual).then_some(side),
        row_sums: part == Part::RowSums,
        dtype: None,
    };
    let sides = [a.shape()[0], b.shape()[1]];
    let made = Product::new(a.device(), &[], sides, a.dtype(), &epilogue)?;
    split_k(
        "matmul",
        (a, b),
        PARTS,
        Some(variant.into()),
        &epilogue,
        &made,
    )?;
    Ok(match part {
        Part::InputOfGelu => made.pre.unwrap_or(made.y),
        Part::RowSums => made.row_sums.unwrap_or(made.y),
        _ => made.y,
    })
}

fn expected(part: Part, x: &[HostArray]) -> HostArray {
    let y = x[0].matmul(&x[1]).map(|v| v * f64::from(SCALE));
    let biased = || y.zip(&x[2], |v, bias| v + bias);
    match part {
        Part::Plain => y,
        Part::BiasGelu => biased().map(gelu_reference),
        Part::InputOfGelu => biased(),
        Part::Residual => biased().zip(&x[3], |v, side| v + side),
        Part::GeluBackward => y.zip(&x[3], |v, side| v * gelu_derivative(side)),
        Part::RowSums => {
            let (rows, columns) = (x[0].shape[0], x[0].shape[1]);
            let mut sums = HostArray::zeros(&[rows]);
            for (i, sum) in sums.data.iter_mut().enumerate() {
                *sum = x[0].data[i * columns..(i + 1) * columns].iter().sum();
            }
            sums
        }
    }
}
