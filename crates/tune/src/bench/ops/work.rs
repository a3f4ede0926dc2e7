//! The least work of a row of the op matrix.

use wgrad_tensor::cases::Case;
use wgrad_tensor::{DType, Tensor};

use super::super::row::Work;

/// The forward pass: inputs are read once and the result is written once.
pub fn forward(case: &Case, x: &[Tensor], y: &Tensor) -> Work {
    let tensors = x.iter().chain([y]);
    half(
        case,
        Work::new(operations(case, x, y).0, tensors.map(bytes).sum()),
    )
}

/// With the backward pass, which reads dy and the inputs once more and writes the gradients.
pub fn both(case: &Case, x: &[Tensor], y: &Tensor) -> Work {
    let (forward, backward) = operations(case, x, y);
    let read: f64 = x.iter().chain([y]).map(bytes).sum();
    let differentiable = x.iter().filter(|x| x.requires_grad());
    let gradients: f64 = differentiable.map(bytes).sum();
    half(case, Work::new(forward + backward, 2.0 * read + gradients))
}

fn bytes(tensor: &Tensor) -> f64 {
    (tensor.numel() * tensor.dtype().size()) as f64
}

fn half(case: &Case, work: Work) -> Work {
    match case.inputs.first().map(|i| i.dtype) {
        Some(DType::F16) => work.half(),
        _ => work,
    }
}

/// Operations of the forward and of the backward pass. Exact for products and attention. For the rest a nominal count
/// an element, forward and for each gradient: 8 for norms, GELU and the like, 5 for softmax, 1 else. Those are bound
/// by memory, so the count does not decide anything.
fn operations(case: &Case, x: &[Tensor], y: &Tensor) -> (f64, f64) {
    let wants = |at: &[usize]| {
        at.iter()
            .any(|i| x.get(*i).is_some_and(Tensor::requires_grad))
    };
    // A product's gradient is a product for each of its matrices that wants one.
    let product = |operations: f64, differentiable: [bool; 2]| {
        let times = differentiable.iter().filter(|yes| **yes).count();
        (operations, operations * times as f64)
    };
    let n = y.numel() as f64;
    match (case.op, x) {
        ("matmul" | "linear", [a, ..]) => product(2.0 * n * side(a, 1), [wants(&[0]), wants(&[1])]),
        ("linear_stacked", [a, rest @ ..]) => {
            let weights: Vec<usize> = (1..=rest.len() / 2).collect();
            product(2.0 * n * side(a, 1), [wants(&[0]), wants(&weights)])
        }
        ("feed_forward", [a, up, ..]) => {
            let hidden = side(up, 2);
            let inner = wants(&[0, 1, 2]);
            let first = product(2.0 * a.numel() as f64 * hidden, [wants(&[0]), wants(&[1])]);
            let second = product(2.0 * n * hidden, [inner, wants(&[3])]);
            (first.0 + second.0, first.1 + second.1)
        }
        ("scaled_dot_product_attention", [q, k, ..]) => {
            attention(case, q.numel() as f64 / side(q, 2), side(q, 2), side(k, 2))
        }
        ("attention_packed", [qkv, ..]) if qkv.rank() == 5 => {
            let t = qkv.shape()[1] as f64;
            attention(case, n / t, t, t)
        }
        _ => {
            let gradients = x.iter().filter(|x| x.requires_grad()).count();
            let forward = nominal(case.op, x, n);
            (forward, forward * gradients as f64)
        }
    }
}

/// Two products forward. Backward five more, or four where the scores were kept. `channels` are those of one query in
/// all batches and heads.
fn attention(case: &Case, channels: f64, queries: f64, keys: f64) -> (f64, f64) {
    let noted = |word: &str| case.note.split_whitespace().any(|w| w == word);
    let forward = 4.0 * channels * pairs(queries, keys, noted("causal"));
    let backward = if noted("Composed") { 2.0 } else { 2.5 };
    (forward, backward * forward)
}

/// Pairs of a query and a key that it sees: where attention is causal, the last query sees all keys and each earlier
/// one a key less.
fn pairs(queries: f64, keys: f64, causal: bool) -> f64 {
    if !causal {
        return queries * keys;
    }
    let growing = queries.min(keys);
    growing * (growing + 1.0) / 2.0 + growing * (keys - growing)
}

fn nominal(op: &str, x: &[Tensor], n: f64) -> f64 {
    match (op, x) {
        ("layer_norm" | "rms_norm" | "gelu" | "gelu_tanh" | "silu" | "tanh" | "erf", _) => 8.0 * n,
        ("softmax" | "log_softmax" | "softmax_masked" | "cross_entropy", [x, ..]) => {
            5.0 * x.numel() as f64
        }
        _ => x.iter().map(Tensor::numel).fold(n, |m, n| m.max(n as f64)),
    }
}

/// A side counted from the last, which is 1; where there is none it is 1.
fn side(tensor: &Tensor, from_end: usize) -> f64 {
    let at = tensor.rank().checked_sub(from_end);
    at.map_or(1, |at| tensor.shape()[at]) as f64
}

#[cfg(test)]
mod tests {
    use wgrad_tensor::cases::Input;
    use wgrad_tensor::{Device, DeviceOptions};

    use super::*;

    fn counted(op: &'static str, shapes: &[&[usize]], y: &[usize], note: &str) -> (f64, f64) {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let tensor = |shape: &[usize]| {
            let values = vec![0.0f32; shape.iter().product()];
            let x = Tensor::from_slice(&device, &values, shape).unwrap();
            x.set_requires_grad(true).unwrap();
            x
        };
        let inputs = shapes.iter().map(|s| Input::new(s, DType::F32)).collect();
        let case = Case::new(op, "", inputs, |x| Ok(x[0].clone()), |x| x[0].clone()).note(note);
        let x: Vec<Tensor> = shapes.iter().map(|s| tensor(s)).collect();
        let y = tensor(y);
        let (one, two) = (forward(&case, &x, &y), both(&case, &x, &y));
        (one.operations, two.operations)
    }

    #[test]
    fn products_are_counted_exactly() {
        let product = 2.0 * 6.0 * 4.0 * 5.0;
        let found = counted("matmul", &[&[6, 4], &[4, 5]], &[6, 5], "");
        assert_eq!(found, (product, 3.0 * product));
        // Bias and residual are no products.
        let layer: [&[usize]; 4] = [&[6, 4], &[5, 4], &[5], &[6, 5]];
        let found = counted("linear", &layer, &[6, 5], "");
        assert_eq!(found, (product, 3.0 * product));
        let layer: [&[usize]; 5] = [&[6, 4], &[5, 4], &[5], &[3, 5], &[3]];
        let all = product + 2.0 * 6.0 * 5.0 * 3.0;
        let found = counted("feed_forward", &layer, &[6, 3], "");
        assert_eq!(found, (all, 3.0 * all));
    }

    #[test]
    fn attention_counts_visible_keys_only() {
        let of = |note: &str| {
            let q: &[usize] = &[2, 3, 4, 8];
            counted("scaled_dot_product_attention", &[q, q, q], q, note)
        };
        let pair = 4.0 * 2.0 * 3.0 * 8.0;
        assert_eq!(of("Tiled"), (16.0 * pair, 3.5 * 16.0 * pair));
        assert_eq!(of("Composed"), (16.0 * pair, 3.0 * 16.0 * pair));
        assert_eq!(of("Tiled causal"), (10.0 * pair, 3.5 * 10.0 * pair));
        assert_eq!(
            (pairs(9.0, 17.0, true), pairs(5.0, 2.0, true)),
            (117.0, 3.0)
        );
    }
}
