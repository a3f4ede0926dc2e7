//! The least work of a training step: its operations, and the bytes that must be moved even if every
//! kernel were fused as well as can be.
//!
//! The bytes of a step are counted so, parameters, gradients and moments in f32, activations in their type:
//! - a pass over activations for each input read and each output written by the best fused kernels known
//!   (the norm and residual behind a product in the product's kernel, GELU likewise, attention without its
//!   scores, softmax and loss in one kernel that leaves the gradient in place of the logits);
//! - what the backward pass needs of the forward pass is written once, and read once where it is used;
//! - a weight is read forward and backward, its gradient written once;
//! - AdamW reads the weight, its gradient and two moments and writes the weight and the moments;
//! - of a table of embeddings only the rows of the batch are read and have a gradient, but AdamW goes over
//!   all of it.

use wgrad_tensor::DType;
use wgrad_tune::bench::Work;

use super::models::{MLP, Sizes};

const F32: f64 = 4.0;
/// Weight read twice, gradient written; AdamW reads four and writes three.
const WEIGHT: f64 = 10.0;
/// AdamW over a table whose gradient is rows: the table and two moments, read and written.
const TABLE: f64 = 6.0;

/// The work of some operations that moves some numbers of activations and some of parameters.
fn work(s: &Sizes, operations: f64, activations: f64, parameters: f64) -> Work {
    let work = Work::new(
        operations,
        s.dtype.size() as f64 * activations + F32 * parameters,
    );
    match s.dtype {
        DType::F16 => work.half(),
        _ => work,
    }
}

/// A layer of a transformer: operations, and numbers of activations and of parameters moved in a training
/// step.
fn layer(s: &Sizes, causal: bool) -> (f64, f64, f64) {
    let (n, c, f) = (s.tokens() as f64, s.channels as f64, s.hidden as f64);
    let weights = 4.0 * c * c + 2.0 * c * f;
    let t = s.seq as f64;
    let seen = if causal { (t + 1.0) / 2.0 } else { t };
    // Forward once and backward twice: 2 operations a weight and token, 4 a channel and pair seen.
    // Attention's scores are computed again backward.
    let operations = 3.0 * 2.0 * n * weights + 7.0 * 2.0 * n * seen * c;
    let (c, f) = (n * c, n * f);
    // Queries, keys and values: x in, three out. Attention: three in, one out. Its projection with
    // residual and norm: two in, one out. The feed-forward part: x in, hidden out; hidden and residual
    // in, one out.
    let forward = (c + 3.0 * c) + (3.0 * c + c) + (2.0 * c + c) + (c + f) + (f + c + c);
    // The same ops from the last: each reads its output's gradient and what it kept, and writes the
    // gradient of its input; a product's two gradients are two kernels.
    let second = 3.0 * c + (c + f + f) + (c + f);
    let first = (f + c + c) + (f + c);
    let projection = 3.0 * c + (c + c) + (c + c);
    let attention = 5.0 * c + 3.0 * c;
    let three = (3.0 * c + c + c) + (3.0 * c + c);
    let backward = second + first + projection + attention + three;
    let small = 4.0 * s.channels as f64 + s.hidden as f64 + 5.0 * s.channels as f64;
    (operations, forward + backward, WEIGHT * (weights + small))
}

/// A training step of [`super::models::bert`].
pub fn bert(s: &Sizes) -> Work {
    let (operations, activations, weights) = layer(s, false);
    let layers = s.layers as f64;
    let c = s.channels as f64;
    let rows = s.tokens() as f64 * c;
    let tables = (s.vocabulary + s.positions + 2) as f64 * c;
    // Eight times the rows: in, normed out; the norm's gradient (two in, one out), which is read and written as the
    // table's, and read by AdamW.
    work(
        s,
        layers * operations,
        layers * activations + 8.0 * rows,
        layers * weights + TABLE * tables,
    )
}

/// A training step of [`super::models::gpt`].
pub fn gpt(s: &Sizes) -> Work {
    let (operations, activations, weights) = layer(s, true);
    let layers = s.layers as f64;
    let (c, v, n) = (s.channels as f64, s.vocabulary as f64, s.tokens() as f64);
    let rows = n * c;
    // The table of tokens is the last product's weight, or has one beside it.
    let token = if s.tied { 0.0 } else { TABLE * v * c };
    let tables = token + TABLE * s.positions as f64 * c;
    // The norm in front: one in, one out; backward two in, one out. Logits out, in and (as gradient) out
    // in the loss, and in for each of the product's two gradients.
    let head = 2.0 * rows + 3.0 * rows + 5.0 * n * v + 3.0 * rows;
    work(
        s,
        layers * operations + 3.0 * 2.0 * n * c * v,
        layers * activations + 5.0 * rows + head,
        layers * weights + tables + WEIGHT * v * c,
    )
}

/// A training step of [`super::models::mlp`] on `rows` rows.
pub fn mlp(rows: usize) -> Work {
    let n = rows as f64;
    let (mut operations, mut numbers) = (0.0, 0.0);
    for (i, pair) in MLP.windows(2).enumerate() {
        let (a, b) = (pair[0] as f64, pair[1] as f64);
        // The first layer's input wants no gradient.
        let products = if i == 0 { 2.0 } else { 3.0 };
        operations += products * 2.0 * n * a * b;
        // In and out; backward the gradient in twice, the input in, its gradient out.
        let input = if i == 0 { 2.0 } else { 3.0 };
        numbers += n * (input * a + 3.0 * b) + WEIGHT * (a * b + b);
    }
    Work::new(operations, F32 * numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_match_published_counts() {
        // About 65 GFLOP for MiniLM on 16 x 64 tokens; 6 operations a weight and token and the attention.
        let work = bert(&Sizes::BERT);
        assert!((65e9..68e9).contains(&work.operations), "{work:?}");
        // Kaplan et al. (arXiv:2001.08361): 6 N a token, N = 85M without the tables; the head adds 38.6M.
        let work = gpt(&Sizes::GPT_SMALL);
        let plain = 6.0 * (85e6 + 38.6e6) * 8192.0;
        assert!((1.0..1.15).contains(&(work.operations / plain)), "{work:?}");
        // 10 numbers of 4 bytes a parameter at least, of which there are 124M.
        assert!(work.bytes > 40.0 * 124e6, "{work:?}");
        let work = mlp(128);
        let weights = 784.0 * 512.0 + 512.0 * 512.0 + 512.0 * 10.0;
        assert_eq!(
            work.operations,
            6.0 * 128.0 * weights - 2.0 * 128.0 * 784.0 * 512.0
        );
    }

    #[test]
    fn a_longer_text_moves_more() {
        let short = bert(&Sizes::BERT);
        let long = bert(&Sizes {
            seq: 128,
            ..Sizes::BERT
        });
        // Activations double; weights stay.
        assert!(long.bytes > 1.2 * short.bytes && long.bytes < 2.0 * short.bytes);
        assert!(long.operations > 2.0 * short.operations);
    }
}
