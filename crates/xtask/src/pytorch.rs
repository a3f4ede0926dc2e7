//! Compares a part of the op matrix with PyTorch itself, where a Python on this machine has it.
//!
//! Everywhere else the test suite compares with the numbers that PyTorch gave for a fixed part of the
//! matrix (`tests/pytorch/reference.jsonl`): PyTorch and the libraries it pulls in are several gigabytes,
//! too many to download for every check.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::repository;
use crate::test::executables;

/// Ops whose rows are compared: one of each kind, a few hundred rows together.
const OPS: &[&str] = &["softmax", "layer_norm", "cross_entropy", "attention"];

/// Dumps the rows of some ops and compares them with PyTorch in float64. Prints one line and passes if no Python has
/// PyTorch. `WGRAD_PYTHON` names a Python that is not `python3` of the path.
pub fn compare() -> Result<(), String> {
    let python = std::env::var_os("WGRAD_PYTHON").unwrap_or_else(|| "python3".into());
    let has_torch = Command::new(&python)
        .args(["-c", "import torch, safetensors"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_torch {
        println!(
            "PyTorch: {} has no torch and safetensors; the tests compared with PyTorch's stored numbers only \
             (set WGRAD_PYTHON to a Python that has both to compare with PyTorch itself)",
            Path::new(&python).display()
        );
        return Ok(());
    }
    let scripts = repository().join("tests/pytorch");
    let check = |script: &str, argument: Option<&Path>| {
        println!("$ python3 tests/pytorch/{script}");
        let status = Command::new(&python)
            .arg(scripts.join(script))
            .args(argument)
            .stdin(Stdio::null())
            .status()
            .map_err(|e| format!("cannot run {}: {e}", Path::new(&python).display()))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("tests/pytorch/{script} failed ({status})"))
        }
    };
    check("test_compare_ops.py", None)?;
    let wgrad = executables()?
        .into_iter()
        .find(|path| path.file_stem().is_some_and(|stem| stem == "wgrad"))
        .ok_or("cargo built no binary named wgrad")?;
    let dump = std::env::temp_dir().join(format!("wgrad-pytorch-{}", std::process::id()));
    let outcome = OPS.iter().try_for_each(|op| {
        let status = Command::new(&wgrad)
            .args(["doctor", "--op", op, "--dump"])
            .arg(&dump)
            .stdin(Stdio::null())
            .status()
            .map_err(|e| format!("cannot run {}: {e}", wgrad.display()))?;
        if !status.success() {
            return Err(format!("wgrad doctor --op {op} failed ({status})"));
        }
        check("compare_ops.py", Some(&dump))
    });
    let _ = std::fs::remove_dir_all(&dump);
    outcome
}
