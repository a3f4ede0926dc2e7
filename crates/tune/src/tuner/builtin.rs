//! wgrad's own kernels as tuning problems: the real shader files with the specs under `kernels/`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::job::{Job, Source};
use super::spec::Spec;

/// Names, and specs whose `kernel` names shader files.
const SPECS: &[(&str, &str)] = &[
    ("matmul", include_str!("kernels/matmul.toml")),
    ("softmax", include_str!("kernels/softmax.toml")),
];

/// The names that [`job`] knows.
pub fn names() -> Vec<&'static str> {
    SPECS.iter().map(|(name, _)| *name).collect()
}

/// The tuning problem of our kernel `name`.
pub fn job(name: &str) -> Result<Job> {
    let known = || {
        anyhow!(
            "{name} is neither a .wgsl file nor one of wgrad's kernels ({})",
            names().join(", ")
        )
    };
    let (_, text) = SPECS.iter().find(|(n, _)| *n == name).ok_or_else(known)?;
    let spec_name = format!("{name}.toml (built in)");
    let spec = Spec::parse(&spec_name, text)?;
    let files: Vec<String> = spec
        .kernel
        .all()
        .iter()
        .map(|file| file.trim_end_matches(".wgsl").to_owned())
        .collect();
    let source = |file: &String| {
        let text = wgrad_shaders::source(file)
            .ok_or_else(|| anyhow!("there is no shader file {file}.wgsl"))?;
        Ok(Source {
            name: file.clone(),
            text: text.to_owned(),
        })
    };
    Ok(Job {
        name: name.to_owned(),
        spec_name,
        spec: (*text).to_owned(),
        kernels: files.iter().map(source).collect::<Result<_>>()?,
        reference: None,
        files,
        folder: PathBuf::new(),
        adapter: None,
        checked: false,
        seed: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::build::build;
    use super::super::space::Space;
    use super::*;

    /// Each choice of each of our kernels goes through the preprocessor and naga, at every size.
    #[test]
    fn every_choice_can_be_parsed() {
        for name in names() {
            let job = job(name).unwrap();
            let spec = job.spec().unwrap();
            let space = Space::new(&spec).unwrap();
            for at in (0..space.choices.len()).step_by(7) {
                let values = space.values(at);
                let kernel = match values.get("KERNEL") {
                    Some(super::super::expr::Value::Int(i)) => *i as usize,
                    _ => 0,
                };
                for sizes in &spec.check {
                    let built = build(
                        &spec,
                        &job.kernels[kernel],
                        None,
                        &spec.workgroups,
                        &values,
                        sizes,
                    );
                    assert!(built.is_ok(), "{name} {values:?}: {:?}", built.err());
                }
            }
        }
    }
}
