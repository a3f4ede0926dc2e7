//! A kernel and its spec to start from.

use super::build::{Refused, build};
use super::job::Source;
use super::spec::Spec;

/// The texts of `NAME.wgsl` and `NAME.toml`: a small working kernel, and a spec that explains every key.
///
/// # Errors
/// `name` is not a valid name of a WGSL function.
pub fn pair(name: &str) -> Result<(String, String), String> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`{name}` cannot name a kernel: letters, digits and _ are allowed, a letter first"
        ));
    }
    let fill = |text: &str| text.replace("NAME", name);
    let text = fill(include_str!("template/kernel.wgsl"));
    let spec = fill(include_str!("template/spec.toml"));
    compiles(name, &text, &spec).map_err(|why| {
        let why = why.lines().next().unwrap_or_default();
        format!("`{name}` cannot name a kernel here ({why}); choose another name")
    })?;
    Ok((text, spec))
}

/// Keywords of WGSL and names that the example itself uses are not valid.
fn compiles(name: &str, text: &str, spec: &str) -> Result<(), String> {
    let spec = Spec::parse(name, spec).map_err(|e| e.to_string())?;
    let source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let sizes = &spec.check[0];
    let values = spec.default_at(sizes).map_err(|e| e.to_string())?;
    match build(&spec, &source, None, &spec.workgroups, &values, sizes) {
        Ok(_) => Ok(()),
        Err(Refused::Compile(why) | Refused::Constraint(why)) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::super::space::Space;
    use super::*;

    #[test]
    fn the_pair_fits() {
        let (kernel, spec) = pair("my_kernel").unwrap();
        let spec = Spec::parse("my_kernel.toml", &spec).unwrap();
        let source = Source {
            name: "my_kernel.wgsl".into(),
            text: kernel,
        };
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        for at in 0..space.choices.len() {
            let built = build(
                &spec,
                &source,
                None,
                &spec.workgroups,
                &space.values(at),
                &spec.check[0],
            );
            assert!(built.is_ok(), "{:?}", built.err());
        }
        assert_eq!(spec.kernel.all(), ["my_kernel.wgsl"]);
    }

    #[test]
    fn odd_names_are_refused() {
        let taken = ["x", "fn", "loop", "WIDTH", "Params", "self", "u32"];
        for name in ["", "9a", "a-b", "a/b", "ä"].into_iter().chain(taken) {
            assert!(pair(name).is_err(), "{name}");
        }
    }
}
