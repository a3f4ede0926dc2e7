use super::*;

fn spec(more: &str) -> Spec {
    let text = format!(
        "workgroups = [\"ceil_div(n, WIDTH)\", \"LANES\"]\ncheck = [{{ n = 9 }}]\ntime = [{{ n = 20 }}]\n{more}\n\
         [parameters]\nWIDTH = [8]\nFAST = [true]\nSHIFT = [-2]\nSCALE = [0.5]\n[constants]\nLANES = \"n / WIDTH\"\n\
         [[buffers]]\nname = \"y\"\ndtype = \"f32\"\nsize = \"n\"\noutput = true\n\
         [reference]\nbuiltin = \"copy\"\n"
    );
    Spec::parse("s", &text).unwrap()
}

fn built(spec: &Spec, text: &str) -> Result<Built, Refused> {
    let source = Source {
        name: "k".into(),
        text: text.into(),
    };
    let values = spec.parameters.iter().map(|(n, v)| (n.clone(), v[0]));
    build(
        spec,
        &source,
        None,
        &spec.workgroups,
        &values.collect(),
        &spec.time[0],
    )
}

const WITHOUT_UNIFORM: &str = "
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
#ifdef FAST
@compute @workgroup_size(WIDTH) fn k(@builtin(global_invocation_id) id: vec3<u32>) {
    if (FAST && id.x < n) { y[id.x] = SCALE * f32(SHIFT) + f32(LANES); }
}
#endif
";

const WITH_UNIFORM: &str = "
struct P { n: u32, scale: f32, shift: i32, strides: vec4<u32> }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WIDTH) fn k(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < p.n) { y[id.x] = p.scale + f32(p.shift) + f32(p.strides.x); }
}
";

#[test]
fn parameters_sizes_and_constants_reach_the_kernel() {
    let built = built(&spec(""), WITHOUT_UNIFORM).unwrap();
    for line in [
        "const WIDTH: u32 = 8u;",
        "const n: u32 = 20u;",
        "const LANES: u32 = 2u;",
        "const SHIFT: i32 = -2i;",
        "const SCALE: f32 = 0.5f;",
        "const FAST: bool = true;",
    ] {
        assert!(built.text.contains(line), "no {line} in\n{}", built.text);
    }
    assert_eq!(built.workgroups, [3, 2, 1]);
    assert_eq!(built.info.workgroup_size, [8, 1, 1]);
    assert!(built.uniform.is_empty());
}

#[test]
fn a_uniform_is_filled_by_name() {
    let given = "uniform = { scale = \"1 / 4.0\", shift = \"SHIFT\", strides = [\"n\", 1] }";
    let built = built(&spec(given), WITH_UNIFORM).unwrap();
    assert!(
        !built.text.contains("const n:"),
        "with a uniform, sizes are no constants"
    );
    let expected = [
        ("n", vec![20]),
        ("scale", vec![0.25f32.to_bits()]),
        ("shift", vec![-2i32 as u32]),
        ("strides", vec![20, 1]),
    ];
    let expected = expected.map(|(name, words)| (name.to_owned(), words));
    assert_eq!(built.uniform, expected);
}

#[test]
fn a_value_that_does_not_fit_the_uniform_is_an_error() {
    let fails = |given: &str| match built(&spec(given), WITH_UNIFORM) {
        Err(Refused::Compile(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(fails("").contains("member `scale` is neither a size nor a parameter"));
    let long = fails("uniform = { scale = 1, shift = 0, strides = [1, 2, 3, 4, 5] }");
    assert!(
        long.contains("strides has 5 values, the member holds 4"),
        "{long}"
    );
    let real = fails("uniform = { scale = 1, shift = 0.5, strides = 1 }");
    assert!(
        real.contains("shift = 0.5 is not of the member's type"),
        "{real}"
    );
}

#[test]
fn the_tuned_text_is_the_users_file() {
    let spec = spec("");
    let source = Source {
        name: "k".into(),
        text: "// My kernel.\nconst WIDTH: u32 = 64u; // lanes\n\n@compute @workgroup_size(WIDTH) fn k() {}\n".into(),
    };
    let values = Scope::from([("WIDTH".to_owned(), Value::Int(8))]);
    let mut plain = spec;
    plain.constants.clear();
    plain.size_constants = Some(false);
    let text = tuned_text(&plain, &source, &values, &plain.time[0]).unwrap();
    assert_eq!(text, source.text.replace("64u", "8"));
}

const BARE: &str = "
@group(0) @binding(0) var<uniform> dims: vec2<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WIDTH) fn k(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < dims.x) { y[id.x] = f32(dims.y); }
}
";

#[test]
fn a_uniform_that_is_no_struct_takes_values_too() {
    let one = built(&spec("[uniform]\ndims = [\"n\", 3]"), BARE).unwrap();
    assert_eq!(one.uniform, [("dims".to_owned(), vec![20, 3])]);
    let three = BARE
        .replace("vec2<u32>", "vec3<f32>")
        .replace("< dims.x", "< u32(dims.x)");
    let three = built(&spec("[uniform]\ndims = [1, 0.5, \"n\"]"), &three).unwrap();
    let words = [1.0f32, 0.5, 20.0].map(f32::to_bits).to_vec();
    assert_eq!(three.uniform, [("dims".to_owned(), words)]);
    let Err(Refused::Compile(line)) = built(&spec(""), BARE) else {
        panic!("no value was given")
    };
    assert!(
        line.contains("as dims = [\"n\"]") && line.contains("use dims.n"),
        "{line}"
    );
    let matrix = BARE
        .replace("vec2<u32>", "mat2x2<f32>")
        .replace("< dims.x", "< 1u")
        .replace("dims.y", "dims[0].x");
    let Err(Refused::Compile(line)) = built(&spec(""), &matrix) else {
        panic!("a matrix has no values")
    };
    assert!(line.contains("put its members into a struct"), "{line}");
}

#[test]
fn a_buffer_of_vec3_has_whole_elements() {
    let text = WITHOUT_UNIFORM
        .replace("array<f32>", "array<vec3<f32>>")
        .replace("SCALE * f32(SHIFT)", "vec3(SCALE)")
        .replace("f32(LANES)", "vec3(f32(LANES))");
    assert!(
        built(&spec(""), &text).is_ok(),
        "20 floats are five elements"
    );
    let mut odd = spec("");
    odd.time[0].insert("n".into(), Value::Int(21));
    let Err(Refused::Compile(line)) = built(&odd, &text) else {
        panic!("21 floats are no whole elements")
    };
    assert!(
        line.starts_with("`y`: an element takes 16 bytes, 4 of them padding"),
        "{line}"
    );
}
