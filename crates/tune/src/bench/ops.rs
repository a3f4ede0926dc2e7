//! The rows of the op matrix, timed: as they stand, or at the size of a benchmark.

use anyhow::{Result, bail};
use wgrad_tensor::cases::{Case, Expect, Layout, inputs};
use wgrad_tensor::{DType, Device, Tensor, no_grad};

use super::row::Work;
use super::session::Bench;

/// Times every case that has values: forward, and with its backward pass where it has one.
pub fn run(bench: &mut Bench, cases: &[Case]) -> Result<()> {
    for case in cases {
        if matches!(case.expect, Expect::Values(_)) {
            time(bench, case)?;
        }
    }
    Ok(())
}

/// A case on the device with its result.
struct Ready {
    inputs: Vec<Tensor>,
    y: Tensor,
}

fn prepare(device: &Device, case: &Case) -> Result<Ready> {
    if case.inputs.iter().any(|i| i.dtype == DType::F16) && !device.has_f16() {
        bail!("the adapter has no shader-f16");
    }
    let inputs = inputs(device, case)?;
    let y = (case.run)(&inputs)?;
    Ok(Ready { inputs, y })
}

fn time(bench: &mut Bench, case: &Case) -> Result<()> {
    let name = case.name();
    let ready = match prepare(&bench.device, case) {
        Ok(ready) => ready,
        Err(error) => {
            bench.check_alive(&error)?;
            bench.add(super::Row::skipped(name, error.to_string()));
            return Ok(());
        }
    };
    let work = forward_work(case, &ready);
    bench.time(&name, work, || {
        no_grad(|| (case.run)(&ready.inputs))?;
        Ok(())
    })?;
    if ready.y.requires_grad() {
        let dy = ready.y.detach();
        bench.time(
            &format!("{name} with backward"),
            both_work(case, &ready),
            || {
                (case.run)(&ready.inputs)?.backward_with(&dy)?;
                Ok(())
            },
        )?;
    }
    Ok(())
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

fn forward_work(case: &Case, ready: &Ready) -> Work {
    let tensors = ready.inputs.iter().chain([&ready.y]);
    half(
        case,
        Work::new(operations(case, ready), tensors.map(bytes).sum()),
    )
}

/// The backward pass reads dy and the inputs and writes the gradients; products take two more products.
fn both_work(case: &Case, ready: &Ready) -> Work {
    let forward = forward_work(case, ready);
    let wanted = ready.inputs.iter().filter(|x| x.requires_grad());
    let gradients: f64 = wanted.clone().map(bytes).sum();
    let operations = forward.operations * (1.0 + wanted.count() as f64);
    half(case, Work::new(operations, 2.0 * forward.bytes + gradients))
}

/// Operations of the forward pass. Exact for products; for the rest a nominal count an element: 8 for
/// norms, GELU and the like, 5 for softmax, 1 else. Those are bound by memory, so the count does not
/// decide anything.
fn operations(case: &Case, ready: &Ready) -> f64 {
    let x = &ready.inputs;
    let side = |t: &Tensor, from_end: usize| {
        let at = t.rank().checked_sub(from_end);
        at.map_or(1, |at| t.shape()[at]) as f64
    };
    let y = ready.y.numel() as f64;
    match (case.op, x.as_slice()) {
        ("matmul" | "linear", [a, ..]) => 2.0 * y * side(a, 1),
        ("scaled_dot_product_attention", [q, k, ..]) => 4.0 * q.numel() as f64 * side(k, 2),
        ("attention_packed", [qkv, ..]) if qkv.rank() == 5 => 4.0 * y * qkv.shape()[1] as f64,
        ("layer_norm" | "rms_norm" | "gelu" | "gelu_tanh" | "silu" | "tanh" | "erf", _) => 8.0 * y,
        ("softmax" | "log_softmax" | "softmax_masked" | "cross_entropy", [x, ..]) => {
            5.0 * x.numel() as f64
        }
        _ => x.iter().map(Tensor::numel).fold(y, |m, n| m.max(n as f64)),
    }
}

/// The first row of `op` that can be stretched so that its first input has `shape`, stretched: other
/// inputs follow along the dimensions that they share with the first, counted from the last.
pub fn at_size(
    device: &Device,
    cases: Vec<Case>,
    op: &str,
    shape: &[usize],
    dtype: DType,
) -> Result<Case> {
    let mut why = format!(
        "no row of it has {} dimensions and the type {}",
        shape.len(),
        dtype.wgsl()
    );
    // A row with a note may be of a kernel that would not be chosen here.
    let (plain, noted): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.note.is_empty());
    for mut case in plain.into_iter().chain(noted) {
        let fits = case.op == op
            && matches!(case.expect, Expect::Values(_))
            && case
                .inputs
                .first()
                .is_some_and(|i| i.shape.len() == shape.len() && i.dtype == dtype);
        if !fits || !stretch(&mut case, shape) {
            continue;
        }
        match prepare(device, &case) {
            Ok(_) => return Ok(case),
            Err(error) => why = error.to_string(),
        }
    }
    bail!("{op} cannot be timed at {shape:?}: {why}")
}

fn stretch(case: &mut Case, shape: &[usize]) -> bool {
    let old = case.inputs[0].shape.clone();
    // A side of 1 may stand for a broadcast, and equal sides would be taken for each other.
    if old.iter().zip(shape).any(|(o, n)| *o == 1 && *n != 1) {
        return false;
    }
    case.note = "stretched".to_owned();
    for input in &mut case.inputs {
        input.layout = Layout::Contiguous;
        let lead = old.len().checked_sub(input.shape.len());
        let Some(lead) = lead else { return false };
        for (at, side) in input.shape.iter_mut().enumerate() {
            if *side == old[lead + at] {
                *side = shape[lead + at];
            } else if *side == old[at] {
                // Such as the labels of rows: they share the first dimensions.
                *side = shape[at];
            } else if *side != 1 {
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad_tensor::cases::Input;

    fn case(shapes: &[&[usize]]) -> Case {
        let inputs = shapes.iter().map(|s| Input::new(s, DType::F32)).collect();
        Case::new("x", "", inputs, |x| Ok(x[0].clone()), |x| x[0].clone())
    }

    #[test]
    fn rows_are_stretched() {
        let shapes = |case: &Case| -> Vec<Vec<usize>> {
            case.inputs.iter().map(|i| i.shape.clone()).collect()
        };
        let mut norm = case(&[&[5, 64], &[64], &[64]]);
        assert!(stretch(&mut norm, &[4096, 1024]));
        assert_eq!(shapes(&norm), [vec![4096, 1024], vec![1024], vec![1024]]);
        assert!(norm.name().ends_with(" stretched"), "{}", norm.name());
        let mut labels = case(&[&[5, 64], &[5]]);
        assert!(stretch(&mut labels, &[100, 10]));
        assert_eq!(shapes(&labels), [vec![100, 10], vec![100]]);
        assert!(!stretch(&mut case(&[&[1, 64]]), &[4096, 1024]));
        assert!(!stretch(&mut case(&[&[5, 64], &[3]]), &[4096, 1024]));
    }
}
