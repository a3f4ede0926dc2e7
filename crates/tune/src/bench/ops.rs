//! The rows of the op matrix, timed: as they stand, or at the size of a benchmark.

mod work;

use anyhow::{Result, bail};
use wgrad_tensor::cases::{Case, Expect, Fill, inputs};
use wgrad_tensor::{DType, Device, Tensor, no_grad};

use super::session::Bench;
use super::values::count;
use work::{both, forward};

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
    for input in &case.inputs {
        count(device, &input.shape, input.dtype)?;
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
            return bench.skip(bench.title(&name), &error);
        }
    };
    let work = forward(case, &ready.inputs, &ready.y);
    bench.time(&name, work, || {
        no_grad(|| (case.run)(&ready.inputs))?;
        Ok(())
    })?;
    if ready.y.requires_grad() {
        let dy = ready.y.detach();
        bench.time(
            &format!("{name} with backward"),
            both(case, &ready.inputs, &ready.y),
            || {
                (case.run)(&ready.inputs)?.backward_with(&dy)?;
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// The rows of `op` that can be stretched so that their first input has `shape`, stretched: other inputs follow along
/// the dimensions that they share with the first, counted from the last. Each layout and each broadcast is a row.
///
/// The error says why there is none.
pub fn at_size(
    device: &Device,
    cases: Vec<Case>,
    op: &str,
    shape: &[usize],
    dtype: DType,
) -> Result<Vec<Case>> {
    let mut why = format!(
        "no row of it has {} dimensions and the type {}",
        shape.len(),
        dtype.wgsl()
    );
    // A row with a note may name a kernel that the op would not choose here: one of them, if there is no other.
    let (plain, noted): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.note.is_empty());
    let mut found: Vec<Case> = Vec::new();
    for mut case in plain.into_iter().chain(noted) {
        let fits = case.op == op
            && matches!(case.expect, Expect::Values(_))
            && case
                .inputs
                .first()
                .is_some_and(|i| i.shape.len() == shape.len() && i.dtype == dtype);
        if !fits || (!case.note.is_empty() && !found.is_empty()) {
            continue;
        }
        if !stretch(&mut case, shape) {
            why = "its rows have sides that do not follow from --size".to_owned();
            if matches!(op, "matmul" | "linear") {
                why += "; `wgrad bench matmul` times products";
            }
            continue;
        }
        if found.iter().any(|other| other.name() == case.name()) {
            continue;
        }
        match prepare(device, &case) {
            Ok(_) => found.push(case),
            Err(error) => why = error.to_string(),
        }
    }
    if found.is_empty() {
        bail!("{op} cannot be timed at {shape:?}: {why}")
    }
    Ok(found)
}

fn stretch(case: &mut Case, shape: &[usize]) -> bool {
    let old = case.inputs[0].shape.clone();
    // A side of 1 may stand for a broadcast, and equal sides would be taken for each other.
    if old.iter().zip(shape).any(|(o, n)| *o == 1 && *n != 1) {
        return false;
    }
    for input in &mut case.inputs {
        if let Fill::Index(n) = &mut input.fill {
            // Indices along a dimension reach all of it.
            if let Some(at) = old.iter().position(|side| *side == *n as usize) {
                *n = shape[at] as u32;
            }
        }
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
        let mut picked = case(&[&[5, 64]]);
        picked.inputs.push(Input::new(&[5], DType::U32).index(5));
        assert!(stretch(&mut picked, &[100, 10]));
        assert_eq!(picked.inputs[1].fill, Fill::Index(100));
        let mut labels = case(&[&[5, 64], &[5]]);
        assert!(stretch(&mut labels, &[100, 10]));
        assert_eq!(shapes(&labels), [vec![100, 10], vec![100]]);
        assert!(!stretch(&mut case(&[&[1, 64]]), &[4096, 1024]));
        assert!(!stretch(&mut case(&[&[5, 64], &[3]]), &[4096, 1024]));
    }

    #[test]
    fn rows_that_cannot_be_stretched_give_the_reason() {
        let device = Device::open(wgrad_tensor::DeviceOptions::default()).unwrap();
        let refused = |op: &str, shape: &[usize]| {
            let cases = wgrad_tensor::ops::cases();
            let made = at_size(&device, cases, op, shape, DType::F32);
            made.err().unwrap().to_string()
        };
        let line = refused("matmul", &[64, 32]);
        assert!(
            line.contains("do not follow from --size") && line.contains("bench matmul"),
            "{line}"
        );
        let cases = wgrad_tensor::ops::cases();
        let rows = at_size(&device, cases, "add", &[40, 20], DType::F32).unwrap();
        let names: Vec<String> = rows.iter().map(Case::name).collect();
        for name in [
            "add(f32[40, 20], f32[20]) x0 + x1",
            "add(f32[40, 20] transposed, f32[40, 20]) x0 + x1",
        ] {
            assert!(names.iter().any(|n| n == name), "{names:?}");
        }
        let line = refused("softmax", &[200_000, 200_000]);
        assert!(line.contains("too large"), "{line}");
    }
}
