use super::*;
use crate::tuner::expr::Value;
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
fn what_maps_is_a_spec_that_can_be_read() {
    let (name, text) = import(T1).unwrap();
    assert_eq!(name, "scale");
    let spec = Spec::parse("scale.toml", &text).unwrap();
    assert_eq!(spec.parameters["tile"], [1, 2, 3].map(Value::Int));
    assert_eq!(spec.parameters["pad"], [true, false].map(Value::Bool));
    assert_eq!(spec.default["block"].text(), "64");
    assert!(!spec.default.contains_key("tile"));
    assert_eq!(spec.workgroups[0].text(), "PROBLEM_X // block // tile");
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
    let space = crate::tuner::space::Space::new(&spec, &spec.time[0]).unwrap();
    assert_eq!(space.choices.len(), 8);
    for note in ["the default 9 of tile", "`s` (Local)", "the kernel is CUDA"] {
        assert!(text.contains(note), "{note}");
    }
}

#[test]
fn what_does_not_map_is_an_error() {
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
    ] {
        let error = format!("{:#}", import(&T1.replace(from, to)).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}
