//! The op matrix on this machine's adapter: as it is, checked, and under WebGPU's default limits.

use wgrad::tensor::cases::{Outcome, run};
use wgrad::tensor::{Device, DeviceOptions, ops};

fn check(options: DeviceOptions) {
    let limited = options.webgpu_limits;
    let device = Device::open(options).expect("an adapter; `cargo xtask test` installs one");
    let mut passed = 0;
    let mut failures = Vec::new();
    // `WGRAD_OP=softmax cargo test op_matrix` runs one op's rows.
    let only = std::env::var("WGRAD_OP").ok();
    for case in ops::cases() {
        if only.as_ref().is_some_and(|op| op != case.op) {
            continue;
        }
        match run(&device, &case, None) {
            Outcome::Passed { .. } => passed += 1,
            Outcome::Failed(text) => failures.push(format!("{}: {text}", case.name())),
            Outcome::Skipped(text) => failures.push(format!("{}: skipped: {text}", case.name())),
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    assert!(
        failures.is_empty(),
        "{} rows failed, {passed} passed:\n{}",
        failures.len(),
        failures
            .iter()
            .take(40)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    // The rows have just compiled every variant there is: no need to list them a second time.
    crate::shaders::check(&device, only.is_none() && !limited);
}

#[test]
fn trusted_with_guard_bytes() {
    check(DeviceOptions {
        guard: true,
        ..Default::default()
    });
}

#[test]
fn checked_shaders() {
    check(DeviceOptions {
        checked: true,
        ..Default::default()
    });
}

#[test]
fn webgpu_default_limits() {
    check(DeviceOptions {
        webgpu_limits: true,
        guard: true,
        ..Default::default()
    });
}
