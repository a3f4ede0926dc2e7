//! The rows of the op matrix for attention, and its float64 reference.

mod rejections;

use super::{Attention, AttentionVariant, attention_packed_with, attention_with};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::ops::dropout::threshold;
use crate::random::{Generator, state, word};
use crate::tensor::Tensor;

/// Seed and step of the rows with dropout.
const SEED: u64 = 11;
const STEP: u64 = 3;

/// One problem: sides and options.
#[derive(Debug, Clone, Copy)]
struct Problem {
    /// B, H, Hk, Tq, Tk, D
    sides: [usize; 6],
    causal: bool,
    masked: bool,
    /// The shape of the bias.
    bias: Option<[usize; 4]>,
    /// Of dropout.
    p: f32,
}

impl Problem {
    fn new(sides: [usize; 6]) -> Self {
        Self {
            sides,
            causal: false,
            masked: false,
            bias: None,
            p: 0.0,
        }
    }
    fn causal(mut self) -> Self {
        self.causal = true;
        self
    }
    fn masked(mut self) -> Self {
        self.masked = true;
        self
    }
    fn bias(mut self, shape: [usize; 4]) -> Self {
        self.bias = Some(shape);
        self
    }
    fn dropout(mut self, p: f32) -> Self {
        self.p = p;
        self
    }

    fn note(&self, variant: AttentionVariant) -> String {
        let [_, h, hk, ..] = self.sides;
        let mut note = format!("{variant:?}");
        for (on, name) in [
            (self.causal, "causal"),
            (self.masked, "mask"),
            (self.bias.is_some(), "bias"),
            (self.p > 0.0, "dropout"),
            (h != hk, "grouped"),
        ] {
            if on {
                note.push(' ');
                note.push_str(name);
            }
        }
        note
    }

    /// The call in PyTorch; none for dropout, or for a mask (a query without keys gives NaN there).
    fn torch(&self) -> String {
        if self.p > 0.0 || self.masked {
            return String::new();
        }
        let bias = self.bias.map_or("", |_| ", attn_mask=x3");
        let [_, h, hk, tq, tk, _] = self.sides;
        let causal = match self.causal {
            false => String::new(),
            true if tq == tk => ", is_causal=True".to_owned(),
            true => format!(
                ", attn_mask=torch.ones({tq}, {tk}, dtype=torch.bool, device=x0.device).tril({})",
                tk as isize - tq as isize
            ),
        };
        let grouped = if h == hk { "" } else { ", enable_gqa=True" };
        // Queries that see no key give NaN in PyTorch.
        if self.causal && (self.bias.is_some() || tq > tk) {
            return String::new();
        }
        format!("F.scaled_dot_product_attention(x0, x1, x2{bias}{causal}{grouped})")
    }

    /// The inputs behind q, k and v.
    fn extras(&self, dtype: DType, frozen: bool) -> Vec<Input> {
        let [b, _, _, _, tk, _] = self.sides;
        let mut inputs = Vec::new();
        if let Some(shape) = self.bias {
            let bias = Input::new(&shape, dtype);
            inputs.push(if frozen { bias.frozen() } else { bias });
        }
        if self.masked {
            inputs.push(Input::new(&[b, tk], DType::U32).index(2));
        }
        inputs
    }

    /// Calls `f` with the options, from the inputs behind q, k and v.
    fn with<R>(
        &self,
        device: &crate::Device,
        extras: &[Tensor],
        f: impl FnOnce(&Attention) -> crate::Result<R>,
    ) -> crate::Result<R> {
        let generator = Generator::new(device, SEED)?;
        generator.begin_step(STEP, 0)?;
        // The second random op of its step.
        generator.next_op();
        let (bias, rest) = extras.split_at(usize::from(self.bias.is_some()));
        f(&Attention {
            mask: rest.first(),
            bias: bias.first(),
            causal: self.causal,
            scale: None,
            dropout: (self.p > 0.0).then_some((self.p, &generator)),
        })
    }

    fn reference(
        &self,
        q: &HostArray,
        k: &HostArray,
        v: &HostArray,
        extras: &[HostArray],
    ) -> HostArray {
        let [b, h, hk, tq, tk, d] = self.sides;
        let (bias, rest) = extras.split_at(usize::from(self.bias.is_some()));
        let bias = bias.first().map(|x| x.broadcast_to(&[b, h, tq, tk]));
        let scale = 1.0 / (d as f64).sqrt();
        let words = state(SEED, STEP, 0).unwrap_or_default();
        let mut y = HostArray::zeros(&[b, h, tq, d]);
        let mut e = vec![0.0; tk];
        for row in 0..b * h * tq {
            let (i, head) = (row % tq, row / tq);
            let key_head = head / h * hk + head % h / (h / hk);
            let at = |j: usize| (key_head * tk + j) * d;
            let seen = |j: usize| {
                (!self.causal || j + tq <= i + tk)
                    && rest
                        .first()
                        .is_none_or(|m| m.data[head / h * tk + j] != 0.0)
            };
            let from = &q.data[row * d..][..d];
            for (j, e) in e.iter_mut().enumerate() {
                let dot: f64 = from.iter().zip(&k.data[at(j)..]).map(|(x, y)| x * y).sum();
                *e = scale * dot + bias.as_ref().map_or(0.0, |x| x.data[row * tk + j]);
            }
            let top = (0..tk)
                .filter(|j| seen(*j))
                .fold(f64::MIN, |m, j| m.max(e[j]));
            for (j, e) in e.iter_mut().enumerate() {
                *e = if seen(j) { (*e - top).exp() } else { 0.0 };
            }
            let sum: f64 = e.iter().sum();
            for (j, e) in e.iter().enumerate() {
                let kept = self.p == 0.0 || word(words, 1, row * tk + j) >= threshold(self.p);
                if sum > 0.0 && kept {
                    let weight = e / sum / (1.0 - f64::from(self.p));
                    for c in 0..d {
                        y.data[row * d + c] += weight * v.data[at(j) + c];
                    }
                }
            }
        }
        y
    }
}

const VARIANTS: [AttentionVariant; 3] = [
    AttentionVariant::Composed,
    AttentionVariant::Tiled,
    AttentionVariant::Subgroup,
];

fn row(problem: Problem, variant: AttentionVariant, dtype: DType, layout: Layout) -> Case {
    let [b, h, hk, tq, tk, d] = problem.sides;
    let input = |h: usize, t: usize| Input::new(&[b, h, t, d], dtype).layout(layout);
    let mut inputs = vec![input(h, tq), input(hk, tk), input(hk, tk)];
    // The fused kernels have no gradient for the bias.
    inputs.extend(problem.extras(dtype, variant != AttentionVariant::Composed));
    Case::new(
        super::OP,
        &problem.torch(),
        inputs,
        move |x| {
            problem.with(x[0].device(), &x[3..], |options| {
                attention_with(&x[0], &x[1], &x[2], options, Some(variant))
            })
        },
        move |x: &[HostArray]| problem.reference(&x[0], &x[1], &x[2], &x[3..]),
    )
    .note(problem.note(variant))
}

fn packed(problem: Problem, variant: AttentionVariant, dtype: DType, layout: Layout) -> Case {
    let [b, h, _, t, _, d] = problem.sides;
    let mut inputs = vec![Input::new(&[b, t, 3, h, d], dtype).layout(layout)];
    inputs.extend(problem.extras(dtype, variant != AttentionVariant::Composed));
    let torch = problem.torch();
    let torch = torch
        .replace("x3", "x1")
        .replace("(x0, x1, x2", "(*x0.permute(2, 0, 3, 1, 4).unbind()");
    let torch = match torch.is_empty() {
        true => torch,
        false => format!("{torch}.transpose(1, 2)"),
    };
    Case::new(
        "attention_packed",
        &torch,
        inputs,
        move |x| {
            problem.with(x[0].device(), &x[1..], |options| {
                attention_packed_with(&x[0], options, Some(variant))
            })
        },
        move |x: &[HostArray]| {
            let parts = x[0].permute(&[2, 0, 3, 1, 4]);
            let one = |i: usize| HostArray {
                shape: vec![b, h, t, d],
                data: parts.data[i * b * h * t * d..][..b * h * t * d].to_vec(),
            };
            problem
                .reference(&one(0), &one(1), &one(2), &x[1..])
                .permute(&[0, 2, 1, 3])
        },
    )
    .note(problem.note(variant))
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let of = Problem::new;
    let problems = [
        (of([1, 1, 1, 1, 1, 8]), Contiguous),
        (of([2, 3, 3, 5, 5, 8]).causal(), Contiguous),
        (of([2, 3, 3, 5, 5, 8]).causal(), Transposed),
        (of([2, 3, 3, 5, 5, 8]).causal(), Sliced),
        (of([2, 3, 3, 5, 5, 8]).causal(), Expanded),
        (of([1, 2, 2, 33, 33, 4]).masked(), Contiguous),
        (
            of([2, 4, 2, 19, 40, 32]).bias([1, 4, 19, 40]).dropout(0.2),
            Contiguous,
        ),
        (
            of([1, 2, 2, 45, 37, 32]).masked().causal().dropout(0.1),
            Contiguous,
        ),
        (of([2, 2, 2, 35, 70, 36]).masked().dropout(0.5), Contiguous),
        (
            of([2, 2, 2, 7, 6, 20]).bias([2, 1, 1, 6]).causal(),
            Contiguous,
        ),
        (
            of([2, 2, 2, 7, 6, 20])
                .bias([2, 1, 1, 6])
                .masked()
                .dropout(0.3),
            Contiguous,
        ),
        (of([1, 2, 1, 40, 20, 64]), Contiguous),
        (of([1, 1, 1, 9, 17, 128]).causal(), Contiguous),
        // As with a cache of keys: one query, and a few more than a tile behind many keys.
        (of([2, 4, 2, 1, 70, 32]).causal(), Contiguous),
        (of([1, 2, 1, 37, 101, 16]).causal(), Sliced),
        // Rows of no whole vectors: composed.
        (of([2, 1, 1, 4, 9, 7]).masked(), Contiguous),
    ];
    for variant in VARIANTS {
        for (problem, layout) in problems {
            out.push(row(problem, variant, DType::F32, layout));
        }
        for (problem, layout) in [problems[1], problems[2], problems[7]] {
            out.push(row(problem, variant, DType::F16, layout));
        }
        for dtype in [DType::F32, DType::F16] {
            let small = of([2, 2, 2, 13, 13, 8]);
            out.push(packed(small, variant, dtype, Contiguous));
            out.push(packed(small.masked().dropout(0.1), variant, dtype, Sliced));
        }
        let middle = of([1, 3, 3, 20, 20, 32]).masked().causal();
        let everything = middle.bias([1, 3, 20, 20]).dropout(0.25);
        out.push(packed(everything, variant, DType::F32, Contiguous));
        out.push(packed(
            of([1, 2, 2, 3, 3, 5]),
            variant,
            DType::F32,
            Contiguous,
        ));
    }
    units(out, &problems);
    generation(out);
    // A gradient for q alone, for v alone.
    for frozen in [[1, 2], [0, 1]] {
        for variant in VARIANTS {
            let mut case = row(
                of([1, 2, 2, 5, 5, 8]).causal(),
                variant,
                DType::F32,
                Contiguous,
            );
            for at in frozen {
                case.inputs[at].requires_grad = false;
            }
            case.note = format!("{variant:?}, frozen {frozen:?}");
            out.push(case);
        }
    }
    rejections::rejections(out);
}

/// One query behind many keys, by rule.
fn generation(out: &mut Vec<Case>) {
    for problem in [
        Problem::new([2, 6, 2, 1, 45, 16]).causal(),
        Problem::new([2, 6, 2, 1, 45, 16]).masked().dropout(0.2),
        Problem::new([1, 2, 2, 1, 1, 8]).causal(),
    ] {
        for (dtype, layout) in [
            (DType::F32, Layout::Sliced),
            (DType::F16, Layout::Contiguous),
        ] {
            let mut case = row(problem, AttentionVariant::Composed, dtype, layout);
            case.run = Box::new(move |x| {
                problem.with(x[0].device(), &x[3..], |options| {
                    attention_with(&x[0], &x[1], &x[2], options, None)
                })
            });
            let note = problem.note(AttentionVariant::Composed);
            out.push(case.note(note.replace("Composed", "one query")));
        }
    }
}

/// Rows for matrix units, with f16 only. Without matrix units the tiled kernels run them.
fn units(out: &mut Vec<Case>, problems: &[(Problem, Layout)]) {
    let one = |problem, layout| row(problem, AttentionVariant::Cooperative, DType::F16, layout);
    out.extend([1, 2, 3, 6, 7, 11].map(|at| one(problems[at].0, problems[at].1)));
    // Maxima that grow as the keys go by.
    let mut steep = one(Problem::new([1, 2, 1, 70, 140, 16]), Layout::Contiguous);
    steep.inputs[0] = steep.inputs[0].clone().range(-12.0, 12.0);
    out.push(steep.note("Cooperative steep"));
    let small = Problem::new([2, 2, 2, 13, 13, 8]);
    let one = |problem, layout| packed(problem, AttentionVariant::Cooperative, DType::F16, layout);
    out.push(one(small, Layout::Contiguous));
    out.push(one(small.masked().dropout(0.1), Layout::Sliced));
}
