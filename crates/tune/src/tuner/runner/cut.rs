//! Software adapters end a loop after 65,535 rounds without a word. A kernel that is wrong for this reason alone is told
//! apart from one that is wrong.

use std::time::Duration;

use anyhow::Result;

use super::check::off;
use super::problem::Expected;
use super::{Runner, Status};
use crate::tuner::data;
use crate::tuner::expr::Scope;

/// How long the kernel may run on the emulated GPU.
const LIMIT: Duration = Duration::from_secs(60);
/// Rounds of the loop that is tried, more than an adapter that cuts loops makes.
const ROUNDS: u32 = 100_000;
/// Counts in memory, so that no compiler can leave the loop out.
const PROBE: &str = "struct P { rounds: u32 }
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn probe() {
    for (var i = 0u; i < p.rounds; i++) { y[0] = y[0] + 1u; }
}";

impl Runner {
    /// The status and message of a candidate that computed wrong values at problem `at`: `message` says which.
    pub(super) fn blame(
        &mut self,
        values: &Scope,
        at: usize,
        expected: &Expected,
        message: String,
    ) -> (Status, String) {
        let Some(rounds) = self.cut() else {
            return (Status::Correctness, message);
        };
        let cuts = format!("this adapter cuts loops at {} rounds", grouped(rounds));
        match self.right_when_emulated(values, at, expected) {
            Ok(true) => (
                Status::Constraint,
                format!(
                    "{cuts} ({message}); the kernel is right on the emulated GPU: give its loops fewer rounds for this adapter"
                ),
            ),
            Ok(false) => (Status::Correctness, message),
            Err(_) => (
                Status::Correctness,
                format!(
                    "{message}; {cuts}, and the emulated GPU could not show whether that is why"
                ),
            ),
        }
    }

    /// The rounds after which the adapter cuts a loop; `None` if it does not.
    fn cut(&mut self) -> Option<u32> {
        if self.cut.is_none() {
            self.cut = Some(self.probe().ok().filter(|rounds| *rounds < ROUNDS));
        }
        self.cut.flatten()
    }

    fn probe(&self) -> Result<u32> {
        // SAFETY: the kernel above touches one word that is bound.
        let kernel = unsafe { self.device.compile_trusted("probe", PROBE) }?;
        let kernel = std::sync::Arc::new(kernel);
        let y = self.device.alloc(4)?;
        self.device.upload(&y, 0, &[0; 4])?;
        let launch = self.device.launch(&kernel).u32("rounds", ROUNDS as usize);
        launch.bind(&y).groups(1)?;
        let bytes = self.device.read(&y, 0, 4)?;
        Ok(data::unpack(&bytes, crate::tuner::spec::Dtype::U32)
            .first()
            .map_or(0, |count| *count as u32))
    }

    fn right_when_emulated(
        &mut self,
        values: &Scope,
        at: usize,
        expected: &Expected,
    ) -> Result<bool> {
        let mut emulated = self.emulated(LIMIT)?;
        let problem = self.problem(at)?;
        let ready = emulated
            .ready(values, at)
            .map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        let bound = emulated.upload(&ready, &problem, 0)?;
        emulated.launch(&ready, &bound)?;
        let outputs = emulated.outputs(&ready, &bound)?;
        let bindings = &ready.built.info.bindings;
        for ((i, (_, bytes, exact)), binding) in ready.buffers.iter().zip(&outputs).zip(bindings) {
            let spec = &self.spec.buffers[*i];
            let Some(reference) = expected.get(i).filter(|_| spec.output) else {
                continue;
            };
            let found = data::unpack(&bytes[..*exact], spec.dtype);
            let width = spec.dtype.bytes() as usize;
            let is_padding = |at: usize| {
                binding
                    .padding
                    .as_ref()
                    .is_some_and(|p| p.holds(at * width))
            };
            let tolerance = self.spec.tolerance(spec.dtype);
            if off(&found, reference, tolerance, &is_padding).is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// 65535 as 65,535.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (7, "7"),
            (999, "999"),
            (65_535, "65,535"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
