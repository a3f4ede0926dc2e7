//! wgrad's own kernels as tuning problems: the real shader files with the specs under `kernels/`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::job::{Job, Source};
use super::spec::Spec;

/// A problem: its name, a spec whose `kernel` names shader files, and the replacement of each `{WORD}` in the spec.
type Problem = (&'static str, &'static str, &'static [Words]);
type Words = &'static [(&'static str, &'static str)];

const F32: Words = &[
    ("{T}", "f32"),
    ("{HALF}", "false"),
    ("{UNITS}", "(1 == 2)"),
    ("{ROOM}", "(1 == 1)"),
    ("{BYTES}", "4"),
    ("{RTOL}", "1e-4"),
];
/// Sums are f32, rounded once to 11 bits.
const F16: Words = &[
    ("{T}", "f16"),
    ("{HALF}", "true"),
    // Workgroup memory for the larger tile of matrix units, if the kernel uses them.
    (
        "{ROOM}",
        "(!{UNITS} || max_workgroup_bytes >= 28672 - 4096 * (subgroup_size >= 32))",
    ),
    (
        "{UNITS}",
        "(matrix_side > 0 && matrix_f16 && !software && subgroup_size >= 8 && m > 8)",
    ),
    ("{BYTES}", "2"),
    ("{RTOL}", "1e-3"),
];
/// b is row-major.
const PRODUCT: Words = &[
    ("{NAME}", "matmul"),
    ("{B_ALONG_K}", "false"),
    ("{B_ROW}", "n"),
    ("{B_COL}", "1"),
    ("{FEW_COLUMNS}", "64"),
];
/// b lies along K, as the weight (out, in) of a linear layer does.
const LAYER: Words = &[
    ("{NAME}", "linear"),
    ("{B_ALONG_K}", "true"),
    ("{B_ROW}", "1"),
    ("{B_COL}", "k"),
    ("{FEW_COLUMNS}", "4"),
];

/// Whether the output has enough tiles of 128 to fill a GPU, whether it has too few of 64, and the invocations
/// of a workgroup.
const TILES: Words = &[
    (
        "{LARGE}",
        "m >= 96 && n >= 96 && 4 * ceil_div(m, 128) * ceil_div(n, 128) >= 256 + (3 * groups_to_fill - 256) * (!{UNITS})",
    ),
    ("{FEW}", "ceil_div(m, 64) * ceil_div(n, 64) < 32"),
    // With matrix units a subgroup computes what an invocation computes otherwise.
    (
        "{THREADS}",
        "BM / TM * (BN / TN) * (1 + (subgroup_size - 1) * (KERNEL == 3))",
    ),
];

const MATMUL: &str = include_str!("kernels/matmul.toml");

const SPECS: &[Problem] = &[
    ("matmul", MATMUL, &[TILES, F32, PRODUCT]),
    ("matmul_f16", MATMUL, &[TILES, F16, PRODUCT]),
    ("linear", MATMUL, &[TILES, F32, LAYER]),
    ("linear_f16", MATMUL, &[TILES, F16, LAYER]),
    ("softmax", include_str!("kernels/softmax.toml"), &[]),
    (
        "softmax_backward",
        include_str!("kernels/softmax_backward.toml"),
        &[],
    ),
    ("layer_norm", include_str!("kernels/layer_norm.toml"), &[]),
    (
        "layer_norm_backward",
        include_str!("kernels/layer_norm_backward.toml"),
        &[],
    ),
];

/// The names that [`job`] knows.
pub fn names() -> Vec<&'static str> {
    SPECS.iter().map(|(name, _, _)| *name).collect()
}

/// The tuning problem of our kernel `name`.
pub fn job(name: &str) -> Result<Job> {
    let known = || {
        anyhow!(
            "{name} is neither a .wgsl file nor one of wgrad's kernels ({})",
            names().join(", ")
        )
    };
    let found = SPECS.iter().find(|(n, _, _)| *n == name);
    let (_, text, words) = found.ok_or_else(known)?;
    let mut text = (*text).to_owned();
    for (word, meaning) in words.iter().copied().flatten() {
        text = text.replace(word, meaning);
    }
    let spec_name = format!("{name}.toml (built in)");
    let spec = Spec::parse(&spec_name, &text)?;
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
        spec: text,
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

    use super::super::expr::{Scope, Value};
    use super::super::facts;

    /// Adapters of three kinds: the software adapter, a GPU with matrix units for f16, one without subgroups.
    fn adapters() -> [Scope; 3] {
        let with = |list: &[(&str, Value)]| {
            let mut facts = facts::none();
            facts.extend(
                list.iter()
                    .map(|(name, value)| ((*name).to_owned(), *value)),
            );
            facts
        };
        let (yes, int) = (Value::Bool(true), Value::Int);
        [
            with(&[("software", yes), ("f16", yes), ("subgroup_size", int(8))]),
            with(&[
                ("f16", yes),
                ("subgroup_size", int(32)),
                ("matrix_side", int(16)),
                ("matrix_f16", yes),
            ]),
            with(&[("f16", yes)]),
        ]
    }

    fn kernel(values: &Scope) -> usize {
        match values.get("KERNEL") {
            Some(Value::Int(i)) => *i as usize,
            _ => 0,
        }
    }

    /// Choices of each of our kernels on each adapter go through the preprocessor and naga, at every size that
    /// they are checked at.
    #[test]
    fn every_choice_can_be_parsed() {
        for (name, facts) in names().into_iter().flat_map(|n| adapters().map(|f| (n, f))) {
            let job = job(name).unwrap();
            let spec = job.spec().unwrap().on(&facts).unwrap();
            let mut seen = Vec::new();
            if name.ends_with("_f16") && facts["software"] == Value::Bool(true) {
                continue;
            }
            for sizes in &spec.time {
                let space = Space::new(&spec, sizes).unwrap();
                for at in 0..space.choices.len() {
                    let values = space.values(at);
                    let mut checks = spec
                        .check
                        .iter()
                        .filter(|s| spec.allows(&values, s).unwrap());
                    let sizes = checks.next().unwrap_or_else(|| panic!("{name} {values:?}"));
                    // Every n-th choice, and the first of each kernel.
                    let kernel = kernel(&values);
                    if seen.contains(&(kernel, values.clone()))
                        || at % 97 > 0 && seen.iter().any(|(k, _)| *k == kernel)
                    {
                        continue;
                    }
                    let source = &job.kernels[kernel];
                    let built = build(&spec, source, None, &spec.workgroups, &values, sizes);
                    assert!(built.is_ok(), "{name} {values:?}: {:?}", built.err());
                    seen.push((kernel, values));
                }
            }
        }
    }

    #[test]
    fn the_hash_includes_imported_files() {
        let mut job = job("softmax").unwrap();
        let hash = job.hash();
        // The hash without the imported files.
        job.files.clear();
        assert_ne!(job.hash(), hash);
    }

    #[test]
    fn constraints_allow_the_kernels_that_fit_adapter_and_size() {
        let kernels = |name: &str, facts: &Scope, rows: i64| {
            let spec = job(name).unwrap().spec().unwrap().on(facts).unwrap();
            let of_rows = |s: &&Scope| s["m"] == Value::Int(rows);
            let space = Space::new(&spec, spec.time.iter().find(of_rows).unwrap()).unwrap();
            let mut all: Vec<usize> = (0..space.choices.len())
                .map(|i| kernel(&space.values(i)))
                .collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let [software, units, plain] = adapters();
        assert_eq!(kernels("matmul", &software, 512), [0, 1]);
        assert_eq!(kernels("linear", &software, 1), [0, 1, 2]);
        assert_eq!(kernels("matmul", &units, 4096), [0]);
        assert_eq!(kernels("matmul_f16", &units, 4096), [0, 3]);
        assert_eq!(kernels("linear_f16", &units, 8), [0, 2, 3]);
        assert_eq!(kernels("matmul_f16", &plain, 4096), [0]);
        let without = job("matmul_f16").unwrap().spec().unwrap();
        let error = Space::new(&without, &without.time[0])
            .unwrap_err()
            .to_string();
        assert!(error.contains("on this adapter at k=4096"), "{error}");
    }
}
