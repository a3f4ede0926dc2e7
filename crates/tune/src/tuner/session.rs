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
    /// How the search picks the next choice.
    pub strategy: Strategy,
    /// Seconds for the whole run.
    pub budget: f64,
    /// The seed of the search.
    pub seed: u64,
    /// Seconds that one candidate may take from start to end.
    pub time_limit: f64,
    /// The file that outcomes are appended to.
    pub results: PathBuf,
    /// Whether results that the file already holds are used and not measured again.
    pub resume: bool,
    /// Choices that were tuned elsewhere. They are tried first.
    pub table: VariantTable,
}

/// The time limit for opening a device and computing its first reference.
const OPENING: Duration = Duration::from_secs(60);
/// The progress of a run, reported while it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The device is open.
    Opened {
        /// Where the worker runs.
        machine: &'a Machine,
        /// Choices that the constraints allow.
        allowed: usize,
        /// Choices that the constraints forbid, at the size with the most choices.
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
    /// Seconds of the default, from the final comparison.
    pub default_time: Interval,
    /// Seconds of the best, from the final comparison.
    pub best_time: Interval,
    /// How many times as fast as the default the best is, from pairs of samples.
    pub speedup: Interval,
    /// The share of the adapter's measured limit that the best reaches, 0 to 1, if known.
    pub roofline: Option<f64>,
    /// Candidates that were tried, in this run or an earlier one.
    pub tried: usize,
    /// Whether every allowed choice was tried.
    pub exhausted: bool,
    /// Whether a table had a choice for this size. It was then tried too.
    pub in_table: bool,
    /// Why nothing won: the best candidate races, or could not be watched. It must not be used.
    pub no_winner: Option<String>,
    /// Whether a launch costs more than what the default does in it, so that no choice can be told from another.
    pub launch_bound: bool,
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
    /// The worst that the emulated GPU says of the defaults and the best.
    pub watched: Watched,
    /// Seconds it took.
    pub seconds: f64,
}

/// Tunes `job`.
///
/// # Errors
/// An invalid spec, a device that cannot be opened, or a default that fails: the search needs a correct candidate to
/// start from.
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

/// Appends the results of `job` in the T4 file `text` to `results`, as a run on this adapter. A resumed run does not
/// try these choices again, but checks and times the fast ones before it uses them. Returns how many results belong to
/// `job`, and how many do not.
///
/// # Errors
/// `text` is not a T4 file or has no result of this job, or the device cannot be opened.
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
    /// The worst result of emulating the defaults.
    watched: Watched,
    start: Instant,
}

impl Session<'_> {
    /// Tries `values` and records the outcome.
    fn attempt(
        &mut self,
        values: &Scope,
        size: usize,
        incumbent: Option<&Outcome>,
    ) -> Result<Outcome> {
        let request = Request::Try {
            values: values.clone(),
            size,
            incumbent: incumbent.map(|incumbent| incumbent.values.clone()),
            // Anything that is sound beats what is not.
            watch: incumbent.is_some_and(|incumbent| incumbent.watched != Watched::Clean),
        };
        let limit = Duration::from_secs_f64(self.options.time_limit);
        // The run needs the default, so the default may take longer.
        let limit = if incumbent.is_none() {
            4 * limit
        } else {
            limit
        };
        let outcome = match self.worker()?.ask(&request, limit) {
            Ok(Reply::Tried(outcome)) => *outcome,
            Ok(_) => bail!("the worker gave an answer of another kind"),
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
        // A worker with a lost device cannot run later candidates.
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

    /// The outcomes of earlier runs and of this one. If both tried a choice, this run's outcome counts.
    fn all_outcomes(&self) -> Vec<Outcome> {
        let key = |outcome: &Outcome| (outcome.size, show(&outcome.values));
        let again: BTreeSet<_> = self.outcomes.iter().map(key).collect();
        let known = self.known.iter().map(|known| &known.outcome);
        let known = known.filter(|outcome| !again.contains(&key(outcome)));
        known.chain(&self.outcomes).cloned().collect()
    }

    /// The worker; a new one is started if the last was lost.
    fn worker(&mut self) -> Result<&mut Worker> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.command, self.job, OPENING)?.0,
        };
        Ok(self.worker.insert(worker))
    }

    /// Fills in the share of the adapter's limit that each best candidate reaches, if the limit can be measured.
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
