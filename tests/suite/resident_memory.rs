//! The resident memory of a process that launches the same kernels again and again stays where it is.
//!
//! Mesa's software adapter turns values of the uniform that bound a loop or decide a branch into constants of the
//! kernel, and compiles the kernel anew for a launch with other values, or with the same ones (decision 0003): some
//! milliseconds and 150 kB each. So the rows of the op matrix run many times here, forward and backward.

use std::collections::HashSet;
use std::process::Command;

use wgrad::tensor::cases::{Case, Expect, inputs};
use wgrad::tensor::{Device, DeviceOptions, Result, Tensor, ops};

/// Set in the process that launches and measures: the other tests use memory of their own.
const CHILD: &str = "WGRAD_RESIDENT_MEMORY";

/// Bytes that a thousand launches of a row may add. A kernel that is compiled at every launch adds 100 MB.
const MOST: u64 = 4 << 20;

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn launch(device: &Device, case: &Case, inputs: &[Tensor], times: usize) -> Result<()> {
    for i in 0..times {
        let y = (case.run)(inputs)?;
        if y.requires_grad() {
            let dy = Tensor::full(device, y.shape(), 1.0, y.dtype())?;
            y.backward_with(&dy)?;
        }
        if i % 16 == 15 {
            device.synchronize()?;
        }
    }
    Ok(device.synchronize()?)
}

/// The rows that run: of each op the first without a note, and all rows of the op that `WGRAD_OP` names.
fn rows() -> Vec<Case> {
    let named = std::env::var("WGRAD_OP").ok();
    let mut seen = HashSet::new();
    let mut cases = ops::cases();
    cases.sort_by_key(|case| !case.note.is_empty());
    // Rows without elements launch nothing, and large ones take long with the kernels of smaller ones.
    let size = |case: &Case| -> usize {
        case.inputs
            .iter()
            .map(|i| i.shape.iter().product::<usize>())
            .sum()
    };
    cases.retain(|case| {
        matches!(case.expect, Expect::Values(_))
            && (8..100_000).contains(&size(case))
            && match &named {
                Some(op) => op == case.op,
                None => seen.insert(case.op),
            }
    });
    cases
}

#[test]
fn a_thousand_launches_of_each_op() {
    if resident().is_none() {
        println!("skipped: this system has no /proc/self/statm");
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        let me = std::env::current_exe().unwrap();
        let name = "resident_memory::a_thousand_launches_of_each_op";
        let arguments = ["--exact", name, "--nocapture"];
        let output = Command::new(me)
            .args(arguments)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        return;
    }
    let device = Device::open(DeviceOptions::default()).unwrap();
    let rows = rows();
    let mut grew = Vec::new();
    for case in &rows {
        let inputs = inputs(&device, case).unwrap();
        launch(&device, case, &inputs, 200).unwrap();
        let before = resident().unwrap();
        launch(&device, case, &inputs, 1000).unwrap();
        let grown = resident().unwrap().saturating_sub(before);
        if grown > MOST {
            grew.push(format!("{}: {} kB", case.name(), grown >> 10));
        }
    }
    println!("{} rows", rows.len());
    assert!(
        rows.len() > 1 && grew.is_empty(),
        "{} of {} rows grew:\n{}",
        grew.len(),
        rows.len(),
        grew.join("\n")
    );
}
