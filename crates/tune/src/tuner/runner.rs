//! The device side of tuning: compiles, checks and times candidates. It runs in a worker process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use wgrad_runtime::{Buffer, Device, DeviceOptions, Kernel};

use super::build::{Built, Refused, build, check_limits};
use super::expr::{Expr, Scope};
use super::facts;
use super::job::{Job, Machine, Phase, Reply, Source};
use super::outcome::{Needs, Outcome, Status, Watched};
use super::spec::{Spec, show};
use crate::bench::Meter;

mod check;
mod cut;
mod launch;
mod problem;
mod time;
mod watch;

use problem::{Expected, Problem};

/// Bytes behind every buffer while candidates are checked.
const PADDING: u64 = 1024;
/// This word is NaN as f32 and as two f16, and an index beyond every range.
const POISON: u32 = 0xffc5_ffc5;
/// The contents of outputs before the second run: another NaN.
const POISON_AGAIN: u32 = 0x7fab_ffab;
/// The largest number of cached pipelines.
const KERNELS: usize = 200;

/// A candidate compiled for one problem size.
#[derive(Clone)]
struct Ready {
    kernel: Arc<Kernel>,
    built: Arc<Built>,
    /// The buffer of each binding.
    buffers: Vec<usize>,
    /// Seconds of a launch by the host's clock; 0 before the first launch.
    first: f64,
}

/// A worker's state.
pub struct Runner {
    device: Device,
    job: Arc<Job>,
    spec: Arc<Spec>,
    meter: Option<Meter>,
    /// The checked sizes, then the timed ones. Each is made when first needed, and so are its expected outputs.
    problems: Vec<Option<Arc<Problem>>>,
    expected: BTreeMap<usize, Arc<Expected>>,
    /// The read-only buffers of the problem timed last, by their index in the spec.
    inputs: (usize, BTreeMap<usize, Buffer>),
    compiled: BTreeMap<(String, usize), Ready>,
    /// By WGSL text: if sizes are not constants, one pipeline serves all of them.
    kernels: BTreeMap<String, Arc<Kernel>>,
    /// A runner on an emulated GPU, made when first needed.
    watcher: Option<Box<Runner>>,
    /// The rounds after which the adapter cuts a loop, once it was tried.
    cut: Option<Option<u32>>,
}

impl Runner {
    /// Opens the device.
    ///
    /// # Errors
    /// There is no such adapter, or the spec does not fit the kernel.
    pub fn open(job: Job) -> Result<Runner> {
        let device = Device::open(DeviceOptions {
            adapter: job.adapter.clone(),
            checked: job.checked,
            ..DeviceOptions::default()
        })?;
        let spec = job.spec()?.on(&facts::of(&device))?;
        Ok(Runner::on(device, Arc::new(job), Arc::new(spec)))
    }

    fn on(device: Device, job: Arc<Job>, spec: Arc<Spec>) -> Runner {
        let count = spec.check.len() + spec.time.len();
        Runner {
            device,
            job,
            spec,
            meter: None,
            problems: vec![None; count],
            expected: BTreeMap::new(),
            inputs: (0, BTreeMap::new()),
            compiled: BTreeMap::new(),
            kernels: BTreeMap::new(),
            watcher: None,
            cut: None,
        }
    }

    /// The adapter, and the least work of each timed size.
    pub fn machine(&self) -> Result<Machine> {
        let adapter = self.device.adapter();
        let cost =
            |given: &Option<Expr>, otherwise: &dyn Fn(&Scope) -> Result<f64>| -> Result<Vec<f64>> {
                let of = |sizes: &Scope| match given {
                    Some(expr) => Ok(expr.count(sizes)? as f64),
                    None => otherwise(sizes),
                };
                self.spec.time.iter().map(of).collect()
            };
        let all_buffers = |sizes: &Scope| -> Result<f64> {
            let mut bytes = 0;
            for buffer in &self.spec.buffers {
                let twice = u64::from(buffer.output && buffer.fill.is_some());
                bytes += buffer.bytes(sizes)? * (1 + twice);
            }
            Ok(bytes as f64)
        };
        Ok(Machine {
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            backend: adapter.backend.clone(),
            device_type: adapter.device_type.clone(),
            facts: self.spec.facts.clone(),
            bytes: cost(&self.spec.bytes, &all_buffers)?,
            flops: cost(&self.spec.flops, &|_| Ok(0.0))?,
        })
    }

    /// The adapter's measured limits.
    pub fn peak(&self) -> Result<Reply> {
        let peak = self.device.measure_peak()?;
        Ok(Reply::Peak {
            copy_gbps: peak.copy_gbps,
            fma_gflops: peak.fma_gflops,
        })
    }

    /// Checks `values` at every checked size and, if they are correct, times them at timed size `size`. A candidate that
    /// takes the lead, or any with `watch`, also runs on an emulated GPU. A fault there fails the candidate, except the
    /// default, which others are timed against whether or not it can win.
    ///
    /// # Errors
    /// A mistake in the spec, or an incumbent that fails; a candidate's own failure is an outcome.
    pub fn attempt(
        &mut self,
        values: &Scope,
        size: usize,
        incumbent: Option<&Scope>,
        watch: bool,
        phase: &mut dyn FnMut(Phase),
    ) -> Result<Outcome> {
        let timed = self.spec.check.len() + size;
        if timed >= self.problems.len() {
            bail!("no timed size {size}");
        }
        let mut checked = Vec::new();
        for (at, sizes) in self.spec.check.iter().enumerate() {
            if self.spec.allows(values, sizes)? {
                checked.push(at);
            }
        }
        if self.spec.check_timed {
            checked.push(timed);
        }
        if checked.is_empty() {
            bail!(
                "the constraints allow {} at none of the sizes of `check`; add one",
                show(values)
            );
        }
        let mut outcome = Outcome::failed(values.clone(), size, Status::Correct, "");
        outcome.message = None;
        let start = Instant::now();
        let fail = |outcome: Outcome, status: Status, message: String| {
            let failed = Outcome::failed(outcome.values.clone(), size, status, message);
            Ok(Outcome {
                compile_seconds: outcome.compile_seconds,
                check_seconds: outcome.check_seconds,
                needs: outcome.needs,
                watched: outcome.watched,
                ..failed
            })
        };
        for at in checked {
            if !self.expected.contains_key(&at) {
                phase(Phase::Prepare);
            }
            let problem = self.problem(at)?;
            let expected = self.expected(at)?;
            phase(Phase::Compile);
            let start = Instant::now();
            let ready = self.ready(values, at);
            outcome.compile_seconds += start.elapsed().as_secs_f64();
            let ready = match ready {
                Ok(ready) => ready,
                Err(Refused::Compile(message)) => return fail(outcome, Status::Compile, message),
                Err(Refused::Constraint(message)) => {
                    return fail(outcome, Status::Constraint, message);
                }
            };
            outcome.needs = needs(&ready.built);
            phase(Phase::Check);
            match self.check(&ready, &problem, &expected) {
                Ok(None) => {}
                Ok(Some(wrong)) => {
                    let message = format!("{wrong} at {}", show(&problem.sizes));
                    phase(Phase::Watch);
                    let (status, message) = self.blame(values, at, &expected, message);
                    return fail(outcome, status, message);
                }
                Err(error) => return fail(outcome, Status::Runtime, error.to_string()),
            }
        }
        outcome.check_seconds = start.elapsed().as_secs_f64() - outcome.compile_seconds;
        if self.problems[timed].is_none() {
            phase(Phase::Prepare);
            self.problem(timed)?;
        }
        phase(Phase::Time);
        match self.time(values, timed, incumbent) {
            Ok((time, samples, ratio, launch_seconds)) => {
                outcome.launch_seconds = launch_seconds;
                outcome.time = Some(time);
                outcome.samples = samples;
                outcome.ratio = ratio;
            }
            Err(error) => return fail(outcome, Status::Runtime, error.to_string()),
        }
        if watch || incumbent.is_none() || outcome.lead().is_some() {
            phase(Phase::Watch);
            outcome.watched = self.watch(values);
            if let (Watched::Fault(message), true) = (&outcome.watched, incumbent.is_some()) {
                let message = message.clone();
                return fail(outcome, Status::Correctness, message);
            }
        }
        Ok(outcome)
    }

    /// Compiles `values` for problem `at`, or takes them from the cache.
    fn ready(&mut self, values: &Scope, at: usize) -> Result<Ready, Refused> {
        let key = (show(values), at);
        if let Some(found) = self.compiled.get(&key) {
            return Ok(found.clone());
        }
        let kernel = match values.get("KERNEL") {
            Some(super::expr::Value::Int(i)) if self.job.kernels.len() > 1 => *i as usize,
            _ => 0,
        };
        let job = self.job.clone();
        let source = job
            .kernels
            .get(kernel)
            .ok_or_else(|| Refused::Compile("no such kernel file".into()))?;
        let sizes = self.sizes(at).clone();
        let (entry, workgroups) = (self.spec.entry.as_deref(), &self.spec.workgroups);
        let built = build(&self.spec, source, entry, workgroups, values, &sizes)?;
        let ready = self.compile(source, built)?;
        self.compiled.insert(key, ready.clone());
        Ok(ready)
    }

    fn compile(&mut self, source: &Source, built: Built) -> Result<Ready, Refused> {
        check_limits(&self.device, &built)?;
        let mut buffers = Vec::new();
        for binding in &built.info.bindings {
            let found = self
                .spec
                .buffers
                .iter()
                .position(|b| b.name == binding.name);
            let names: Vec<&str> = self.spec.buffers.iter().map(|b| b.name.as_str()).collect();
            let missing = || {
                format!(
                    "the kernel binds `{}`, the spec's buffers are {}",
                    binding.name,
                    names.join(", ")
                )
            };
            buffers.push(found.ok_or_else(|| Refused::Compile(missing()))?);
        }
        if self.kernels.len() >= KERNELS {
            self.kernels.clear();
            self.compiled.clear();
        }
        let kernel = match self.kernels.get(&built.text) {
            Some(kernel) => kernel.clone(),
            None => {
                // SAFETY: what is tuned is trusted as it will run: in a process of its own, held against a reference
                // with guard words behind every buffer before it is timed.
                let compiled = unsafe { self.device.compile_trusted(&source.name, &built.text) };
                let kernel = Arc::new(compiled.map_err(|e| Refused::Compile(e.to_string()))?);
                self.kernels.insert(built.text.clone(), kernel.clone());
                kernel
            }
        };
        Ok(Ready {
            kernel,
            built: Arc::new(built),
            buffers,
            first: 0.0,
        })
    }
}

fn needs(built: &Built) -> Needs {
    Needs {
        invocations: built.info.workgroup_size.iter().product(),
        workgroup_bytes: built.info.workgroup_bytes,
    }
}

#[cfg(test)]
mod tests;
