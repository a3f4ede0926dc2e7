//! Whether a candidate computes what the reference says, twice the same, and keeps within its buffers.

use anyhow::Result;
use wgrad_runtime::BindingKind;

use super::problem::Expected;
use super::{PADDING, POISON, POISON_AGAIN, Problem, Ready, Runner};
use crate::tuner::data;
use crate::tuner::spec::BufferSpec;

impl Runner {
    /// Runs a candidate twice. `Some` says what is wrong.
    pub(super) fn check(
        &self,
        ready: &Ready,
        problem: &Problem,
        expected: &Expected,
    ) -> Result<Option<String>> {
        let bound = self.upload(ready, problem, PADDING)?;
        self.launch(ready, &bound)?;
        let first = self.outputs(ready, &bound)?;
        for (name, bytes, exact) in &first {
            // Where the contents end inside a word, the rest of it counts as the buffer's.
            if bytes[*exact..]
                .chunks(4)
                .any(|word| word != POISON.to_le_bytes())
            {
                return Ok(Some(format!("it wrote behind the end of `{name}`")));
            }
        }
        for (i, (name, bytes, _)) in ready.buffers.iter().zip(&first) {
            let spec = &self.spec.buffers[*i];
            let Some(wanted) = expected.get(i).filter(|_| spec.output) else {
                continue;
            };
            let values = data::unpack(bytes, spec.dtype);
            if let Some(wrong) = self.off(&values, wanted) {
                return Ok(Some(format!("{name}{wrong}")));
            }
        }
        // Other poison where nothing is written: what is left out shows as a difference.
        for (i, bound) in ready.buffers.iter().zip(&bound) {
            let poison = if self.spec.buffers[*i].output {
                POISON_AGAIN
            } else {
                POISON
            };
            self.fill(&bound.buffer, problem.contents[*i].as_deref(), poison)?;
        }
        self.launch(ready, &bound)?;
        let second = self.outputs(ready, &bound)?;
        for ((i, (name, one, exact)), (_, two, _)) in ready.buffers.iter().zip(&first).zip(&second)
        {
            let spec = &self.spec.buffers[*i];
            let used = used_bytes(spec, expected.get(i), *exact);
            if spec.output && one[..used] != two[..used] {
                let element = one.iter().zip(two).position(|(a, b)| a != b).unwrap_or(0) as u64
                    / spec.dtype.bytes();
                return Ok(Some(format!("{name}[{element}] differs between two runs")));
            }
        }
        Ok(None)
    }

    /// Of each binding: name, all bytes (read-only ones left empty), bytes in front of the padding.
    pub(super) fn outputs(
        &self,
        ready: &Ready,
        bound: &[super::launch::Bound],
    ) -> Result<Vec<(String, Vec<u8>, usize)>> {
        let mut found = Vec::new();
        for (binding, bound) in ready.built.info.bindings.iter().zip(bound) {
            let written = binding.kind == BindingKind::ReadWrite;
            let size = if written { bound.buffer.size() } else { 0 };
            let bytes = self.device.read(&bound.buffer, 0, size)?;
            let exact = (bound.exact as usize).min(bytes.len());
            found.push((binding.name.clone(), bytes, exact));
        }
        Ok(found)
    }

    /// The first value beyond the tolerance, and how many there are.
    fn off(&self, values: &[f64], expected: &[f64]) -> Option<String> {
        let far = |(value, wanted): (&f64, &f64)| {
            // Written so that a NaN is far.
            let near = (value - wanted).abs() <= self.spec.atol + self.spec.rtol * wanted.abs();
            !near
        };
        let mut wrong = values
            .iter()
            .zip(expected)
            .enumerate()
            .filter(|(_, pair)| far(*pair));
        let (at, (value, wanted)) = wrong.next()?;
        let count = 1 + wrong.count();
        let all = expected.len();
        Some(format!(
            "[{at}] is {value}, the reference says {wanted} ({count} of {all} values are off)"
        ))
    }
}

/// How much of an output the two runs must agree in: what the reference speaks of, or all.
fn used_bytes(spec: &BufferSpec, expected: Option<&Vec<f64>>, exact: usize) -> usize {
    match expected {
        Some(values) => exact.min(values.len() * spec.dtype.bytes() as usize),
        None => exact,
    }
}
