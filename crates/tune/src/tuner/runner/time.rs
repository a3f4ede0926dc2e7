//! Times candidates by turns with the best so far.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use wgrad_runtime::BindingKind;

use super::launch::Bound;
use super::{POISON, Ready, Runner};
use crate::bench::stats::{Interval, paired_ratio};
use crate::bench::{Measurement, Meter, Settings};
use crate::tuner::build::Refused;
use crate::tuner::expr::Scope;
use crate::tuner::job::Reply;
use crate::tuner::spec::show;

/// A candidate whose first launch is slower than the incumbent's by this factor is not timed exactly.
const HOPELESS: f64 = 2.0;

/// Settings for timing candidates by turns with the incumbent: a few tenths of a second.
fn by_turns() -> Settings {
    Settings {
        warmup: 0.03,
        sample: 0.002,
        floor: 7,
        most: 40,
        uncertainty: 0.02,
        budget: 0.2,
        ..Settings::default()
    }
}

/// Seconds, samples, and the ratio to another candidate's.
type Timed = (Interval, Vec<f64>, Option<Interval>, f64);

impl Runner {
    /// Seconds of `values`, the samples, the ratio to the incumbent's time, from pairs of samples, and the seconds of a
    /// launch that does nothing.
    pub(super) fn time(
        &mut self,
        values: &Scope,
        at: usize,
        incumbent: Option<&Scope>,
    ) -> Result<Timed> {
        let candidate = self.timed(values, at)?;
        let Some(incumbent) = incumbent else {
            let mut all = self.interleave(&[&candidate], by_turns(), at)?;
            let only = all.pop().ok_or_else(|| anyhow!("nothing was measured"))?;
            return Ok((only.time, only.samples, None, only.overhead));
        };
        let rival = self.timed(incumbent, at)?;
        if candidate.first > HOPELESS * rival.first {
            // Time it again by turns: another program may have slowed the machine down.
            let (new, old) = (self.once(&candidate, at)?, self.once(&rival, at)?);
            if new > HOPELESS * old {
                let point = |value| Interval {
                    median: value,
                    low: value,
                    high: value,
                };
                return Ok((point(new), vec![new], Some(point(new / old)), 0.0));
            }
        }
        let mut both = self.interleave(&[&candidate, &rival], by_turns(), at)?;
        let (Some(old), Some(new)) = (both.pop(), both.pop()) else {
            bail!("nothing was measured");
        };
        let ratio = paired_ratio(&new.samples, &old.samples);
        Ok((new.time, new.samples, Some(ratio), new.overhead))
    }

    /// Times `values`, `against` and `against` once more by turns for some seconds.
    pub fn compare(&mut self, values: &Scope, against: &Scope, size: usize) -> Result<Reply> {
        let at = self.spec.check.len() + size;
        let pair = [self.timed(values, at)?, self.timed(against, at)?];
        let settings = Settings {
            warmup: 0.1,
            floor: 15,
            most: 60,
            budget: 1.0,
            ..by_turns()
        };
        let mut all = self.interleave(&[&pair[0], &pair[1], &pair[1]], settings, at)?;
        let (Some(again), Some(old), Some(new)) = (all.pop(), all.pop(), all.pop()) else {
            bail!("nothing was measured");
        };
        Ok(Reply::Compared {
            ratio: paired_ratio(&new.samples, &old.samples),
            noise: paired_ratio(&again.samples, &old.samples),
            new: new.time,
            old: old.time,
            samples: new.samples,
        })
    }

    /// A candidate at a size, launched at least twice: some drivers compile at the first launch.
    fn timed(&mut self, values: &Scope, at: usize) -> Result<Ready> {
        let mut ready = self.ready(values, at).map_err(|refused| match refused {
            Refused::Compile(message) | Refused::Constraint(message) => anyhow!(message),
        })?;
        if ready.first == 0.0 {
            self.once(&ready, at)?;
            ready.first = self.once(&ready, at)?;
            self.compiled.insert((show(values), at), ready.clone());
        }
        Ok(ready)
    }

    /// Buffers for timing a candidate at problem `at`. Read-only buffers are uploaded once for all candidates, and outputs
    /// without first contents are not filled: at large sizes that takes longer than the launches.
    fn placed(&mut self, ready: &Ready, at: usize) -> Result<Vec<Bound>> {
        let problem = self.problem(at)?;
        if self.inputs.0 != at {
            self.inputs = (at, BTreeMap::new());
        }
        let mut bound = Vec::new();
        for (binding, i) in ready.built.info.bindings.iter().zip(&ready.buffers) {
            let shared = binding.kind != BindingKind::ReadWrite;
            if let Some(buffer) = self.inputs.1.get(i).filter(|_| shared) {
                let (buffer, exact) = (buffer.clone(), buffer.size());
                bound.push(Bound { buffer, exact });
                continue;
            }
            let exact = self.exact_bytes(*i, &problem)?;
            let buffer = self.device.alloc(exact)?;
            if let Some(contents) = &problem.contents[*i] {
                self.fill(&buffer, Some(contents), POISON)?;
            }
            if shared {
                self.inputs.1.insert(*i, buffer.clone());
            }
            bound.push(Bound { buffer, exact });
        }
        Ok(bound)
    }

    /// Seconds of one launch by the host's clock.
    fn once(&mut self, ready: &Ready, at: usize) -> Result<f64> {
        let buffers = self.placed(ready, at)?;
        self.device.synchronize()?;
        let start = Instant::now();
        self.launch(ready, &buffers)?;
        self.device.synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn interleave(
        &mut self,
        all: &[&Ready],
        settings: Settings,
        at: usize,
    ) -> Result<Vec<Measurement>> {
        let uploaded = all
            .iter()
            .map(|ready| self.placed(ready, at))
            .collect::<Result<Vec<_>>>()?;
        let mut meter = match self.meter.take() {
            Some(meter) => meter,
            None => Meter::new(&self.device, settings.clone())?,
        };
        meter.settings = settings;
        let mut calls: Vec<Box<dyn FnMut() -> Result<()> + '_>> = Vec::new();
        for (ready, buffers) in all.iter().zip(&uploaded) {
            calls.push(Box::new(|| self.launch(ready, buffers)));
        }
        let mut borrowed: Vec<&mut dyn FnMut() -> Result<()>> = Vec::new();
        for call in &mut calls {
            borrowed.push(&mut **call);
        }
        let measured = meter.interleave(&mut borrowed);
        drop(borrowed);
        drop(calls);
        self.meter = Some(meter);
        measured
    }
}
