//! Problem sizes: the first contents of the buffers, and the reference's results.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use wgrad_runtime::BindingKind;

use super::Runner;
use crate::tuner::build::{Refused, build};
use crate::tuner::expr::Scope;
use crate::tuner::spec::show;
use crate::tuner::{data, reference};

/// The expected outputs, by the index of their buffer.
pub(super) type Expected = BTreeMap<usize, Vec<f64>>;

/// A problem size: first contents of the buffers.
pub(super) struct Problem {
    /// The names of the sizes and their values.
    pub sizes: Scope,
    /// For each buffer; `None` for outputs without first contents.
    pub contents: Vec<Option<Vec<u8>>>,
}

impl Runner {
    pub(super) fn sizes(&self, at: usize) -> &Scope {
        let checked = self.spec.check.len();
        match self.spec.check.get(at) {
            Some(sizes) => sizes,
            None => &self.spec.time[at - checked],
        }
    }

    /// The contents and expected outputs of problem `at`.
    pub(super) fn problem(&mut self, at: usize) -> Result<Arc<Problem>> {
        if let Some(found) = &self.problems[at] {
            return Ok(found.clone());
        }
        let sizes = self.sizes(at).clone();
        let mut contents = Vec::new();
        for (i, buffer) in self.spec.buffers.iter().enumerate() {
            let seed = self.job.seed.wrapping_add(1000 * at as u64 + i as u64);
            contents.push(data::contents(buffer, &sizes, &self.job.folder, seed)?);
        }
        let problem = Arc::new(Problem { sizes, contents });
        self.problems[at] = Some(problem.clone());
        Ok(problem)
    }

    /// The expected outputs of problem `at`, by buffer.
    pub(super) fn expected(&mut self, at: usize) -> Result<Arc<Expected>> {
        if let Some(found) = self.expected.get(&at) {
            return Ok(found.clone());
        }
        let problem = self.problem(at)?;
        let expected = self.reference(&problem)?;
        self.all_expected(&expected, &problem.sizes)?;
        let expected = Arc::new(expected);
        self.expected.insert(at, expected.clone());
        Ok(expected)
    }

    /// Fails unless `expected` has a value for every element of every output that is checked.
    fn all_expected(&self, expected: &Expected, sizes: &Scope) -> Result<()> {
        for (i, buffer) in self.spec.buffers.iter().enumerate() {
            if !buffer.output || buffer.unchecked {
                continue;
            }
            let (name, needed) = (&buffer.name, buffer.size.count(sizes)?);
            match expected.get(&i).map(Vec::len) {
                Some(given) if given as u64 == needed => {}
                Some(given) => bail!(
                    "the reference has {given} values for the output `{name}`, which has {needed} at {}",
                    show(sizes)
                ),
                None => bail!(
                    "the reference says nothing of the output `{name}`; let it write it, or give the buffer \
                     unchecked = true"
                ),
            }
        }
        Ok(())
    }

    /// Computes the reference's results for a problem.
    fn reference(&mut self, problem: &Problem) -> Result<Expected> {
        let (job, spec) = (self.job.clone(), self.spec.clone());
        let at = |name: &str| spec.buffers.iter().position(|b| b.name == name);
        let reference = &spec.reference;
        let mut expected = BTreeMap::new();
        if let Some(name) = &reference.builtin {
            let inputs: Vec<usize> = match reference.inputs.is_empty() {
                false => reference.inputs.iter().filter_map(|n| at(n)).collect(),
                true => (0..spec.buffers.len())
                    .filter(|i| !spec.buffers[*i].output)
                    .collect(),
            };
            let values: Vec<Vec<f64>> = inputs
                .iter()
                .map(|i| {
                    data::unpack(
                        problem.contents[*i].as_deref().unwrap_or(&[]),
                        spec.buffers[*i].dtype,
                    )
                })
                .collect();
            let slices: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            let mut shape = BTreeMap::new();
            for (name, expr) in &reference.shape {
                shape.insert(name.clone(), expr.count(&problem.sizes)?);
            }
            let results = reference::compute(name, &slices, &shape).map_err(|e| anyhow!(e))?;
            let outputs = spec.builtin_outputs();
            if outputs.len() > results.len() {
                let (named, made) = (outputs.len(), results.len());
                bail!("[reference] names {named} outputs, `{name}` computes {made}");
            }
            let outputs = outputs.iter().filter_map(|name| at(name));
            expected.extend(outputs.zip(results));
        }
        for (name, file) in &reference.files {
            let Some(i) = at(name) else { continue };
            let count = spec.buffers[i].size.count(&problem.sizes)? as usize;
            let bytes = data::read_file(
                file,
                &problem.sizes,
                &job.folder,
                count,
                spec.buffers[i].dtype,
            )?;
            expected.insert(i, data::unpack(&bytes, spec.buffers[i].dtype));
        }
        if let Some(source) = &job.reference {
            // Also where the constraints forbid the default: constraints apply to candidates, not to the reference kernel.
            let values = spec.default_at(&problem.sizes)?;
            let failed = |refused: Refused| match refused {
                Refused::Compile(m) | Refused::Constraint(m) => {
                    anyhow!("the reference kernel: {m}")
                }
            };
            let built = build(
                &spec,
                source,
                reference.entry.as_deref(),
                &reference.workgroups,
                &values,
                &problem.sizes,
            )
            .map_err(failed)?;
            let ready = self.compile(source, built).map_err(failed)?;
            let buffers = self.upload(&ready, problem, 0)?;
            self.launch(&ready, &buffers)?;
            let bindings = ready.built.info.bindings.iter();
            for ((i, bound), binding) in ready.buffers.iter().zip(&buffers).zip(bindings) {
                let buffer = &spec.buffers[*i];
                let written = binding.kind == BindingKind::ReadWrite;
                if buffer.output && !buffer.unchecked && written {
                    let bytes = self.device.read(&bound.buffer, 0, bound.exact)?;
                    let mut values = data::unpack(&bytes, spec.buffers[*i].dtype);
                    values.truncate(spec.buffers[*i].size.count(&problem.sizes)? as usize);
                    expected.insert(*i, values);
                }
            }
        }
        Ok(expected)
    }
}
