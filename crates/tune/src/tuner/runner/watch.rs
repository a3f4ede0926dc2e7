//! Candidates that take the lead also run on an emulated GPU, which finds faults that a real device does not report.
//! A candidate that was not watched to its end does not win.

use std::time::{Duration, Instant};

use anyhow::Result;
use wgrad_runtime::{Device, DeviceOptions, Emulated, Error};

use super::Runner;
use crate::tuner::build::Refused;
use crate::tuner::expr::Scope;
use crate::tuner::outcome::Watched;
use crate::tuner::spec::show;

/// The time limit for one size.
const LIMIT: Duration = Duration::from_secs(10);
/// The time limit for all sizes of a candidate.
const LIMIT_OF_ALL: Duration = Duration::from_secs(20);
/// The emulated subgroup size if the adapter's subgroups have no fixed size.
const USUAL_SUBGROUP: u32 = 32;

impl Runner {
    /// Runs `values` at the checked sizes, where they passed on the device, on an emulated GPU with the same subgroups.
    /// It reports races, stray indices and barriers that not all invocations reach.
    pub(super) fn watch(&mut self, values: &Scope) -> Watched {
        let start = Instant::now();
        let seen = self.watcher().and_then(|watcher| {
            for (at, sizes) in watcher.spec.clone().check.iter().enumerate() {
                if !watcher.spec.allows(values, sizes)? {
                    continue;
                }
                if start.elapsed() >= LIMIT_OF_ALL {
                    let message =
                        format!("no time for {}; give smaller sizes in check", show(sizes));
                    return Ok(Watched::Unknown(message));
                }
                watcher.emulate(values, at)?;
            }
            Ok(Watched::Clean)
        });
        let error = match seen {
            Ok(watched) => return watched,
            Err(error) => error,
        };
        match error.downcast_ref::<Error>() {
            Some(Error::Fault { message, .. }) => Watched::Fault(message.clone()),
            Some(Error::Kernel { message, .. }) => Watched::Unknown(message.clone()),
            _ => Watched::Unknown(error.to_string()),
        }
    }

    fn watcher(&mut self) -> Result<&mut Runner> {
        let watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => Box::new(self.emulated(LIMIT)?),
        };
        Ok(self.watcher.insert(watcher))
    }

    /// The same job on an emulated GPU like this one, whose launches may take `limit`.
    pub(super) fn emulated(&self, limit: Duration) -> Result<Runner> {
        let device = Device::open(DeviceOptions {
            adapter: self.job.adapter.clone(),
            checked: self.job.checked,
            emulated: Some(Emulated {
                subgroup_size: self.device.subgroup_size().unwrap_or(USUAL_SUBGROUP),
                matrix_unit: self.device.matrix_unit(),
                limit: Some(limit),
                counts: false,
            }),
            ..DeviceOptions::default()
        })?;
        Ok(Runner::on(device, self.job.clone(), self.spec.clone()))
    }

    /// One launch at checked size `at`.
    fn emulate(&mut self, values: &Scope, at: usize) -> Result<()> {
        let problem = self.problem(at)?;
        let ready = self.ready(values, at).map_err(|refused| match refused {
            Refused::Compile(message) | Refused::Constraint(message) => anyhow::anyhow!(message),
        })?;
        let bound = self.upload(&ready, &problem, 0)?;
        self.launch(&ready, &bound)?;
        let run = self.outputs(&ready, &bound).map(|_| ());
        run.map_err(|error| match error.downcast::<Error>() {
            Ok(Error::Fault { kernel, message }) => {
                let message = format!("{message} at {}", show(&problem.sizes));
                Error::Fault { kernel, message }.into()
            }
            Ok(other) => other.into(),
            Err(error) => error,
        })
    }
}
