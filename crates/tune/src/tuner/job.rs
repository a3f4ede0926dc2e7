//! The tuning problem as a worker receives it, and the worker's requests and replies.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use wgrad_runtime::text_hash;
use wgrad_runtime::variants::shader_hash;

use super::data::file_name;
use super::expr::Scope;
use super::outcome::Outcome;
use super::spec::Spec;
use super::wgsl;
use crate::bench::stats::Interval;

/// A WGSL file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, for messages.
    pub name: String,
    /// The file's content.
    pub text: String,
}

/// A tuning problem with all its texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The kernel's name in tables: the file's name without its ending, or the name of one of wgrad's kernels.
    pub name: String,
    /// The spec's file name, for messages.
    pub spec_name: String,
    /// The spec's TOML.
    pub spec: String,
    /// The kernel files, in the spec's order.
    pub kernels: Vec<Source>,
    /// The reference kernel.
    pub reference: Option<Source>,
    /// The shader files of wgrad's own kernels, in the order of `kernels`; empty for a user's kernel.
    pub files: Vec<String>,
    /// The folder of the data files.
    pub folder: PathBuf,
    /// The adapter's name, as in `DeviceOptions`.
    pub adapter: Option<String>,
    /// Compile with bounds checks, loop bounds and zeroed workgroup memory.
    pub checked: bool,
    /// The seed of the buffers' contents.
    pub seed: u64,
}

impl Job {
    /// Reads the spec file and the files that it names; `kernel` replaces the spec's kernel.
    ///
    /// # Errors
    /// A file that cannot be read, or an error of [`Spec::parse`].
    pub fn load(spec_path: &std::path::Path, kernel: Option<&std::path::Path>) -> Result<Job> {
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read", path.display()))
        };
        let spec_name = spec_path.display().to_string();
        let text = read(spec_path)?;
        let spec = Spec::parse(&spec_name, &text)?;
        let folder = spec_path
            .parent()
            .unwrap_or(std::path::Path::new(""))
            .to_owned();
        let paths: Vec<PathBuf> = match kernel {
            Some(path) if spec.kernel.all().len() < 2 => vec![path.to_owned()],
            _ => spec
                .kernel
                .all()
                .iter()
                .map(|name| folder.join(name))
                .collect(),
        };
        let first = paths.first().ok_or_else(|| {
            anyhow!("{spec_name}: no `kernel = \"….wgsl\"`, and none on the command line")
        })?;
        let stem = first
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let source = |path: &PathBuf| -> Result<Source> {
            Ok(Source {
                name: path.display().to_string(),
                text: read(path)?,
            })
        };
        Ok(Job {
            name: stem,
            spec_name,
            spec: text,
            kernels: paths.iter().map(source).collect::<Result<_>>()?,
            reference: spec
                .reference
                .kernel
                .as_ref()
                .map(|name| source(&folder.join(name)))
                .transpose()?,
            files: Vec::new(),
            folder,
            adapter: None,
            checked: false,
            seed: 0,
        })
    }

    /// The hash of all texts that a candidate depends on: the kernels and their imports, the reference and the spec.
    pub fn hash(&self) -> String {
        let imported = match self.files.is_empty() {
            true => None,
            false => shader_hash(&self.files),
        };
        let reference = self.reference.iter();
        let texts = self
            .kernels
            .iter()
            .chain(reference)
            .map(|s| s.text.as_str());
        let all = texts.chain([self.spec.as_str()]);
        let all: Vec<&str> = all.chain(imported.as_deref()).collect();
        text_hash(&all)
    }

    /// The hash of the data files that `spec` names, at all of its sizes. A file that cannot be read is left out; reading
    /// it later gives the error.
    pub fn data_hash(&self, spec: &Spec) -> String {
        let of_buffers = spec.buffers.iter().filter_map(|b| b.file.as_ref());
        let names: Vec<&String> = of_buffers.chain(spec.reference.files.values()).collect();
        let mut found = Vec::new();
        for sizes in spec.check.iter().chain(&spec.time) {
            for name in &names {
                let path = self.folder.join(file_name(name, sizes));
                found.push(std::fs::read(path).map_or(String::new(), |bytes| text_hash(&[bytes])));
            }
        }
        text_hash(&found)
    }

    /// Parameters that neither a kernel nor an expression of `spec` names, so that their values make no difference.
    pub fn unused(&self, spec: &Spec) -> Vec<String> {
        let uniform = spec.uniform.values().flat_map(|list| list.all());
        let all = spec.workgroups.iter().chain(&spec.constraints);
        let all = all.chain(spec.constants.values()).chain(uniform);
        let named: BTreeSet<&str> = all.flat_map(|e| e.names()).map(|(_, n)| n).collect();
        let unused = |name: &&String| {
            let kernels = &mut self.kernels.iter();
            // In wgrad's own kernels, an imported file may name the parameter.
            let ours = !self.files.is_empty() || name.as_str() == "KERNEL";
            // A member of the uniform with this name gets the value without a line in the spec.
            let in_text = kernels.any(|kernel| wgsl::mentions(&kernel.text, name));
            !ours && !in_text && !named.contains(name.as_str())
        };
        spec.parameters.keys().filter(unused).cloned().collect()
    }

    /// The spec, parsed.
    pub fn spec(&self) -> Result<Spec> {
        Spec::parse(&self.spec_name, &self.spec)
    }
}

/// A request of the parent process to a worker: one JSON value on each line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Opens the device. The first request.
    Open(Box<Job>),
    /// Check `values` and time them at problem `size` (an index of `time`) by turns with `incumbent`. If they take the
    /// lead, or `watch` is set, run them on an emulated GPU.
    Try {
        /// The candidate's parameters.
        values: Scope,
        /// The index of the timed size.
        size: usize,
        /// The parameters of the best candidate so far.
        incumbent: Option<Scope>,
        /// Whether the emulated GPU runs the candidate even if it does not take the lead.
        watch: bool,
    },
    /// Time `values` and `against` by turns for longer: the final comparison.
    Compare {
        /// The parameters of one side.
        values: Scope,
        /// The parameters of the other side.
        against: Scope,
        /// The index of the timed size.
        size: usize,
    },
    /// Measure the adapter.
    Peak,
}

/// A worker's answer: any number of `Phase`, then one of the others.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The worker's current phase. The parent process reports it if the worker then goes silent.
    Phase(Phase),
    /// The device is open.
    Opened(Machine),
    /// The answer to `Try`.
    Tried(Box<Outcome>),
    /// The answer to `Compare`. Times in seconds.
    Compared {
        /// `values` over `against`, from pairs.
        ratio: Interval,
        /// The time of `values`.
        new: Interval,
        /// The time of `against`.
        old: Interval,
        /// The samples of `values`.
        samples: Vec<f64>,
        /// `against` over itself, from pairs: how far two equal candidates seem apart.
        noise: Interval,
    },
    /// The answer to `Peak`.
    Peak {
        /// 10^9 bytes a second of a copy.
        copy_gbps: f64,
        /// 10^9 f32 operations a second of multiply-adds.
        fma_gflops: f64,
    },
    /// The request is invalid: a mistake in the spec that affects every candidate.
    Failed(String),
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Contents of buffers and references, once for all candidates.
    Prepare,
    /// The candidate's WGSL is built and compiled.
    Compile,
    /// The candidate runs at the checked sizes and is compared with the reference.
    Check,
    /// The candidate is timed.
    Time,
    /// The candidate runs on an emulated GPU.
    Watch,
}

/// The worker's adapter, and the least work of each timed size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The adapter's name.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    /// The back end, such as `Vulkan`.
    pub backend: String,
    /// The kind of adapter, such as `DiscreteGpu` or `Cpu`.
    pub device_type: String,
    /// See [`super::facts`].
    #[serde(default)]
    pub facts: Scope,
    /// Bytes of each timed size, if the spec gives them.
    pub bytes: Vec<f64>,
    /// Operations of each timed size.
    pub flops: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "workgroups = [\"n * LAUNCHED\"]
constraints = [\"BOUND > 0\"]
check = [{ n = 7 }]
time = [{ n = 9 }]
[parameters]
LAUNCHED = [1]
BOUND = [1]
WRITTEN = [1]
NOWHERE = [1, 2]
[[buffers]]
name = \"y\"
dtype = \"f32\"
size = \"n\"
output = true
[reference]
files = { y = \"y_{n}.bin\" }
";

    fn job(folder: PathBuf) -> Job {
        Job {
            name: "k".into(),
            spec_name: "k.toml".into(),
            spec: SPEC.into(),
            kernels: vec![Source {
                name: "k.wgsl".into(),
                text: "// NOWHERE\nconst W = WRITTEN;".into(),
            }],
            reference: None,
            files: Vec::new(),
            folder,
            adapter: None,
            checked: false,
            seed: 0,
        }
    }

    #[test]
    fn parameters_without_a_use_are_found() {
        let job = job(PathBuf::new());
        assert_eq!(job.unused(&job.spec().unwrap()), ["NOWHERE"]);
    }

    #[test]
    fn other_data_has_another_hash() {
        let folder = std::env::temp_dir().join(format!("wgrad-data-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let job = job(folder.clone());
        let spec = job.spec().unwrap();
        let mut seen = vec![job.data_hash(&spec)];
        for (name, bytes) in [("y_7.bin", 1), ("y_9.bin", 2), ("y_9.bin", 3)] {
            std::fs::write(folder.join(name), [bytes; 4]).unwrap();
            let hash = job.data_hash(&spec);
            assert!(!seen.contains(&hash), "{name}");
            seen.push(hash);
        }
        std::fs::write(folder.join("other.bin"), [9; 4]).unwrap();
        assert_eq!(job.data_hash(&spec), seen[3]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
