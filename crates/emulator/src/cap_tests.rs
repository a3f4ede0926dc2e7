//! Kernels that ask for too much memory or time are told so, and take neither.

use std::time::{Duration, Instant};

use super::*;

/// The fault of a kernel with a buffer `out` of four words.
fn fault(text: &str) -> String {
    let machine = Machine {
        subgroup_size: 32,
        checked: false,
        limit: Some(Duration::from_millis(300)),
        counts: false,
    };
    let text = format!("@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n{text}");
    let program = match Program::new(&text, machine) {
        Ok(program) => program,
        Err(fault) => return fault.message,
    };
    let mut bytes = [0; 16];
    let mut bindings = [(0, Binding::ReadWrite(&mut bytes))];
    let fault = program.run(&mut bindings, [1, 1, 1]).unwrap_err();
    assert!(!fault.is_broken, "{fault}");
    fault.message
}

#[test]
fn large_variables_are_refused_by_name() {
    let main = "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) l: u32)";
    for declared in [
        format!("{main} {{ var big: array<u32, 9000000>; big[l] = l; out[0] = big[3]; }}"),
        format!("var<private> big: array<u32, 9000000>; {main} {{ big[l] = l; out[0] = big[3]; }}"),
        format!(
            "var<workgroup> big: array<u32, 90000000>; {main} {{ big[l] = l; out[0] = big[3]; }}"
        ),
        format!(
            "struct S {{ a: array<u32, 4000000>, b: array<array<u32, 1000>, 5000> }} \
             {main} {{ var big: S; big.a[l] = l; out[0] = big.b[3][4]; }}"
        ),
    ] {
        let message = fault(&declared);
        assert!(
            message.contains("`big` takes") && message.contains("512 MiB"),
            "{message}"
        );
    }
}

#[test]
fn values_that_add_up_are_refused() {
    // Each value is small enough, all of them are not.
    let lines: String = (0..200)
        .map(|i| format!("a[l] = {i}u; let v{i} = a; s += v{i}[l];\n"))
        .collect();
    let message = fault(&format!(
        "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) l: u32) {{
            var a: array<u32, 60000>; var s = 0u;\n{lines} out[0] = s; }}"
    ));
    assert!(message.contains("a value takes"), "{message}");
}

#[test]
fn many_calls_end_with_the_clock() {
    let mut text = String::from("fn f0(x: u32) -> u32 { return x * 3u; }\n");
    for i in 1..40 {
        let j = i - 1;
        text += &format!("fn f{i}(x: u32) -> u32 {{ return f{j}(x) + f{j}(x + 1u); }}\n");
    }
    text += "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) l: u32) \
             { let q = f39(l); if (l == 0u) { out[0] = q; } }";
    let start = Instant::now();
    let message = fault(&text);
    assert!(message.contains("took too long"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(5));
}
