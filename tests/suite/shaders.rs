//! The kernels without a GPU: every variant that the op matrix compiled goes through naga's validator
//! and through its writers for Vulkan, Metal and DX12, and the header of every file is complete.

use std::collections::BTreeSet;

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgrad::runtime::{Defines, MatrixUnit, assemble};
use wgrad::tensor::{Device, DeviceOptions};

/// The keys of a header comment, in their order.
const KEYS: [&str; 6] = [
    "math",
    "shapes",
    "launch",
    "numerics",
    "backward",
    "reference",
];

/// Whether no row of the op matrix reaches a kernel on such a device.
fn is_elsewhere(name: &str, device: &Device) -> bool {
    let measures = name.starts_with("peak_") || name == "special_values";
    let lacks_units = name.ends_with("_cooperative") && device.matrix_unit().is_none();
    let for_software = name.ends_with("_subgroup") && !device.adapter().is_software();
    measures || lacks_units || for_software
}

/// Takes every kernel compiled on `device` through naga. After the `whole` matrix every kernel file that such a
/// device has use for must be among them.
pub(crate) fn check(device: &Device, whole: bool) {
    let kernels = device.kernels();
    let mut failures = Vec::new();
    for kernel in &kernels {
        failures.extend(inexact(&kernel.name, &kernel.text));
        let refused = translate(&kernel.text);
        for (target, error) in refused
            .into_iter()
            .filter(|(to, _)| serves(&kernel.text, to))
        {
            failures.push(format!(
                "{} [{}] to {target}: {error}",
                kernel.name, kernel.variant
            ));
        }
    }
    if whole {
        let compiled: BTreeSet<&str> = kernels.iter().map(|k| k.name.as_str()).collect();
        for (name, _) in files() {
            if compiled.contains(name) == is_elsewhere(name, device) {
                failures.push(format!(
                    "{name}: no row of the op matrix, or a needless exception"
                ));
            }
        }
    }
    println!("{} variants of kernels", kernels.len());
    assert!(
        failures.is_empty(),
        "{} of {} variants:\n{}",
        failures.len(),
        kernels.len(),
        failures.join("\n")
    );
}

/// Functions whose errors WGSL leaves large or unbounded; `common/math` and `common/trig` have our own.
const INEXACT: [&str; 21] = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "exp",
    "exp2",
    "log",
    "log2",
    "pow",
    "sin",
    "sinh",
    "tan",
    "tanh",
    "inverseSqrt",
    "normalize",
    "smoothstep",
];

/// The calls of a driver's inexact functions in a kernel.
fn inexact(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or(line);
        let word = |c: char| c.is_alphanumeric() || c == '_';
        for (at, _) in code.match_indices('(') {
            let before = &code[..at];
            let function = &before[before.trim_end_matches(word).len()..];
            // exp is within 3 + 2 |x| units in the last place, and these kernels round it to f16.
            let rounded = function == "exp" && name.ends_with("_cooperative");
            if INEXACT.contains(&function) && !rounded {
                found.push(format!(
                    "{name} calls the driver's {function}: {}",
                    line.trim()
                ));
            }
        }
    }
    found
}

#[test]
fn kernels_call_no_inexact_function() {
    let sources = wgrad_shaders::SOURCES.iter();
    let found: Vec<String> = sources
        .flat_map(|(name, text)| inexact(name, text))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let called = inexact("test", "let a = sin(x) + precise_cos(x); // tan(x)");
    assert_eq!(called.len(), 1);
    assert!(inexact("test_cooperative", "exp(x)").is_empty());
}

/// Whether `text` is for the target `to`. DX12's writer has no matrix units; Metal's units load scalars only, not the vectors
/// that WIDE kernels and attention keep.
fn serves(text: &str, to: &str) -> bool {
    let units = text.contains("enable wgpu_cooperative_matrix;");
    let of_vectors = text.contains("const TOGETHER: u32 = 4u;") || text.contains("wg_x: array<T,");
    match to {
        "HLSL" => !units,
        "MSL" => !(units && of_vectors),
        _ => true,
    }
}

/// The targets that refuse `text`, with what they say.
fn translate(text: &str) -> Vec<(&'static str, String)> {
    let module = match naga::front::wgsl::parse_str(text) {
        Ok(module) => module,
        Err(e) => return vec![("WGSL", e.emit_to_string(text))],
    };
    // What the runtime asks a device for, at most.
    let capabilities = Capabilities::SHADER_FLOAT16
        | Capabilities::SUBGROUP
        | Capabilities::SUBGROUP_BARRIER
        | Capabilities::COOPERATIVE_MATRIX;
    let info = match Validator::new(ValidationFlags::all(), capabilities).validate(&module) {
        Ok(info) => info,
        Err(e) => return vec![("validation", e.emit_to_string(text))],
    };
    let mut failures = Vec::new();
    let options = spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    if let Err(e) = spv::write_vec(&module, &info, &options, None) {
        failures.push(("SPIR-V", e.to_string()));
    }
    let options = msl::Options {
        // Matrix units are in a newer language than the oldest that the rest must run in.
        lang_version: match text.contains("enable wgpu_cooperative_matrix;") {
            true => (3, 1),
            false => (2, 4),
        },
        ..Default::default()
    };
    if let Err(e) = msl::write_string(&module, &info, &options, &Default::default()) {
        failures.push(("MSL", e.to_string()));
    }
    let options = hlsl::Options {
        // The first with 16-bit floats.
        shader_model: hlsl::ShaderModel::V6_2,
        ..Default::default()
    };
    let mut out = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let written = hlsl::Writer::new(&mut out, &options, &pipeline).write(&module, &info, None);
    if let Err(e) = written {
        failures.push(("HLSL", e.to_string()));
    }
    failures
}

/// The kernel files, without those for import only.
fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    wgrad_shaders::SOURCES
        .iter()
        .copied()
        .filter(|(name, _)| !name.starts_with("common/"))
}

#[test]
fn headers_are_complete() {
    let mut failures = Vec::new();
    for (name, text) in files() {
        let header: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix("//"))
            .collect();
        let keys: Vec<&str> = header
            .iter()
            .filter_map(|line| {
                // A key is at the start of its line; continuation lines are indented.
                let key = line.strip_prefix(' ')?.split_once(':')?.0;
                KEYS.contains(&key).then_some(key)
            })
            .collect();
        if keys != KEYS {
            failures.push(format!("{name}: the header's keys are {keys:?}"));
        }
        let first = header.first().map_or("", |line| line.trim());
        if first.is_empty() || KEYS.iter().any(|key| first.starts_with(&format!("{key}:"))) {
            failures.push(format!(
                "{name}: the first line does not say what it computes"
            ));
        }
    }
    for (name, text) in wgrad_shaders::SOURCES {
        for line in text.lines().filter(|line| line.contains("@binding(")) {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("var<uniform>") {
                continue;
            }
            let shape = line.split_once("; // (").map(|(_, rest)| rest);
            if shape.is_none_or(|rest| !rest.contains(')')) {
                failures.push(format!("{name}: no shape behind `{}`", code.trim()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_adapter_is_measured() {
    let device = Device::open(DeviceOptions::default()).expect("an adapter");
    let peak = device.measure_peak().expect("a measurement");
    // A wrong unit or a loop that was cut short would be off by a factor of a thousand or more.
    assert!((0.1..100_000.0).contains(&peak.copy_gbps), "{peak:?}");
    assert!((0.1..1_000_000.0).contains(&peak.fma_gflops), "{peak:?}");
    assert_eq!(peak.fma_f16_gflops.is_some(), device.has_f16());
    assert_eq!(device.memory().allocated, 0, "it keeps no memory");
    check(&device, false);
}

/// The tile that products in matrix units take by rule where it is large.
fn unit_tile(defines: Defines) -> Defines {
    let tile = [("BM", 128), ("BN", 128), ("BK", 32), ("TM", 64), ("TN", 64)];
    tile.iter()
        .fold(defines, |d, (name, value)| d.constant(name, *value))
        .constant("THREADS", 128)
}

/// Kernels for matrix units, which no adapter at hand may have: validated and written for Vulkan.
#[test]
fn matrix_kernels_are_valid() {
    for (side, half) in [(16, true), (8, true), (8, false)] {
        let units = Defines::new()
            .matrices(MatrixUnit { side, half })
            .constant("WIDTH", 32);
        let units = unit_tile(units);
        let h = if half { "f16" } else { "f32" };
        let four = format!("vec4<{h}>");
        let product = |flags: &[&str]| {
            let vec = |flag| if flags.contains(&flag) { &four } else { h };
            flags
                .iter()
                .fold(units.clone(), |d, flag| d.flag(flag))
                .alias("TA", vec("VEC_A"))
                .alias("TB", vec("VEC_B"))
                .alias("T", vec("VEC4"))
                .alias("S", h)
        };
        for (kernel, defines) in [
            ("peak_matrix", units.clone().constant("ROUNDS", 4)),
            ("matmul_cooperative", product(&[])),
            (
                "matmul_cooperative",
                product(&["VEC_A", "VEC_B", "VEC4", "BIAS", "GELU", "WIDE"]),
            ),
            (
                "matmul_cooperative",
                product(&["A_ALONG_M", "B_ALONG_K", "VEC_B"]),
            ),
            (
                "matmul_cooperative",
                product(&["A_ALONG_M", "B_ALONG_K", "WIDE"]),
            ),
            (
                "matmul_cooperative",
                product(&["A_ALONG_M", "ROW_SUMS"]).alias("R", "f32"),
            ),
        ] {
            let text = assemble(kernel, &defines).expect("a text");
            let refused: Vec<_> = translate(&text)
                .into_iter()
                .filter(|(to, _)| serves(&text, to))
                .collect();
            assert!(refused.is_empty(), "{kernel} {side} {half}: {refused:?}");
        }
    }
}

/// Every kernel of a product takes operands and a result of any float types: it converts what it loads.
#[test]
fn products_of_mixed_types_are_valid() {
    let unit = MatrixUnit {
        side: 16,
        half: true,
    };
    let tile = [("BM", 32), ("BN", 32), ("BK", 16), ("TM", 4), ("TN", 4)];
    let tile = tile
        .iter()
        .fold(Defines::new(), |d, (name, value)| d.constant(name, *value));
    let vectors = ["VEC_A", "VEC_B", "VEC4", "BIAS", "GELU"];
    let kernels: [(&str, Defines, [&[&str]; 2]); 4] = [
        ("matmul", Defines::new(), [&["ROW_SUMS"], &["BIAS", "GELU"]]),
        (
            "matmul_tiled",
            tile.constant("THREADS", 64),
            [&["A_ALONG_M", "B_ALONG_K", "ROW_SUMS"], &vectors],
        ),
        (
            "matmul_vector",
            Defines::new().constant("ROWS", 3),
            [&["B_ALONG_K", "ROW_SUMS"], &vectors],
        ),
        (
            "matmul_cooperative",
            unit_tile(Defines::new().matrices(unit).constant("WIDTH", 32)),
            [&["A_ALONG_M", "B_ALONG_K"], &vectors],
        ),
    ];
    let mut wrong = Vec::new();
    for (kernel, start, choices) in kernels {
        for (flags, mix) in choices.iter().flat_map(|c| (0..8).map(move |mix| (c, mix))) {
            let ty = |bit: u32, vector: &str| {
                let name = if mix >> bit & 1 == 1 { "f16" } else { "f32" };
                match flags.contains(&vector) {
                    true => format!("vec4<{name}>"),
                    false => name.to_owned(),
                }
            };
            let defines = flags
                .iter()
                .fold(start.clone(), |d, flag| d.flag(flag))
                .alias("TA", &ty(0, "VEC_A"))
                .alias("TB", &ty(1, "VEC_B"))
                .alias("T", &ty(2, "VEC4"))
                .alias("S", &ty(1, ""))
                .alias("R", &ty(2, ""));
            let text = assemble(kernel, &defines).expect("a text");
            for (to, error) in translate(&text) {
                if serves(&text, to) {
                    wrong.push(format!("{kernel} [{}] to {to}: {error}", defines.key()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bad_kernel_is_refused() {
    let parsed = translate("fn f() -> f32 { return 1u; }");
    assert!(!parsed.is_empty(), "a wrong type must not pass");
    let subgroup = "@compute @workgroup_size(8) fn f(@builtin(local_invocation_index) i: u32) {
        if (subgroupAdd(i) > 3u) { workgroupBarrier(); } }";
    assert_eq!(translate(subgroup), []);
}
