//! A kernel and its spec to start from.

/// The texts of `NAME.wgsl` and `NAME.toml`: a small kernel that works, every key of a spec explained.
///
/// # Errors
/// A name that cannot name a function of WGSL.
pub fn pair(name: &str) -> Result<(String, String), String> {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "`{name}` cannot name a kernel: letters, digits and _ are allowed, a letter first"
        ));
    }
    let fill = |text: &str| text.replace("NAME", name);
    Ok((
        fill(include_str!("template/kernel.wgsl")),
        fill(include_str!("template/spec.toml")),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::build::build;
    use super::super::job::Source;
    use super::super::space::Space;
    use super::super::spec::Spec;
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
        for name in ["", "9a", "a-b", "a/b", "ä"] {
            assert!(pair(name).is_err(), "{name}");
        }
    }
}
