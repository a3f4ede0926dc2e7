//! Checks that a candidate matches the reference, gives the same bytes twice, and stays within its buffers.

use anyhow::Result;
use wgrad_runtime::BindingKind;

use super::problem::Expected;
use super::{PADDING, POISON, POISON_AGAIN, Problem, Ready, Runner};
use crate::tuner::build::padded;
use crate::tuner::data;

impl Runner {
    /// Runs a candidate twice. Returns what is wrong, or `None`.
    pub(super) fn check(
        &self,
        ready: &Ready,
        problem: &Problem,
        expected: &Expected,
    ) -> Result<Option<String>> {
        if let Some(name) = self.never_written(ready) {
            return Ok(Some(format!("it never writes output `{name}`")));
        }
        // What a kernel cannot write is not compared.
        let padding = |name: &str| {
            let mut all = ready.built.info.bindings.iter();
            all.find(|b| b.name == name)
                .and_then(|b| b.padding.as_ref())
        };
        let bound = self.upload(ready, problem, PADDING)?;
        self.launch(ready, &bound)?;
        let first = self.outputs(ready, &bound)?;
        for (name, bytes, exact) in &first {
            // If the contents end inside a word, the rest of that word counts as part of the buffer.
            if bytes[*exact..]
                .chunks(4)
                .any(|word| word != POISON.to_le_bytes())
            {
                let hint = padding(name).map_or(String::new(), |p| format!(": {}", padded(p)));
                return Ok(Some(format!("it wrote past the end of `{name}`{hint}")));
            }
        }
        for (i, (name, bytes, _)) in ready.buffers.iter().zip(&first) {
            let spec = &self.spec.buffers[*i];
            let Some(reference) = expected.get(i).filter(|_| spec.output) else {
                continue;
            };
            let values = data::unpack(bytes, spec.dtype);
            let width = spec.dtype.bytes() as usize;
            let is_padding = |at: usize| padding(name).is_some_and(|p| p.holds(at * width));
            let tolerance = self.spec.tolerance(spec.dtype);
            if let Some(wrong) = off(&values, reference, tolerance, &is_padding) {
                return Ok(Some(format!("{name}{wrong}")));
            }
        }
        // The second run uses another poison, so that elements that are not written differ.
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
            // Without the bytes that fill up the last word.
            let used = (*exact).min(spec.bytes(&problem.sizes)? as usize);
            let is_padding = |at: usize| padding(name).is_some_and(|p| p.holds(at));
            let differs = |at: &usize| one[*at] != two[*at] && !is_padding(*at);
            if let Some(at) = (0..used).find(differs).filter(|_| spec.output) {
                let element = at as u64 / spec.dtype.bytes();
                return Ok(Some(format!("{name}[{element}] differs between two runs")));
            }
        }
        Ok(None)
    }

    /// An output that the candidate does not bind, or binds for reading only. It would not be compared otherwise.
    fn never_written(&self, ready: &Ready) -> Option<&str> {
        let written: Vec<usize> = ready
            .buffers
            .iter()
            .zip(&ready.built.info.bindings)
            .filter(|(_, binding)| binding.kind == BindingKind::ReadWrite)
            .map(|(i, _)| *i)
            .collect();
        let mut all = self.spec.buffers.iter().enumerate();
        let missing = all.find(|(i, buffer)| buffer.output && !written.contains(i));
        missing.map(|(_, buffer)| buffer.name.as_str())
    }

    /// For each binding: the name, all bytes (empty for read-only bindings), the number of bytes before the padding.
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
}

/// The first value beyond the tolerance (relative, absolute), and how many there are; padding does not count.
pub(super) fn off(
    values: &[f64],
    expected: &[f64],
    tolerance: (f64, f64),
    is_padding: &dyn Fn(usize) -> bool,
) -> Option<String> {
    let all = expected.len();
    let mut wrong = values
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(at, (value, expected))| {
            !near(**value, **expected, tolerance) && !is_padding(*at)
        });
    let (at, (value, expected)) = wrong.next()?;
    let count = 1 + wrong.count();
    Some(format!(
        "[{at}] is {value}, the reference says {expected} ({count} of {all} values are off)"
    ))
}

/// Whether `value` is within the tolerance of `expected`. Only infinity is near infinity; only NaN matches NaN.
fn near(value: f64, expected: f64, (relative, absolute): (f64, f64)) -> bool {
    value == expected
        || expected.is_nan() && value.is_nan()
        || expected.is_finite() && (value - expected).abs() <= absolute + relative * expected.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nan_match_only_themselves() {
        let (inf, nan, tolerance) = (f64::INFINITY, f64::NAN, (1e-5, 1e-6));
        for (value, expected, fits) in [
            (1.0, 1.000001, true),
            (1.0, 1.1, false),
            (3.0, inf, false),
            (-inf, inf, false),
            (inf, inf, true),
            (inf, 3.0, false),
            (nan, 3.0, false),
            (3.0, nan, false),
            (nan, nan, true),
        ] {
            assert_eq!(
                near(value, expected, tolerance),
                fits,
                "{value} for {expected}"
            );
        }
    }
}
