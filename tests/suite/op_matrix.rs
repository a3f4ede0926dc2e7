//! The op matrix on this machine's adapter: as it is, checked, and under WebGPU's default limits. And on emulated
//! GPUs, which watch for races and have the subgroups and matrix units that this machine lacks.

use wgrad::runtime::{Emulated, MatrixUnit};
use wgrad::tensor::cases::{Case, Input, Outcome, run};
use wgrad::tensor::{Device, DeviceOptions, ops};

fn check(options: DeviceOptions) {
    check_ops(options, |_| true);
}

fn check_ops(options: DeviceOptions, runs: fn(&str) -> bool) {
    let limited = options.webgpu_limits;
    let device = Device::open(options).expect("an adapter; `cargo xtask test` installs one");
    let (mut passed, mut skipped) = (0, 0);
    let mut failures = Vec::new();
    let mut whole = !limited && !device.small_kernels();
    // `WGRAD_OP=softmax cargo test op_matrix` runs one op's rows.
    let only = std::env::var("WGRAD_OP").ok();
    for case in ops::cases() {
        if only.as_ref().is_some_and(|op| op != case.op) || !runs(case.op) {
            whole = false;
            continue;
        }
        match run(&device, &case, None) {
            Outcome::Passed { .. } => passed += 1,
            Outcome::Failed(text) => failures.push(format!("{}: {text}", case.name())),
            Outcome::Skipped(_) if !device.has_f16() => skipped += 1,
            Outcome::Skipped(text) => failures.push(format!("{}: skipped: {text}", case.name())),
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    if skipped > 0 {
        println!("{skipped} rows of f16 skipped: the adapter has no shader-f16");
        whole = false;
    }
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
    crate::shaders::check(&device, whole);
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

/// The kernels for adapters with a weak compiler, where they differ from the others.
#[test]
fn small_kernels() {
    let options = DeviceOptions {
        small_kernels: true,
        guard: true,
        ..Default::default()
    };
    check_ops(options, |op| {
        ["matmul", "feed_forward", "attention_packed"].contains(&op)
    });
}

/// Ops that cut tensors larger than one binding into pieces. The others refuse them by name.
const IN_PIECES: &[&str] = &[
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "maximum",
    "minimum",
    "swiglu",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "neg",
    "abs",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "relu",
    "tanh",
    "sigmoid",
    "silu",
    "gelu",
    "gelu_tanh",
    "softplus",
    "affine",
    "pow_scalar",
    "clamp",
    "where_cond",
    "masked_fill",
    "cast",
    "contiguous",
    "reshape",
    "permute",
    "expand",
    "narrow",
    "slice",
    "split",
    "chunk",
    "concat",
    "stack",
    "repeat",
    "sum",
    "mean",
    "max",
    "min",
    "sum_to",
    "rand",
    "randn",
    "dropout",
];

/// Whether bindings of a few bytes say something about a row in reasonable time.
fn tries(case: &Case) -> bool {
    const SOME: &[&str] = &[
        "softmax",
        "log_softmax",
        "layer_norm",
        "rms_norm",
        "cross_entropy",
        "index_select",
        "rope",
    ];
    // Products of more elements would take minutes in pieces of 4096 bytes.
    const PRODUCTS: &[&str] = &["matmul", "linear"];
    const MOST_ELEMENTS: usize = 8_000;
    let elements = || {
        let sides = |input: &Input| input.shape.iter().product::<usize>();
        case.inputs.iter().map(sides).sum::<usize>()
    };
    IN_PIECES.contains(&case.op)
        || SOME.contains(&case.op)
        || (PRODUCTS.contains(&case.op) && elements() <= MOST_ELEMENTS)
}

/// Bindings so small that many rows are beyond one: they are computed in pieces, or refused.
#[test]
fn tensors_beyond_one_binding() {
    let device = Device::open(DeviceOptions {
        max_binding_bytes: Some(4096),
        guard: true,
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one");
    let (mut passed, mut refused) = (0, 0);
    let mut failures = Vec::new();
    let only = std::env::var("WGRAD_OP").ok();
    for case in ops::cases() {
        if only.as_ref().is_some_and(|op| op != case.op) || !tries(&case) {
            continue;
        }
        match run(&device, &case, None) {
            Outcome::Passed { .. } => passed += 1,
            Outcome::Skipped(_) if !device.has_f16() => {}
            Outcome::Failed(text) | Outcome::Skipped(text) => {
                let limit = text.contains("is beyond this adapter's limit of 4096 bytes");
                match limit && !IN_PIECES.contains(&case.op) {
                    true => refused += 1,
                    false => failures.push(format!("{}: {text}", case.name())),
                }
            }
        }
    }
    println!(
        "{passed} passed, {refused} refused, {} failed",
        failures.len()
    );
    failures.truncate(40);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn emulated(subgroup_size: u32, matrix_unit: Option<MatrixUnit>) -> DeviceOptions {
    DeviceOptions {
        emulated: Some(Emulated {
            subgroup_size,
            matrix_unit,
            limit: None,
            counts: false,
        }),
        ..Default::default()
    }
}

#[test]
fn emulated_gpu() {
    let unit = MatrixUnit {
        side: 16,
        half: true,
    };
    check(emulated(32, Some(unit)));
}

/// Units as llvmpipe and Metal have them, subgroups as AMD and Adreno have them, and a GPU without units.
#[test]
fn emulated_gpus_of_other_shapes() {
    let unit = |side, half| Some(MatrixUnit { side, half });
    for (subgroup_size, matrix_unit) in [
        (8, unit(8, true)),
        (32, unit(8, false)),
        (64, unit(16, true)),
        (128, unit(16, true)),
        (16, None),
    ] {
        check_ops(emulated(subgroup_size, matrix_unit), |op| {
            op.contains("linear") || op.contains("attention") || op == "feed_forward"
        });
    }
}
