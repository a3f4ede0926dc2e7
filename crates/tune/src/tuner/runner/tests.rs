//! Wrong candidates whose results alone look right, on this machine's adapter.

use std::path::PathBuf;

use super::*;
use crate::tuner::expr::Value;

/// A kernel that doubles x; with the flag WRONG it runs `wrong` instead.
fn job(wrong: &str, spec: &str) -> Job {
    let text = format!(
        "struct P {{ n: u32 }}
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read> x: array<T>;
        #ifdef WRONG
        @group(0) @binding(2) var<storage, READ_IF_WRONG> y: array<T>;
        #else
        @group(0) @binding(2) var<storage, read_write> y: array<T>;
        #endif
        @group(0) @binding(3) var<storage, read_write> scratch: array<u32>;
        @compute @workgroup_size(64) fn twice(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x == 0u) {{ scratch[0] = 1u; }}
            if (id.x < p.n) {{
        #ifdef WRONG
                {wrong}
        #else
                y[id.x] = x[id.x] + x[id.x];
        #endif
            }}
        }}"
    );
    let read = if wrong.contains("y[") {
        "read_write"
    } else {
        "read"
    };
    let text = text.replace("READ_IF_WRONG", read);
    let whole = spec.matches("\"u32\"").count() > 1;
    let dtype = if whole { "u32" } else { "f32" };
    let text = text.replace("array<T>", &format!("array<{dtype}>"));
    let source = |text: String| Source {
        name: "twice.wgsl".into(),
        text,
    };
    Job {
        name: "twice".into(),
        spec_name: "twice.toml".into(),
        spec: spec.into(),
        reference: spec.contains("kernel = \"").then(|| source(text.clone())),
        kernels: vec![source(text)],
        files: Vec::new(),
        folder: PathBuf::new(),
        adapter: None,
        checked: false,
        seed: 0,
    }
}

fn spec(dtype: &str, scratch: &str, reference: &str) -> String {
    format!(
        "workgroups = [\"ceil_div(n, 64)\"]
        constraints = [\"n % 3 != 1 || !WRONG\"]
        check = [{{ n = 7 }}, {{ n = 99 }}]
        time = [{{ n = 1000 }}]
        check_timed = false
        [parameters]
        WRONG = [false, true]
        [[buffers]]
        name = \"x\"
        dtype = \"{dtype}\"
        size = \"n\"
        fill = \"uniform\"
        low = 1000000
        high = 2000000
        [[buffers]]
        name = \"y\"
        dtype = \"{dtype}\"
        size = \"n\"
        output = true
        [[buffers]]
        name = \"scratch\"
        dtype = \"u32\"
        size = \"1\"
        {scratch}
        [reference]
        {reference}"
    )
}

const ADD: &str = "builtin = \"add\"\ninputs = [\"x\", \"x\"]\nshape = { n = \"n\" }";

fn attempt(job: Job, wrong: bool) -> Result<Outcome> {
    let values = Scope::from([("WRONG".to_owned(), Value::Bool(wrong))]);
    Runner::open(job)?.attempt(&values, 0, None, false, &mut |_| {})
}

#[test]
fn an_output_that_is_not_written_is_wrong() {
    let spec = spec("f32", "fill = \"zeros\"", ADD);
    let right = attempt(job("scratch[0] = u32(x[0]);", &spec), false).unwrap();
    assert_eq!(right.status, Status::Correct, "{right:?}");
    // The second kernel does not bind it at all.
    for wrong in ["scratch[0] = u32(x[0] + y[0]);", "scratch[0] = u32(x[0]);"] {
        // `y[` would make it writable.
        let wrong = wrong.replace("y[0]", "y [0]");
        let outcome = attempt(job(&wrong, &spec), true).unwrap();
        assert_eq!(outcome.status, Status::Correctness, "{outcome:?}");
        let message = outcome.message.unwrap();
        assert!(message.contains("never writes output `y`"), "{message}");
    }
}

#[test]
fn whole_numbers_are_compared_exactly() {
    let text = spec("u32", "fill = \"zeros\"", ADD);
    let wrong = "y[id.x] = x[id.x] + x[id.x] + 9u;";
    let outcome = attempt(job(wrong, &text), true).unwrap();
    assert_eq!(outcome.status, Status::Correctness, "{outcome:?}");
    let outcome = attempt(job(wrong, &format!("rtol = 1e-5\n{text}")), true).unwrap();
    assert_eq!(outcome.status, Status::Correct, "{outcome:?}");
}

#[test]
fn a_reference_must_give_every_element_of_every_output() {
    let short = ADD.replace("n = \"n\"", "n = \"min(n, 3)\"");
    let fails = |scratch: &str, reference: &str| {
        let job = job("y[id.x] = x[0];", &spec("f32", scratch, reference));
        attempt(job, false).unwrap_err().to_string()
    };
    let error = fails("fill = \"zeros\"", &short);
    let part = "3 values for the output `y`, which has 7 at n=7";
    assert!(error.contains(part), "{error}");
    let error = fails("output = true", &format!("{ADD}\noutput = \"y\""));
    assert!(error.contains("nothing of the output `scratch`"), "{error}");
    let error = fails(
        "output = true",
        &format!("{ADD}\noutput = [\"y\", \"scratch\"]"),
    );
    assert!(error.contains("2 outputs, `add` computes 1"), "{error}");
    let unchecked = spec("f32", "output = true\nunchecked = true", ADD);
    let outcome = attempt(job("y[id.x] = x[0];", &unchecked), false).unwrap();
    assert_eq!(outcome.status, Status::Correct, "{outcome:?}");
}

#[test]
fn a_reference_kernel_runs_where_the_default_is_forbidden() {
    let reference = "kernel = \"twice.wgsl\"\nworkgroups = [\"ceil_div(n, 64)\"]";
    let text = spec("f32", "fill = \"zeros\"", reference).replace("|| !WRONG", "");
    let wrong = "y[id.x] = x[id.x];";
    let outcome = attempt(job(wrong, &text), false).unwrap();
    assert_eq!(outcome.status, Status::Correct, "{outcome:?}");
    let every = text.replace("check_timed = false", "check_timed = true");
    let outcome = attempt(job(wrong, &every), false).unwrap();
    assert_eq!(outcome.status, Status::Correct, "{outcome:?}");
}

fn one_buffer(body: &str, element: &str, check: &str) -> Job {
    let spec = format!(
        "workgroups = [1]
        check = [{check}]
        time = [{{ n = 8 }}]
        check_timed = false
        [parameters]
        W = [1]
        [[buffers]]
        name = \"x\"
        dtype = \"f32\"
        size = \"n\"
        fill = \"ones\"
        [[buffers]]
        name = \"y\"
        dtype = \"f32\"
        size = \"n\"
        output = true
        [reference]
        builtin = \"copy\"
        shape = {{ n = \"n\" }}"
    );
    let text = format!(
        "const W: u32 = 1u;
        struct P {{ n: u32 }}
        @group(0) @binding(0) var<uniform> p: P;
        @group(0) @binding(1) var<storage, read> x: array<{element}>;
        @group(0) @binding(2) var<storage, read_write> y: array<{element}>;
        @compute @workgroup_size(W) fn f() {{ {body} }}"
    );
    let mut job = job("", &spec);
    job.kernels[0].text = text;
    job
}

fn first(job: Job) -> Outcome {
    let values = Scope::from([("W".to_owned(), Value::Int(1))]);
    let mut runner = Runner::open(job).unwrap();
    runner
        .attempt(&values, 0, None, false, &mut |_| {})
        .unwrap()
}

#[test]
fn the_padding_of_vec3_is_not_compared() {
    let body = "for (var i = 0u; i < p.n / 4u; i++) { y[i] = x[i]; }";
    let right = first(one_buffer(body, "vec3<f32>", "{ n = 4 }, { n = 400 }"));
    assert_eq!(right.status, Status::Correct, "{right:?}");
    let wrong = body.replace("= x[i]", "= x[i] + vec3(0.0, 0.0, 1.0)");
    let wrong = first(one_buffer(&wrong, "vec3<f32>", "{ n = 400 }"));
    let message = wrong.message.unwrap();
    assert!(
        message.contains("y[2] is 2") && message.contains("100 of 400"),
        "{message}"
    );
}

#[test]
fn a_loop_that_the_adapter_cuts_is_told_from_a_wrong_kernel() {
    let body = "for (var i = 0u; i < p.n; i++) { y[i] = x[i]; }";
    let long = first(one_buffer(body, "f32", "{ n = 70000 }"));
    // Software adapters end loops; others are right.
    if long.status != Status::Correct {
        assert_eq!(long.status, Status::Constraint, "{long:?}");
        let message = long.message.unwrap();
        for part in [
            "cuts loops at 65,53",
            "n=70000",
            "right on the emulated GPU",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
    let wrong = first(one_buffer("y[0] = x[0] + 1.0;", "f32", "{ n = 9 }"));
    assert_eq!(wrong.status, Status::Correctness, "{wrong:?}");
}
