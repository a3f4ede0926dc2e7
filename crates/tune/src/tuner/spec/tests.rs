use super::*;

const GOOD: &str = r#"
kernel = "scale.wgsl"
workgroups = ["ceil_div(N, WIDTH)"]
constraints = ["WIDTH * EACH <= 256"]
check = [{ N = 33 }]
time = [{ N = 1024 }]
[parameters]
WIDTH = [8, 64]
EACH = [1, 4]
[[buffers]]
name = "x"
dtype = "f32"
size = "N"
[[buffers]]
name = "y"
dtype = "f32"
size = "N"
output = true
[reference]
builtin = "copy"
shape = { n = "N" }
"#;

fn fails(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let error = Spec::parse("s.toml", &GOOD.replace(from, to)).unwrap_err();
    let line = error.to_string();
    assert!(line.starts_with("s.toml:"), "{line}");
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_spec_is_read() {
    let spec = Spec::parse("s.toml", GOOD).unwrap();
    assert_eq!(spec.parameters["EACH"], [Value::Int(1), Value::Int(4)]);
    assert_eq!(spec.outputs()[0].name, "y");
    assert_eq!(spec.size_names(), BTreeSet::from(["N".to_owned()]));
    assert!(spec.check_timed);
}

#[test]
fn the_adapter_chooses_the_sizes() {
    let text = GOOD.replace("[parameters]", "time_software = [{ N = 8 }]\n[parameters]");
    let text = text.replace("{ N = 1024 }", "{ N = 1024 }, { N = 4096 }");
    let on = |software: bool, most: i64| {
        let mut facts = facts::none();
        facts.insert("software".into(), Value::Bool(software));
        facts.insert("max_buffer_bytes".into(), Value::Int(most));
        let spec = Spec::parse("s.toml", &text).unwrap().on(&facts)?;
        let sizes = spec.time.iter().map(|sizes| sizes["N"]);
        anyhow::Ok(sizes.collect::<Vec<Value>>())
    };
    assert_eq!(on(true, 1 << 20).unwrap(), [Value::Int(8)]);
    assert_eq!(
        on(false, 1 << 20).unwrap(),
        [Value::Int(1024), Value::Int(4096)]
    );
    assert_eq!(on(false, 4096).unwrap(), [Value::Int(1024)]);
    let error = on(false, 200).unwrap_err().to_string();
    assert!(error.contains("buffers of 200 bytes"), "{error}");
    let error = on(false, 100).unwrap_err().to_string();
    assert!(
        error.contains("buffer `x` has 132 bytes at N=33"),
        "{error}"
    );
    let text = text.replace("N = 33", "N = 9000000000000000000");
    let spec = Spec::parse("s.toml", &text).unwrap();
    let error = spec.on(&facts::none()).unwrap_err().to_string();
    assert!(error.contains("at N=9000000000000000000"), "{error}");
}

#[test]
fn several_kernels_make_a_parameter() {
    let text = GOOD.replace("\"scale.wgsl\"", "[\"a.wgsl\", \"b.wgsl\"]");
    let spec = Spec::parse("s.toml", &text).unwrap();
    assert_eq!(spec.parameters["KERNEL"], [Value::Int(0), Value::Int(1)]);
}

#[test]
fn mistakes_give_one_line_with_the_position() {
    for (from, to, parts) in [
        ("dtype = \"f32\"", "dtype = \"f64\"", ["s.toml:12:", "f64"]),
        ("builtin", "bultin", ["s.toml:20:1", "bultin"]),
        ("WIDTH = [8, 64]", "WIDTH = [8, 64", ["s.toml:", ""]),
        (
            "ceil_div(N, WIDTH)",
            "ceil_div(N, WIDTH",
            ["s.toml:3:", "column 18: `)`"],
        ),
        (
            "ceil_div(N, WIDTH)",
            "N / TILE",
            ["TILE", "known: EACH, N, WIDTH, f16"],
        ),
        (
            "* EACH <= 256",
            "* M <= 256",
            ["unknown name `M`", "known: EACH, N, WIDTH, f16"],
        ),
        (
            "EACH = [1, 4]",
            "EACH = [1, 4]\nsoftware = [1]",
            ["`software` is what the adapter says", ""],
        ),
        (
            "check = [{ N = 33 }]",
            "check = [{ M = 33 }]",
            ["size `N`", "not in M=33"],
        ),
        (
            "check = [{ N = 33 }]",
            "check = []",
            ["no problem size to check", ""],
        ),
        (
            "time = [{ N = 1024 }]",
            "time = []",
            ["no problem size to time", ""],
        ),
        ("output = true", "", ["no buffer is an output", ""]),
        ("builtin = \"copy\"", "", ["one of `builtin`", ""]),
        (
            "WIDTH = [8, 64]",
            "WIDTH = []",
            ["`WIDTH` has no values", ""],
        ),
        (
            "[parameters]",
            "[default]\nWIDTH = 9\n[parameters]",
            ["default 9 of `WIDTH`", ""],
        ),
        (
            "[parameters]",
            "[default]\nWIDE = 8\n[parameters]",
            ["`WIDE`, which is no parameter", ""],
        ),
        (
            "[parameters]",
            "[constants]\nWIDTH = 8\n[parameters]",
            ["`WIDTH` is a constant and a parameter", ""],
        ),
        (
            "[parameters]",
            "[constants]\nN = 8\n[parameters]",
            ["`N` is a constant and a size", ""],
        ),
        (
            "WIDTH = [8, 64]",
            "WIDTH = [8, \"64\"]",
            ["s.toml:8:9:", "a value is a number or a truth value"],
        ),
        (
            "output = true",
            "output = true\n[[buffers]]\nname = \"z\"\ndtype = \"f32\"\nsize = 1\noutput = true",
            ["nothing of the output `z`", "unchecked = true"],
        ),
        (
            "name = \"x\"",
            "name = \"x\"\nunchecked = true",
            ["buffer `x`", "is for outputs"],
        ),
        (
            "name = \"y\"",
            "name = \"x\"",
            ["buffer `x` is given twice", ""],
        ),
        (
            "size = \"N\"",
            "size = \"N\"\nfill = \"file\"",
            ["go together", "`x`"],
        ),
        (
            "size = \"N\"",
            "size = \"N * WIDTH\"",
            ["unknown name `WIDTH`", ""],
        ),
    ] {
        let line = fails(from, to);
        for part in parts {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
    }
}

#[test]
fn a_parameter_with_no_or_too_many_values_is_refused() {
    let many: Vec<String> = (0..65536).map(|n| n.to_string()).collect();
    let line = fails("EACH = [1, 4]", &format!("EACH = [{}]", many.join(", ")));
    assert!(line.contains("`EACH` has 65536 values, 65535 at most"));
}

#[test]
fn a_float_may_be_whole() {
    let text = GOOD.replace(
        "WIDTH = [8, 64]",
        "SCALE = [0.5, 1.0]\nWIDTH = [8, 64]\n[default]\nSCALE = 1.0",
    );
    let text = text.replace("EACH = [1, 4]\n", "").replace(" * EACH", "");
    let spec = Spec::parse("s.toml", &text).unwrap();
    let default = spec.default_at(&spec.time[0]).unwrap();
    assert_eq!(show(&default), "SCALE=1.0 WIDTH=8");
}
