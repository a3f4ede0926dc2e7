//! A tuning run: one search for each timed size, candidates tried in worker processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::expr::Scope;
use super::job::{Job, Machine, Phase, Reply, Request};
use super::outcome::{Outcome, Status, Watched};
use super::results::{Head, Line, Results, known};
use super::search::{Search, Strategy};
use super::space::Space;
use super::spec::Spec;
use super::worker::{Lost, Worker, WorkerCommand};
use crate::bench::stats::Interval;

/// How to tune.
#[derive(Debug, Clone)]
pub struct Options {
    pub strategy: Strategy,
    /// Seconds for all of it.
    pub budget: f64,
    /// Of the search.
    pub seed: u64,
    /// Seconds that one candidate may take from start to end.
    pub time_limit: f64,
    /// The file that outcomes are appended to.
    pub results: PathBuf,
    /// Whether what the file knows already is taken as known.
    pub resume: bool,
}

/// Seconds for opening a device and its first reference.
const OPENING: Duration = Duration::from_secs(60);
/// As fast as the default.
const ONE: Interval = Interval {
    median: 1.0,
    low: 1.0,
    high: 1.0,
};
/// The share of the budget that is kept for the last comparison.
const LAST_WORD: f64 = 0.12;

/// What happens, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The device is open; so many choices are allowed, so many forbidden at the size with the most, so many
    /// known already.
    Opened {
        machine: &'a Machine,
        allowed: usize,
        forbidden: u64,
        known: usize,
    },
    /// A candidate has ended, one of so many that are allowed at its size. `best` is the incumbent's time over
    /// the default's.
    Tried {
        outcome: &'a Outcome,
        tried: usize,
        allowed: usize,
        best: f64,
        seconds: f64,
    },
}

/// What came out for one problem size.
#[derive(Debug, Clone)]
pub struct Tuned {
    pub sizes: Scope,
    pub default: Scope,
    pub best: Outcome,
    /// Seconds of the default and of the best, from the last comparison.
    pub default_time: Interval,
    pub best_time: Interval,
    /// Default over best: how many times as fast, from pairs.
    pub speedup: Interval,
    /// The share of what the adapter allows, 0 to 1, where known.
    pub roofline: Option<f64>,
    /// Candidates that were tried, this time or before.
    pub tried: usize,
    /// Whether every allowed choice was.
    pub exhausted: bool,
}

/// What came out in all.
#[derive(Debug, Clone)]
pub struct Report {
    pub head: Head,
    pub tuned: Vec<Tuned>,
    /// How many candidates ended how; what the spec forbids counts as `Constraint`.
    pub counts: BTreeMap<Status, u64>,
    pub outcomes: Vec<Outcome>,
    /// What an emulated GPU saw of the default. With a fault nothing else was held to it.
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
    let head = Head {
        kernel: job.name.clone(),
        hash: job.hash(),
        machine,
        sizes: spec.time.clone(),
        checked: job.checked,
    };
    let known = match options.resume {
        true => known(&options.results, &head)?,
        false => Vec::new(),
    };
    on(Event::Opened {
        machine: &head.machine,
        allowed: largest.map_or(0, |space| space.choices.len()),
        forbidden: largest.map_or(0, |space| space.forbidden),
        known: known.len(),
    });
    let mut results = Results::append(&options.results)?;
    results.write(&Line::Head {
        head: Box::new(head.clone()),
    })?;
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
        tuned.push(session.tune(&spec, space, size, share, on)?);
    }
    session.rooflines(&head.machine, &mut tuned);
    let forbidden = spaces.iter().map(|space| space.forbidden).sum();
    let mut counts = BTreeMap::from([(Status::Constraint, forbidden)]);
    for outcome in session.known.iter().chain(&session.outcomes) {
        *counts.entry(outcome.status).or_default() += 1;
    }
    Ok(Report {
        head,
        tuned,
        counts,
        outcomes: session.known.into_iter().chain(session.outcomes).collect(),
        watched: session.watched,
        seconds: start.elapsed().as_secs_f64(),
    })
}

struct Session<'a> {
    job: &'a Job,
    command: &'a WorkerCommand,
    options: &'a Options,
    worker: Option<Worker>,
    results: Results,
    outcomes: Vec<Outcome>,
    known: Vec<Outcome>,
    /// Of the default.
    watched: Watched,
    start: Instant,
}

impl Session<'_> {
    /// Searches at timed size `size` until `until` seconds after the run's start.
    fn tune(
        &mut self,
        spec: &Spec,
        space: &Space,
        size: usize,
        until: f64,
        on: &mut dyn FnMut(Event),
    ) -> Result<Tuned> {
        let began = self.start.elapsed().as_secs_f64();
        let until = until - LAST_WORD * (until - began);
        let default = space.values(space.default);
        let first = self.attempt(&default, size, None)?;
        if first.status != Status::Correct {
            let message = first.message.unwrap_or_default();
            bail!(
                "the default parameters fail ({}): {message}",
                first.status.name()
            );
        }
        if first.watched != Watched::No {
            self.watched = first.watched.clone();
        }
        let mut incumbent = first.clone();
        // The incumbent's time over the default's, from the pairs that led to it.
        let mut best = 1.0;
        let mut search = Search::new(space, self.options.strategy, self.options.seed);
        self.take_known(space, size, &first, &mut search, &mut incumbent, &mut best);
        on(Event::Tried {
            outcome: &first,
            tried: search.tried(),
            allowed: space.choices.len(),
            best,
            seconds: self.start.elapsed().as_secs_f64(),
        });
        let mut exhausted = true;
        while let Some(next) = search.pick() {
            if self.start.elapsed().as_secs_f64() >= until {
                exhausted = false;
                break;
            }
            let outcome = self.attempt(&space.values(next), size, Some(&incumbent.values))?;
            let cost = outcome.ratio.map(|ratio| ratio.median * best);
            search.report(next, cost);
            if let Some(lead) = outcome.lead() {
                best *= lead;
                incumbent = outcome.clone();
            }
            on(Event::Tried {
                outcome: &outcome,
                tried: search.tried(),
                allowed: space.choices.len(),
                best,
                seconds: self.start.elapsed().as_secs_f64(),
            });
        }
        let mut tuned = Tuned {
            sizes: spec.time[size].clone(),
            default_time: first.time.unwrap_or(ONE),
            best_time: first.time.unwrap_or(ONE),
            default,
            best: incumbent,
            speedup: ONE,
            roofline: None,
            tried: search.tried(),
            exhausted,
        };
        if tuned.best.values != tuned.default {
            self.last_word(&mut tuned, &first, size)?;
        }
        Ok(tuned)
    }

    /// Outcomes of earlier runs: costs are their times over the default's then.
    fn take_known(
        &self,
        space: &Space,
        size: usize,
        first: &Outcome,
        search: &mut Search,
        incumbent: &mut Outcome,
        best: &mut f64,
    ) {
        let of_size = || self.known.iter().filter(|o| o.size == size);
        let earlier = of_size()
            .filter(|o| o.values == first.values)
            .find_map(|o| o.time);
        let Some(reference) = earlier.or(first.time) else {
            return;
        };
        for outcome in of_size() {
            let Some(at) = space
                .locate(&outcome.values)
                .filter(|at| *at != space.default)
            else {
                continue;
            };
            let cost = outcome.time.map(|time| time.median / reference.median);
            search.know(at, cost);
            if let Some(cost) = cost.filter(|cost| *cost < *best) {
                *best = cost;
                *incumbent = outcome.clone();
            }
        }
    }

    /// The best against the default, longer: the figure that is shown.
    fn last_word(&mut self, tuned: &mut Tuned, first: &Outcome, size: usize) -> Result<()> {
        let request = Request::Compare {
            values: tuned.best.values.clone(),
            against: tuned.default.clone(),
            size,
        };
        let limit = Duration::from_secs_f64(4.0 * self.options.time_limit);
        match self.worker()?.ask(&request, limit) {
            Ok(Reply::Compared {
                ratio, new, old, ..
            }) => {
                tuned.speedup = Interval {
                    median: 1.0 / ratio.median,
                    low: 1.0 / ratio.high,
                    high: 1.0 / ratio.low,
                };
                (tuned.best_time, tuned.default_time) = (new, old);
                // What looked faster in the search and is not now: the default stays.
                if ratio.low >= 1.0 {
                    tuned.best = first.clone();
                    tuned.best_time = old;
                    tuned.speedup = ONE;
                }
                Ok(())
            }
            Ok(_) => Err(anyhow!("the worker answered something else")),
            Err(lost) => {
                self.worker = None;
                Err(anyhow!(
                    "the best choice failed in the last comparison: {}",
                    lost.describe()
                ))
            }
        }
    }

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
        self.results
            .write(&Line::Outcome(Box::new(outcome.clone())))?;
        self.outcomes.push(outcome.clone());
        Ok(outcome)
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
