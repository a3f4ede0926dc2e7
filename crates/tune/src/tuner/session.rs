//! A tuning run: one search for each timed size, candidates tried in worker processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use wgrad_runtime::variants::VariantTable;

use super::expr::Scope;
use super::job::{Job, Machine, Phase, Reply, Request};
use super::outcome::{Outcome, Status, Watched};
use super::results::{Head, Known, Results, known};
use super::search::Strategy;
use super::space::Space;
use super::spec::{Spec, show};
use super::t4;
use super::worker::{Lost, Worker, WorkerCommand};
use crate::bench::stats::Interval;

mod size;

/// Settings of a tuning run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the next choice is picked.
    pub strategy: Strategy,
    /// Seconds for all of it.
    pub budget: f64,
    /// The seed of the search.
    pub seed: u64,
    /// Seconds that one candidate may take from start to end.
    pub time_limit: f64,
    /// The file that outcomes are appended to.
    pub results: PathBuf,
    /// Whether results that the file already holds are used and not measured again.
    pub resume: bool,
    /// Choices that are said to be fast. They are tried first.
    pub table: VariantTable,
}

/// Seconds for opening a device and its first reference.
const OPENING: Duration = Duration::from_secs(60);
/// The progress of a run, told while it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The device is open.
    Opened {
        /// Where the worker runs.
        machine: &'a Machine,
        /// Choices that the constraints allow.
        allowed: usize,
        /// Choices that the constraints forbid, at the size with the most.
        forbidden: u64,
        /// Choices with a result from an earlier run.
        known: usize,
    },
    /// A candidate has ended.
    Tried {
        /// How the candidate ended.
        outcome: &'a Outcome,
        /// The parameters of the best candidate so far.
        incumbent: &'a Scope,
        /// Candidates tried at this size.
        tried: usize,
        /// Choices that the constraints allow at this size.
        allowed: usize,
        /// The time of the best candidate over that of the default.
        best: f64,
        /// Seconds since the run started.
        seconds: f64,
    },
}

/// The result for one problem size.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The problem size.
    pub sizes: Scope,
    /// The parameters that the search started from.
    pub default: Scope,
    /// The fastest correct candidate; the default where none beat it.
    pub best: Outcome,
    /// Seconds of the default and of the best, from the last comparison.
    pub default_time: Interval,
    /// Seconds of the best, from the same comparison.
    pub best_time: Interval,
    /// Default over best: how many times as fast, from pairs.
    pub speedup: Interval,
    /// The share of what the adapter allows, 0 to 1, where known.
    pub roofline: Option<f64>,
    /// Candidates that were tried, this time or before.
    pub tried: usize,
    /// Whether every allowed choice was.
    pub exhausted: bool,
    /// Whether a table had a choice for this size, which then was tried too.
    pub in_table: bool,
}

/// The result of a whole run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was tuned, and where.
    pub head: Head,
    /// The result of each timed size.
    pub tuned: Vec<Tuned>,
    /// The number of candidates for each status; choices that the spec forbids count as `Constraint`.
    pub counts: BTreeMap<Status, u64>,
    /// Every candidate of this run.
    pub outcomes: Vec<Outcome>,
    /// The faults that the emulated GPU found in the defaults and the best. If a default has one, other candidates were not
    /// required to be free of it.
    pub watched: Watched,
    /// Seconds it took.
    pub seconds: f64,
}

/// Tunes `job`.
///
/// # Errors
/// A spec that makes no sense, a device that cannot be opened, a default that fails: without a right
/// answer to start from there is nothing to improve.
pub fn run(
    job: &Job,
    command: &WorkerCommand,
    options: &Options,
    on: &mut dyn FnMut(Event),
) -> Result<Report> {
    let start = Instant::now();
    let (worker, machine) = Worker::start(command, job, OPENING)?;
    let spec = job.spec()?.on(&machine.facts)?;
    let of_size = |sizes| Space::new(&spec, sizes);
    let spaces: Vec<Space> = spec.time.iter().map(of_size).collect::<Result<_>>()?;
    let largest = spaces.iter().max_by_key(|space| space.choices.len());
    let head = head(job, &spec, machine);
    let known = match options.resume {
        true => {
            let defaults: Vec<Scope> = spaces.iter().map(|s| s.values(s.default)).collect();
            known(&options.results, &head, &defaults)?
        }
        false => Vec::new(),
    };
    on(Event::Opened {
        machine: &head.machine,
        allowed: largest.map_or(0, |space| space.choices.len()),
        forbidden: largest.map_or(0, |space| space.forbidden),
        known: known.len(),
    });
    let results = Results::append(&options.results, &head)?;
    let mut session = Session {
        job,
        command,
        options,
        worker: Some(worker),
        results,
        outcomes: Vec::new(),
        known,
        watched: Watched::No,
        start,
    };
    let mut tuned = Vec::new();
    for (size, space) in spaces.iter().enumerate() {
        let share = options.budget * (size + 1) as f64 / spaces.len() as f64;
        tuned.push(session.tune(&head, space, size, share, on)?);
    }
    session.rooflines(&head.machine, &mut tuned);
    let outcomes = session.all_outcomes();
    let forbidden = spaces.iter().map(|space| space.forbidden).sum();
    let mut counts = BTreeMap::from([(Status::Constraint, forbidden)]);
    for outcome in &outcomes {
        *counts.entry(outcome.status).or_default() += 1;
    }
    let of_best = tuned.iter().map(|row| row.best.watched.clone());
    Ok(Report {
        watched: of_best.fold(session.watched, Watched::max),
        head,
        tuned,
        counts,
        outcomes,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn head(job: &Job, spec: &Spec, machine: Machine) -> Head {
    Head {
        kernel: job.name.clone(),
        hash: job.hash(),
        data: job.data_hash(spec),
        seed: job.seed,
        machine,
        sizes: spec.time.clone(),
        checked: job.checked,
    }
}

/// Appends to `results` what the T4 file `text` says of `job`, as a run on this adapter: one that is resumed tries it
/// no more, but checks and times what is said to be fast before it leads. How many results there were, and how many
/// others.
///
/// # Errors
/// No T4, one without a result of this job, a device that cannot be opened.
pub fn import_t4(
    job: &Job,
    command: &WorkerCommand,
    results: &Path,
    text: &str,
) -> Result<(usize, usize)> {
    let (_, machine) = Worker::start(command, job, OPENING)?;
    let spec = job.spec()?.on(&machine.facts)?;
    let (outcomes, others) = t4::import(text, &spec)?;
    let mut results = Results::append(results, &head(job, &spec, machine))?;
    for outcome in &outcomes {
        results.write(outcome)?;
    }
    Ok((outcomes.len(), others))
}

struct Session<'a> {
    job: &'a Job,
    command: &'a WorkerCommand,
    options: &'a Options,
    worker: Option<Worker>,
    results: Results,
    outcomes: Vec<Outcome>,
    known: Vec<Known>,
    /// The worst that was seen of a default.
    watched: Watched,
    start: Instant,
}

impl Session<'_> {
    /// Tries `values`, and writes down what became of them.
    fn attempt(
        &mut self,
        values: &Scope,
        size: usize,
        incumbent: Option<&Scope>,
    ) -> Result<Outcome> {
        let request = Request::Try {
            values: values.clone(),
            size,
            incumbent: incumbent.cloned(),
            watch: !matches!(self.watched, Watched::Fault(_)),
        };
        let limit = Duration::from_secs_f64(self.options.time_limit);
        // Nothing goes on without a default, so it may take longer.
        let limit = if incumbent.is_none() {
            4 * limit
        } else {
            limit
        };
        let outcome = match self.worker()?.ask(&request, limit) {
            Ok(Reply::Tried(outcome)) => *outcome,
            Ok(_) => bail!("the worker answered something else"),
            Err(Lost::Failed(message)) => bail!(message),
            Err(lost) => {
                self.worker = None;
                let status = match &lost {
                    Lost::TimedOut(_) => Status::Timeout,
                    Lost::Died(Phase::Compile, _) => Status::Compile,
                    _ => Status::Runtime,
                };
                Outcome::failed(values.clone(), size, status, lost.describe())
            }
        };
        // A lost device is lost for all that follow.
        if outcome.status == Status::Runtime {
            self.worker = None;
        }
        self.record(&outcome)?;
        Ok(outcome)
    }

    fn record(&mut self, outcome: &Outcome) -> Result<()> {
        self.results.write(outcome)?;
        self.outcomes.push(outcome.clone());
        Ok(())
    }

    /// Of earlier runs and of this one, which counts where both tried a choice.
    fn all_outcomes(&self) -> Vec<Outcome> {
        let key = |outcome: &Outcome| (outcome.size, show(&outcome.values));
        let again: BTreeSet<_> = self.outcomes.iter().map(key).collect();
        let known = self.known.iter().map(|known| &known.outcome);
        let known = known.filter(|outcome| !again.contains(&key(outcome)));
        known.chain(&self.outcomes).cloned().collect()
    }

    /// The worker, a new one if the last was lost.
    fn worker(&mut self) -> Result<&mut Worker> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.command, self.job, OPENING)?.0,
        };
        Ok(self.worker.insert(worker))
    }

    /// What the adapter allows over what was reached. Left out where it cannot be measured.
    fn rooflines(&mut self, machine: &Machine, tuned: &mut [Tuned]) {
        let Ok(worker) = self.worker() else { return };
        let Ok(Reply::Peak {
            copy_gbps,
            fma_gflops,
        }) = worker.ask(&Request::Peak, OPENING)
        else {
            return;
        };
        for (i, row) in tuned.iter_mut().enumerate() {
            let work = |all: &[f64]| all.get(i).copied().unwrap_or(0.0);
            let least = (work(&machine.bytes) / (copy_gbps * 1e9))
                .max(work(&machine.flops) / (fma_gflops * 1e9));
            row.roofline = Some(least / row.best_time.median)
                .filter(|share| share.is_finite() && *share > 0.0);
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
