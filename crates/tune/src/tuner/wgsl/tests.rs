use super::*;
use wgrad_runtime::reflect;

const TWO: &str = "\
// @compute in a comment { is no brace
enable f16;
struct Sizes { n: u32 }
@group(1) @binding(2) var<uniform> sizes: Sizes;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(0) var<storage, read_write> other: array<u32>;
/* block /* nested */ } */
fn twice(v: f32) -> f32 { return 2.0 * v; }
fn unused() -> u32 { return other[0]; }
@compute @workgroup_size(8) fn first(@builtin(global_invocation_id) id: vec3<u32>) {
if (id.x < sizes.n) { y[id.x] = twice(x[id.x]); }
}
@compute @workgroup_size(1) fn second() { other[0] = 1u; }
";

#[test]
fn one_entry_point_and_its_bindings_are_left() {
    let text = isolate(TWO, Some("first")).unwrap();
    let info = reflect(&text).unwrap();
    assert_eq!(info.entry_point, "first");
    let names: Vec<&str> = info.bindings.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(info.params[0].name, "n");
    assert_eq!(text.lines().count(), TWO.lines().count());
    let info = reflect(&isolate(TWO, Some("second")).unwrap()).unwrap();
    assert_eq!(info.bindings[0].name, "other");
    assert_eq!(info.params_size, 0);
}

#[test]
fn entry_points_must_be_there() {
    assert!(
        isolate(TWO, None)
            .unwrap_err()
            .contains("several entry points (first, second)")
    );
    assert!(
        isolate(TWO, Some("third"))
            .unwrap_err()
            .contains("it has first, second")
    );
    assert!(
        isolate("const A = 1;", None)
            .unwrap_err()
            .contains("no compute entry point")
    );
}

#[test]
fn a_file_may_declare_its_parameters_itself() {
    let front = "const TILE: u32 = 8u;\nconst SCALE: f32 = 0.5f;\nconst N: u32 = 3u;\nconst ON: bool = true;\n";
    let own = "enable f16;\n@id(0) override TILE: u32 = 16;\nconst SCALE = 2.0f;\nconst N = 4u * 2u;\nconst ON = false;\nconst FREE = 1u;\n";
    let names = ["TILE", "SCALE", "N", "ON"].map(str::to_owned).into();
    let text = settle(&format!("{front}{own}"), &names);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    assert_eq!(
        lines,
        [
            "enable f16;",
            "const TILE: u32 = 8;",
            "const SCALE = 0.5f;",
            "const N = 3u;",
            "const ON = true;",
            "const FREE = 1u;"
        ]
    );
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn an_override_without_a_value_is_replaced() {
    let text = settle(
        "const A: u32 = 8u;\noverride A: u32;\n",
        &["A".to_owned()].into(),
    );
    assert_eq!(text.trim(), "const A: u32 = 8u;");
}

#[test]
fn directives_come_first() {
    let text = isolate(
        "const A: u32 = 1u;\nenable f16;\n@compute @workgroup_size(A) fn f() { let x = 1.0h; }",
        None,
    );
    assert!(
        text.as_ref().is_ok_and(|t| t.starts_with("enable f16;")),
        "{text:?}"
    );
    assert!(reflect(&text.unwrap()).is_ok());
}

#[test]
fn comments_declare_nothing() {
    assert!(has_uniform("@group(0) @binding(0) var < uniform > p: P;"));
    for text in [
        "// var<uniform> p: P;",
        "/* var<uniform> */ var<private> p: f32;",
    ] {
        assert!(!has_uniform(text), "{text}");
    }
    assert!(mentions("#ifdef FAST\n#endif", "FAST"));
    assert!(!mentions("// FAST\nconst FASTER = 1;", "FAST"));
}

#[test]
fn a_workgroups_sides_are_found() {
    let text = "@compute @workgroup_size(W, max(2, W) * 4u,) fn a() {}
        @workgroup_size(64) @compute fn b() {} // @workgroup_size(1)";
    let of = |entry: &str| workgroup_size(text, Some(entry));
    assert_eq!(of("a").unwrap(), ["W", "max(2,W)*4u"]);
    assert_eq!(of("b").unwrap(), ["64"]);
    assert_eq!(of("c"), None);
}

#[test]
fn the_last_digit_is_no_suffix() {
    let settled = |own: &str| {
        let names = BTreeSet::from(["W".to_owned()]);
        settle(&format!("const W: u32 = 64u;\n{own}"), &names)
    };
    assert!(settled("const W = 0x4f;").contains("const W = 64;"));
    assert!(settled("const W = 0x4fu;").contains("const W = 64u;"));
    assert!(settled("const W = 4f;").contains("const W = 64f;"));
}

#[test]
fn a_declaration_turned_around_is_left_to_the_compiler() {
    let names = BTreeSet::from(["W".to_owned()]);
    for own in [
        "= override W;",
        "= 3 const W;",
        "const = W;",
        "= const W: u32 = 4;",
    ] {
        let text = format!("const W: u32 = 8u;\n{own}\nfn f() {{}}");
        let settled = settle(&text, &names);
        assert!(settled.contains("fn f()"), "{settled}");
        assert!(
            isolate(&settled, None)
                .unwrap_err()
                .contains("no compute entry point")
        );
    }
}

#[test]
fn directives_that_browsers_need() {
    let entry = "@compute @workgroup_size(8) fn f() {}";
    for (given, kept) in [
        ("enable subgroups;", ""),
        ("enable f16, subgroups;", "enable f16; "),
        ("enable subgroups, f16;\nenable subgroups;", "enable f16; "),
        (
            "requires readonly_and_readwrite_storage_textures;",
            "requires readonly_and_readwrite_storage_textures; ",
        ),
    ] {
        let text = isolate(&format!("{given}\nconst N: u32 = 4u;\n{entry}"), None).unwrap();
        assert!(text.starts_with(kept), "{text}");
        assert!(!text.contains("subgroups"), "{text}");
    }
    // What is written for the user keeps them, in front of constants.
    let text = directives_first("const N: u32 = 4u;\nenable subgroups;\nfn f() {}\n");
    assert!(text.starts_with("enable subgroups;\nconst N"), "{text}");
    let whole = "enable f16;\nenable subgroups;\nconst N: u32 = 4u;\n";
    assert_eq!(directives_first(whole), whole);
}
