//! The rows of the op matrix for rotary positions, and their float64 reference.

use super::{Rope, rope_frequencies, rope_table};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::tensor::Tensor;

/// Positions of the table of the rows.
const ROWS: usize = 300;
const THETA: f64 = 10_000.0;

/// One problem.
#[derive(Debug, Clone)]
struct Problem {
    /// Of the tensor.
    shape: [usize; 4],
    /// R
    turned: usize,
    interleaved: bool,
    heads_behind: bool,
    offset: usize,
    /// The shape of the positions, if they are given.
    positions: Option<Vec<usize>>,
}

impl Problem {
    fn options<'a>(&self, positions: Option<&'a Tensor>) -> Rope<'a> {
        Rope {
            interleaved: self.interleaved,
            heads_behind: self.heads_behind,
            offset: self.offset,
            positions,
        }
    }

    fn reference(&self, x: &HostArray, positions: Option<&HostArray>) -> HostArray {
        let frequencies = rope_frequencies(self.turned, THETA);
        HostArray::from_fn(&x.shape, |at| {
            let c = at[3];
            if c >= self.turned {
                return x.get(at);
            }
            let t = if self.heads_behind { at[1] } else { at[2] };
            let given = |p: &HostArray| match p.shape.len() {
                1 => p.get(&[t]),
                _ => p.get(&[at[0], t]),
            };
            let position = positions.map_or(t as f64, given) + self.offset as f64;
            let half = self.turned / 2;
            let (pair, second) = match self.interleaved {
                true => (c / 2, c % 2 == 1),
                false => (c % half, c >= half),
            };
            let other = match (self.interleaved, second) {
                (true, true) => c - 1,
                (true, false) => c + 1,
                (false, true) => c - half,
                (false, false) => c + half,
            };
            let partner = x.get(&[at[0], at[1], at[2], other]);
            // The kernels' table holds these numbers rounded to f32.
            let angle = position * frequencies[pair];
            let (cosine, sine) = (f64::from(angle.cos() as f32), f64::from(angle.sin() as f32));
            x.get(at) * cosine + partner * if second { sine } else { -sine }
        })
    }

    fn torch(&self) -> String {
        let [_, first, second, _] = self.shape;
        let (length, heads_behind) = match self.heads_behind {
            true => (first, true),
            false => (second, false),
        };
        let turned = self.turned;
        let base = match &self.positions {
            None => format!("torch.arange({length}, device=x0.device)"),
            Some(shape) if shape.len() == 1 => "x1.long()".to_owned(),
            // (B, T): the batch in front.
            Some(_) => "x1.long()[:, None]".to_owned(),
        };
        let mut angles = format!(
            "(({base} + {})[..., None].double() * {THETA} ** (-torch.arange(0, {turned}, 2, device=x0.device).double() / {turned}))",
            self.offset
        );
        if heads_behind {
            angles = match &self.positions {
                Some(shape) if shape.len() == 2 => format!("{angles}.transpose(1, 2)"),
                _ => format!("{angles}[:, None]"),
            };
        }
        let parts = match self.interleaved {
            true => format!("x0[..., 0:{turned}:2], x0[..., 1:{turned}:2]"),
            false => format!("x0[..., :{}], x0[..., {}:{turned}]", turned / 2, turned / 2),
        };
        let joined = match self.interleaved {
            true => "torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2)",
            false => "torch.cat([a * c - b * s, b * c + a * s], -1)",
        };
        format!(
            "(lambda a, b, c, s: torch.cat([{joined}, x0[..., {turned}:]], -1))({parts}, {angles}.cos().to(x0.dtype), {angles}.sin().to(x0.dtype))"
        )
    }
}

fn row(problem: Problem, dtype: DType, layout: Layout) -> Case {
    let mut inputs = vec![Input::new(&problem.shape, dtype).layout(layout)];
    if let Some(shape) = &problem.positions {
        inputs.push(Input::new(shape, DType::U32).index((ROWS - problem.offset) as u32));
    }
    let (torch, on_host) = (problem.torch(), problem.clone());
    let note = format!(
        "{}{} R {} from {}",
        if problem.heads_behind {
            "heads behind, "
        } else {
            ""
        },
        match problem.interleaved {
            true => "interleaved",
            false => "halves",
        },
        problem.turned,
        problem.offset
    );
    Case::new(
        "rope",
        &torch,
        inputs,
        move |x| {
            let table = rope_table(
                x[0].device(),
                ROWS,
                &rope_frequencies(problem.turned, THETA),
            )?;
            x[0].rope(&table, &problem.options(x.get(1)))
        },
        move |x: &[HostArray]| on_host.reference(&x[0], x.get(1)),
    )
    .note(note)
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let of = |shape, turned, offset| Problem {
        shape,
        turned,
        interleaved: false,
        heads_behind: false,
        offset,
        positions: None,
    };
    for dtype in [DType::F32, DType::F16] {
        for interleaved in [false, true] {
            for (shape, turned, offset, layout) in [
                ([1, 1, 1, 2], 2, 0, Contiguous),
                ([2, 3, 5, 8], 8, 0, Contiguous),
                ([2, 3, 5, 8], 8, 7, Transposed),
                ([2, 3, 5, 8], 8, 295, Sliced),
                ([2, 3, 5, 8], 8, 3, Expanded),
                // Some channels only; of rows of no whole vectors too.
                ([1, 2, 9, 20], 8, 1, Contiguous),
                ([1, 2, 9, 20], 16, 1, Sliced),
                ([2, 1, 3, 7], 6, 0, Contiguous),
                ([1, 2, 3, 6], 0, 0, Contiguous),
                ([2, 0, 3, 8], 8, 0, Contiguous),
                // Enough for textures on the software adapter, and more rows than a workgroup.
                ([2, 3, 33, 64], 64, 11, Contiguous),
                ([1, 4, 40, 64], 32, 0, Contiguous),
                ([1, 4, 40, 64], 64, 5, Sliced),
            ] {
                let problem = Problem {
                    interleaved,
                    ..of(shape, turned, offset)
                };
                out.push(row(problem.clone(), dtype, layout));
                let [b, _, t, _] = shape;
                let behind = Problem {
                    heads_behind: true,
                    positions: (t > 1 && layout == Contiguous).then(|| vec![shape[1]]),
                    ..problem.clone()
                };
                out.push(row(behind, dtype, layout));
                let given = Problem {
                    positions: Some(vec![b, t]),
                    ..problem
                };
                out.push(row(given, dtype, layout));
            }
        }
    }
    rejections(out);
}

fn rejections(out: &mut Vec<Case>) {
    let float = |shape: &[usize]| Input::new(shape, DType::F32);
    let call = |options: fn(&[Tensor]) -> Rope| {
        move |x: &[Tensor]| {
            let table = rope_table(x[0].device(), 20, &rope_frequencies(8, THETA))?;
            x[0].rope(&table, &options(x))
        }
    };
    let plain: fn(&[Tensor]) -> Rope = |_| Rope::default();
    let late: fn(&[Tensor]) -> Rope = |_| Rope {
        offset: 18,
        ..Rope::default()
    };
    let given: fn(&[Tensor]) -> Rope = |x| Rope {
        positions: x.get(1),
        ..Rope::default()
    };
    for (inputs, options, text) in [
        (vec![float(&[2, 3, 8])], plain, "(B, H, T, D)"),
        (
            vec![Input::new(&[1, 2, 3, 8], DType::U32).index(5)],
            plain,
            "a float tensor is needed",
        ),
        (vec![float(&[1, 2, 3, 6])], plain, "turns 8 channels"),
        (vec![float(&[1, 2, 3, 8])], late, "make a longer table"),
        (
            vec![float(&[1, 2, 3, 8]), Input::new(&[2], DType::U32).index(3)],
            given,
            "the positions are u32 [3] or [1, 3]",
        ),
    ] {
        out.push(Case::rejects("rope", inputs, call(options), text));
    }
    out.push(Case::rejects(
        "rope",
        vec![float(&[1, 2, 3, 8]), float(&[20, 7])],
        |x| x[0].rope(&x[1].detach(), &Rope::default()),
        "an even R",
    ));
}
