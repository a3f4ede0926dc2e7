use super::*;
use crate::tuner::expr::{Scope, Value};
use crate::tuner::job::{Job, Source};
use crate::tuner::space::Space;
use crate::tuner::spec::{Dtype, Spec};

const T1: &str = r#"{
    "ConfigurationSpace": {
        "TuningParameters": [
            {"Name": "block", "Type": "int", "Values": "[32, 64]", "Default": 64},
            {"Name": "tile", "Type": "int", "Values": "list(range(1, 4))", "Default": 9},
            {"Name": "pad", "Type": "bool", "Values": "[True, False]"}],
        "Conditions": [{"Parameters": ["block", "tile"], "Expression": "block * tile <= 128 and not (tile == 3)"}]},
    "KernelSpecification": {
        "Language": "CUDA", "KernelName": "scale", "KernelFile": "scale.cu", "GlobalSizeType": "CUDA",
        "LocalSize": {"X": "block"}, "GlobalSize": {"X": "ProblemSize[0] // block // tile"},
        "ProblemSize": [4096],
        "Arguments": [
            {"Name": "y", "Type": "float", "MemoryType": "Vector", "AccessType": "WriteOnly", "FillType": "Constant", "FillValue": 0.0, "Size": "ProblemSize[0]", "Output": 1},
            {"Name": "x", "Type": "half2", "MemoryType": "Vector", "AccessType": "ReadOnly", "FillType": "Random", "FillValue": 2.0, "Size": 4096},
            {"Name": "n", "Type": "int32", "MemoryType": "Scalar", "FillValue": 4096},
            {"Name": "s", "Type": "float", "MemoryType": "Local", "Size": 8}]}}"#;

#[test]
fn an_imported_t1_file_gives_a_valid_spec() {
    let (name, text) = import(T1).unwrap();
    assert_eq!(name, "scale");
    let spec = Spec::parse("scale.toml", &text).unwrap();
    assert_eq!(spec.parameters["tile"], [1, 2, 3].map(Value::Int));
    assert_eq!(spec.parameters["pad"], [true, false].map(Value::Bool));
    assert_eq!(spec.default["block"].text(), "64");
    assert!(!spec.default.contains_key("tile"));
    assert_eq!(spec.workgroups[0].text(), "PROBLEM_X // block // tile");
    assert_eq!(spec.rtol, None, "what T1 does not say is left to the type");
    assert_eq!(spec.time[0]["PROBLEM_X"], Value::Int(4096));
    let [y, x] = &spec.buffers[..] else {
        panic!("two buffers")
    };
    assert!(y.output && !x.output);
    assert_eq!(x.dtype, Dtype::F16);
    assert_eq!(x.size.count(&spec.time[0]), Ok(8192));
    assert_eq!(
        spec.reference.kernel.as_deref(),
        Some("scale_reference.wgsl")
    );
    let space = Space::new(&spec, &spec.time[0]).unwrap();
    assert_eq!(space.choices.len(), 8);
    for note in ["the default 9 of tile", "`s` (Local)", "the kernel is CUDA"] {
        assert!(text.contains(note), "{note}");
    }
}

#[test]
fn a_t1_file_without_a_counterpart_is_an_error() {
    assert!(
        import("{}")
            .unwrap_err()
            .to_string()
            .contains("no T1 input")
    );
    for (from, to, part) in [
        ("[32, 64]", "powers(2)", "`powers(2)` is no list"),
        (
            "\"float\", \"MemoryType\": \"Vector\"",
            "\"double\", \"MemoryType\": \"Vector\"",
            "no buffers of double",
        ),
        ("block * tile", "len(block)", "unknown function `len`"),
        (
            "\"scale\"",
            "\"../scale\"",
            "`../scale` cannot be the name of a kernel",
        ),
        ("\"scale\"", "\"s\\\" c\"", "the name of a kernel"),
        ("\"tile\"", "\"ti le\"", "the name of a parameter"),
        (
            "{\"Name\": \"x\"",
            "{\"Name\": \"x\\n[a]\"",
            "the name of a buffer",
        ),
        ("[4096]", "[0.5]", "whole numbers, not 0.5"),
        ("\"tile\"", "\"block\"", "no spec of it"),
        ("[32, 64]", "[i for i in 3]", "`3` is no range"),
        (
            "\"list(range(1, 4))\", \"Default\": 9},",
            "\"range(60000)\"}, {\"Name\": \"other\", \"Values\": \"range(6000)\"},",
            "more than 65535 values together",
        ),
    ] {
        let error = format!("{:#}", import(&T1.replace(from, to)).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn many_conditions_are_refused() {
    let one = "{\"Parameters\": [], \"Expression\": \"block == 32\"}";
    let all = vec![one; 1001].join(", ");
    let text = T1.replace("\"Conditions\": [", &format!("\"Conditions\": [{all}, "));
    let error = import(&text).unwrap_err().to_string();
    assert!(error.contains("1002 conditions"), "{error}");
}

#[test]
fn real_t1_files_can_be_imported() {
    let spec = |changes: &[(&str, &str)]| {
        let mut text = T1.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        Spec::parse("scale.toml", &import(&text).unwrap().1).unwrap()
    };
    for size in ["4096", "\"4096\"", "[4096, 2]"] {
        let found = spec(&[("[4096]", size)]);
        assert_eq!(found.time[0]["PROBLEM_X"], Value::Int(4096));
    }
    let found = spec(&[("[32, 64]", "[128+64*i for i in range(15)]")]);
    let block = &found.parameters["block"];
    assert_eq!(block.len(), 15);
    assert_eq!((block[0], block[14]), (Value::Int(128), Value::Int(1024)));
    let found = spec(&[("[32, 64]", "[2 ** 5, 1.5]")]);
    let block = &found.parameters["block"];
    assert_eq!(block[..], [Value::Int(32), Value::Float(1.5)]);
    let found = spec(&[(
        "block * tile <= 128 and not (tile == 3)",
        "32 <= block*tile <= 64 and tile in [1, 2]",
    )]);
    let space = Space::new(&found, &found.time[0]).unwrap();
    // (32, 1), (32, 2) and (64, 1), each with and without padding.
    assert_eq!(space.choices.len(), 6);
    let found = spec(&[
        ("\"[True, False]\"", "[\"True\", \"False\"]"),
        ("\"[32, 64]\"", "[32, \"2**6\"]"),
        ("\"Default\": 64", "\"Default\": \"64\""),
    ]);
    assert_eq!(found.parameters["pad"], [true, false].map(Value::Bool));
    assert_eq!(found.parameters["block"], [32, 64].map(Value::Int));
    assert_eq!(found.default["block"].text(), "64");
    let file = "\"FillType\": \"BinaryRaw\", \"DataSource\": \"a\\\"\\\\b.bin\"";
    let found = spec(&[("\"FillType\": \"Random\", \"FillValue\": 2.0", file)]);
    assert_eq!(found.buffers[1].file.as_deref(), Some("a\"\\b.bin"));
}

const SPEC: &str = r#"
kernel = "rows.wgsl"
workgroups = ["ceil_div(rows, LINES)", "1 + FAST * (columns / 64)"]
constraints = ["WIDTH * EACH <= 256 && !(FAST || false)", "rows % EACH == 0 || SCALE / 2 > 0.3"]
check = [{ rows = 3, columns = 5 }]
time = [{ rows = 96, columns = 640 }]
[parameters]
WIDTH = [8, 64]
EACH = [1, 4, 5]
FAST = [false, true]
SCALE = [0.5, 1.0]
[default]
WIDTH = "columns / 10"
[constants]
LINES = "round_up(WIDTH, 3) * EACH"
[uniform]
eps = 0.5
[[buffers]]
name = "x"
dtype = "f16"
size = "rows * columns"
fill = "uniform"
low = 0.0
high = 3.0
[[buffers]]
name = "y"
dtype = "i32"
size = "rows"
output = true
[reference]
files = { y = "y_{rows}.bin" }
"#;

/// A spec that is exported to T1 and imported again has the same choices, launches and buffers.
#[test]
fn an_exported_spec_can_be_imported() {
    let job = Job {
        name: "rows".into(),
        spec_name: "rows.toml".into(),
        spec: SPEC.into(),
        kernels: vec![Source {
            name: "rows.wgsl".into(),
            text: "@compute @workgroup_size(WIDTH, 4u) fn rows() {}".into(),
        }],
        reference: None,
        files: Vec::new(),
        folder: Default::default(),
        adapter: None,
        checked: false,
        seed: 0,
    };
    let (text, notes) = export(&job).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let local = &json["KernelSpecification"]["LocalSize"];
    assert_eq!((&local["X"], &local["Y"]), (&"WIDTH".into(), &"4".into()));
    let (name, again) = import(&text).unwrap();
    assert_eq!(name, "rows");
    let (ours, theirs) = (job.spec().unwrap(), Spec::parse("t1", &again).unwrap());
    assert_eq!(ours.parameters, theirs.parameters);
    let (size, problem) = (&ours.time[0], &theirs.time[0]);
    assert_eq!(
        problem["PROBLEM_X"], size["columns"],
        "in the order of names"
    );
    assert_eq!(
        ours.default_at(size).unwrap(),
        theirs.default_at(problem).unwrap()
    );
    let space = |spec: &Spec, size| Space::new(spec, size).unwrap();
    let (one, two) = (space(&ours, size), space(&theirs, problem));
    assert_eq!(one.choices, two.choices);
    assert!(one.choices.len() > 3 && one.forbidden > 3);
    for at in 0..one.choices.len() {
        let scope = |sizes: &Scope| {
            let mut scope = one.values(at);
            scope.extend(sizes.clone());
            scope
        };
        let mut full = scope(size);
        let lines = ours.constants["LINES"].eval(&full).unwrap();
        full.insert("LINES".into(), lines);
        for (a, b) in ours.workgroups.iter().zip(&theirs.workgroups) {
            assert_eq!(a.count(&full), b.count(&scope(problem)), "{}", b.text());
        }
    }
    for (a, b) in ours.buffers.iter().zip(&theirs.buffers) {
        assert_eq!((&a.name, a.dtype, a.output), (&b.name, b.dtype, b.output));
        assert_eq!(a.size.count(size), b.size.count(problem));
        assert_eq!((a.fill, a.low, a.high), (b.fill, b.low, b.high));
    }
    assert_eq!(theirs.reference.files["y"], "y_96.bin");
    assert_eq!(theirs.uniform["eps"].all()[0].text(), "0.5");
}

#[test]
fn a_spec_that_t1_cannot_express_is_an_error() {
    let job = crate::tuner::builtin::job("softmax").unwrap();
    let error = export(&job).unwrap_err().to_string();
    assert!(
        error.contains("knows nothing of adapters: `subgroup_size`"),
        "{error}"
    );
}
