//! Scaled dot-product attention.

use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::random::Generator;
use crate::tensor::Tensor;

/// `softmax(scale * q k^T, masked) v` (Vaswani et al., arXiv:1706.03762), composed of the matrix product,
/// the masked softmax and dropout, so that its gradient is theirs.
///
/// `q` is (B, H, Tq, D), `k` and `v` are (B, H, Tk, D) in any layout, the result is (B, H, Tq, D). `mask`
/// is u32 (B, Tk), 0 where a key is padding; with `causal`, query i sees keys 0..=i. `scale` is
/// 1 / sqrt(D) if not given. `dropout` is a probability and where its random numbers come from. A query
/// that may see no key gives zeros.
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: Option<f32>,
    dropout: Option<(f32, &Generator)>,
) -> Result<Tensor> {
    let fits = match (q.shape(), k.shape(), v.shape()) {
        ([b, h, _, d], [kb, kh, kt, kd], [vb, vh, vt, _]) => {
            (b, h, d) == (kb, kh, kd)
                && (b, h, kt) == (vb, vh, vt)
                && mask.is_none_or(|m| m.shape() == [*b, *kt])
        }
        _ => false,
    };
    if !fits {
        return Err(Error::op(
            "scaled_dot_product_attention",
            format!(
                "q {:?}, k {:?}, v {:?}, mask {:?} do not fit: (B, H, Tq, D), (B, H, Tk, D) twice and (B, Tk) are needed",
                q.shape(),
                k.shape(),
                v.shape(),
                mask.map(|m| m.shape().to_vec())
            ),
        ));
    }
    let scale = scale.unwrap_or(1.0 / (q.shape()[3].max(1) as f32).sqrt());
    let scores = q.matmul(&k.transpose(-2, -1)?)?;
    let mut weights = scores.softmax_masked(mask, scale, causal)?;
    if let Some((p, generator)) = dropout {
        weights = weights.dropout(p, generator)?;
    }
    weights.matmul(v)
}

fn reference(x: &[HostArray], causal: bool, scale: f64) -> HostArray {
    let (q, k, v) = (&x[0], &x[1], &x[2]);
    let scores = q.matmul(&k.permute(&[0, 1, 3, 2]));
    let (h, tq, tk) = (scores.shape[1], scores.shape[2], scores.shape[3]);
    let mut weights = HostArray::zeros(&scores.shape);
    for (row, from) in scores.data.chunks(tk).enumerate() {
        let (b, i) = (row / (h * tq), row % tq);
        let seen = |j: usize| {
            (!causal || j <= i) && x.get(3).is_none_or(|mask| mask.data[b * tk + j] != 0.0)
        };
        let top = (0..tk)
            .filter(|j| seen(*j))
            .fold(f64::MIN, |m, j| m.max(scale * from[j]));
        let e: Vec<f64> = (0..tk)
            .map(|j| {
                if seen(j) {
                    (scale * from[j] - top).exp()
                } else {
                    0.0
                }
            })
            .collect();
        let sum: f64 = e.iter().sum();
        for (j, e) in e.iter().enumerate() {
            weights.data[row * tk + j] = if sum > 0.0 { e / sum } else { 0.0 };
        }
    }
    weights.matmul(v)
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    for dtype in [DType::F32, DType::F16] {
        for [b, h, tq, tk, d] in [
            [1, 1, 1, 1, 4],
            [2, 3, 5, 5, 8],
            [1, 2, 33, 33, 4],
            [2, 1, 4, 9, 12],
        ] {
            for layout in [Layout::Contiguous, Layout::Transposed] {
                for (causal, masked) in [(false, false), (true, false), (false, true), (true, true)]
                {
                    let input = |t: usize| Input::new(&[b, h, t, d], dtype).layout(layout);
                    let mut inputs = vec![input(tq), input(tk), input(tk)];
                    let scale = 1.0 / (d as f64).sqrt();
                    let torch = match (causal, masked) {
                        (false, false) => "F.scaled_dot_product_attention(x0, x1, x2)",
                        (true, false) => {
                            "F.scaled_dot_product_attention(x0, x1, x2, is_causal=True)"
                        }
                        // PyTorch gives NaN for a query without keys: not comparable.
                        _ => "",
                    };
                    if masked {
                        inputs.push(Input::new(&[b, tk], DType::U32).index(2));
                    }
                    out.push(
                        Case::new(
                            "scaled_dot_product_attention",
                            torch,
                            inputs,
                            move |x| {
                                scaled_dot_product_attention(
                                    &x[0],
                                    &x[1],
                                    &x[2],
                                    x.get(3),
                                    causal,
                                    None,
                                    None,
                                )
                            },
                            move |x: &[HostArray]| reference(x, causal, scale),
                        )
                        .note(format!("causal={causal} masked={masked}")),
                    );
                }
            }
        }
    }
    let shape = |s: &[usize]| Input::new(s, DType::F32);
    out.push(Case::rejects(
        "scaled_dot_product_attention",
        vec![
            shape(&[1, 2, 3, 4]),
            shape(&[1, 2, 3, 5]),
            shape(&[1, 2, 3, 4]),
        ],
        |x| scaled_dot_product_attention(&x[0], &x[1], &x[2], None, false, None, None),
        "do not fit",
    ));
}
