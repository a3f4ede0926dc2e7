//! The search at one timed size: the default, choices known to be good, the picks of the search, the final comparison.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{Event, Session, Tuned};
use crate::bench::stats::Interval;
use crate::tuner::job::{Reply, Request};
use crate::tuner::outcome::{Outcome, Status, Watched};
use crate::tuner::results::Head;
use crate::tuner::search::Search;
use crate::tuner::space::Space;
use crate::tuner::table;
use crate::tuner::worker::Lost;

/// The ratio of the default to itself.
const ONE: Interval = Interval {
    median: 1.0,
    low: 1.0,
    high: 1.0,
};
/// The share of the budget that is reserved for the final comparisons.
const FINAL_SHARE: f64 = 0.2;
/// The least gain: the same program timed twice differs by as much.
const LEAST_GAIN: f64 = 0.02;
/// Candidates within this share of the best one's time, and how many of them, are compared with it at the end.
const CLOSE: f64 = 0.05;
const RIVALS: usize = 3;

/// A running search and its best candidate.
struct Race<'a> {
    space: &'a Space,
    size: usize,
    search: Search<'a>,
    incumbent: Outcome,
    /// The incumbent's time over the default's: the product of the ratios measured for each new incumbent.
    best: f64,
    /// The time over the default's of each correct candidate.
    costs: Vec<(usize, f64)>,
}

impl Session<'_> {
    /// Searches at timed size `size` until `until` seconds after the run's start.
    pub(super) fn tune(
        &mut self,
        head: &Head,
        space: &Space,
        size: usize,
        until: f64,
        on: &mut dyn FnMut(Event),
    ) -> Result<Tuned> {
        let began = self.start.elapsed().as_secs_f64();
        let until = until - FINAL_SHARE * (until - began);
        let default = space.values(space.default);
        let first = self.attempt(&default, size, None)?;
        if first.status != Status::Correct {
            let message = first.message.unwrap_or_default();
            bail!(
                "the default parameters fail ({}): {message}",
                first.status.name()
            );
        }
        self.watched = self.watched.clone().max(first.watched.clone());
        let mut race = Race {
            space,
            size,
            search: Search::new(space, self.options.strategy, self.options.seed),
            incumbent: first.clone(),
            best: 1.0,
            costs: Vec::new(),
        };
        let known = self.take_known(&mut race, &first);
        self.show(&race, &first, on);
        let sizes = &head.sizes[size];
        let of_table = table::choice(&self.options.table, self.job, &head.machine, sizes, space);
        // The table's choice and the best known choice are tried even if the budget is used up.
        let more = of_table.filter(|at| !known.contains(at));
        let forced = usize::from(more.is_some()) + 1;
        let to_try = more.into_iter().chain(known);
        for (i, at) in to_try.filter(|at| *at != space.default).enumerate() {
            let late = self.start.elapsed().as_secs_f64() >= until;
            if i >= forced && (late || race.best < 1.0) {
                break;
            }
            self.challenge(&mut race, at, on)?;
        }
        let mut exhausted = true;
        while let Some(next) = race.search.pick() {
            if self.start.elapsed().as_secs_f64() >= until {
                exhausted = false;
                break;
            }
            self.challenge(&mut race, next, on)?;
        }
        let launch_bound = first
            .time
            .is_some_and(|time| time.median < first.launch_seconds);
        let is_sound = first.watched == Watched::Clean;
        if launch_bound && is_sound {
            race.incumbent = first.clone();
        } else {
            self.settle(&mut race)?;
        }
        let mut tuned = Tuned {
            sizes: sizes.clone(),
            default_time: first.time.unwrap_or(ONE),
            best_time: first.time.unwrap_or(ONE),
            default,
            best: race.incumbent,
            speedup: ONE,
            roofline: None,
            tried: race.search.tried(),
            exhausted,
            in_table: of_table.is_some(),
            no_winner: None,
            launch_bound,
        };
        if tuned.best.values != tuned.default {
            self.final_comparison(&mut tuned, &first, size)?;
        }
        tuned.no_winner = match &tuned.best.watched {
            Watched::Clean => None,
            Watched::Fault(message) => Some(format!("it breaks WGSL's rules: {message}")),
            Watched::Unknown(message) => Some(format!("it was not checked for races: {message}")),
            Watched::No => Some("it was not checked for races".to_owned()),
        };
        Ok(tuned)
    }

    /// Of the candidates that are as fast as the best one, takes the first in the order of the values, so that other
    /// seeds give the same answer.
    fn settle(&mut self, race: &mut Race) -> Result<()> {
        let Some(best) = race.space.locate(&race.incumbent.values) else {
            return Ok(());
        };
        let mut close: Vec<usize> = race
            .costs
            .iter()
            .filter(|(at, cost)| *at < best && *cost <= race.best * (1.0 + CLOSE))
            .map(|(at, _)| *at)
            .collect();
        close.sort_unstable();
        close.dedup();
        let limit = Duration::from_secs_f64(4.0 * self.options.time_limit);
        for at in close.into_iter().take(RIVALS) {
            let values = race.space.values(at);
            let request = Request::Compare {
                values: values.clone(),
                against: race.incumbent.values.clone(),
                size: race.size,
            };
            let Ok(Reply::Compared { ratio, noise, .. }) = self.worker()?.ask(&request, limit)
            else {
                self.worker = None;
                return Ok(());
            };
            if ratio.low > 1.0 + margin(&noise) {
                continue;
            }
            // It never took the lead, so it was not watched yet.
            let rival = Outcome {
                watched: Watched::No,
                ..race.incumbent.clone()
            };
            let outcome = self.attempt(&values, race.size, Some(&rival))?;
            if outcome.status == Status::Correct && outcome.watched == Watched::Clean {
                race.incumbent = outcome;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tries the choice `at` against the incumbent.
    fn challenge(&mut self, race: &mut Race, at: usize, on: &mut dyn FnMut(Event)) -> Result<()> {
        let values = race.space.values(at);
        let outcome = self.attempt(&values, race.size, Some(&race.incumbent))?;
        let cost = outcome.ratio.map(|ratio| ratio.median * race.best);
        race.search.report(at, cost);
        let sound = |outcome: &Outcome| outcome.watched == Watched::Clean;
        // One that led and was not sound cannot win.
        let may_win = sound(&outcome) || outcome.lead().is_none();
        let may_win = cost.filter(|_| may_win);
        race.costs.extend(may_win.map(|cost| (at, cost)));
        let takes = outcome.lead().is_some() || !sound(&race.incumbent);
        if let Some(cost) = cost.filter(|_| takes && sound(&outcome)) {
            race.best = cost;
            race.incumbent = outcome.clone();
        }
        self.show(race, &outcome, on);
        Ok(())
    }

    fn show(&self, race: &Race, outcome: &Outcome, on: &mut dyn FnMut(Event)) {
        on(Event::Tried {
            outcome,
            incumbent: &race.incumbent.values,
            tried: race.search.tried(),
            allowed: race.space.choices.len(),
            best: race.best,
            seconds: self.start.elapsed().as_secs_f64(),
        });
    }

    /// Gives the search the results of earlier runs. Returns the choices that were faster than the default, fastest
    /// first. They are measured again before one of them can become the incumbent.
    fn take_known(&self, race: &mut Race, first: &Outcome) -> Vec<usize> {
        let now = first.time.map_or(f64::NAN, |time| time.median);
        let mut faster = Vec::new();
        for known in self.known.iter().filter(|k| k.outcome.size == race.size) {
            let at = race.space.locate(&known.outcome.values);
            let Some(at) = at.filter(|at| *at != race.space.default) else {
                continue;
            };
            let cost = known.outcome.time.map(|time| time.median);
            let cost = cost.map(|seconds| seconds / known.default_seconds.unwrap_or(now));
            race.search.know(at, cost);
            faster.extend(cost.filter(|cost| *cost < 1.0).map(|cost| (cost, at)));
        }
        faster.sort_by(|a, b| a.0.total_cmp(&b.0));
        faster.into_iter().map(|(_, at)| at).collect()
    }

    /// Compares the best candidate with the default for longer. The report shows this figure.
    fn final_comparison(&mut self, tuned: &mut Tuned, first: &Outcome, size: usize) -> Result<()> {
        let request = Request::Compare {
            values: tuned.best.values.clone(),
            against: tuned.default.clone(),
            size,
        };
        let limit = Duration::from_secs_f64(4.0 * self.options.time_limit);
        let stays = match self.worker()?.ask(&request, limit) {
            Ok(Reply::Compared {
                ratio,
                new,
                old,
                noise,
                ..
            }) => {
                tuned.speedup = Interval {
                    median: 1.0 / ratio.median,
                    low: 1.0 / ratio.high,
                    high: 1.0 / ratio.low,
                };
                (tuned.best_time, tuned.default_time) = (new, old);
                // A default that cannot win is no rival.
                ratio.high < 1.0 - margin(&noise) || first.watched != Watched::Clean
            }
            Ok(_) => bail!("the worker answered something else"),
            Err(lost) => {
                self.worker = None;
                let status = match lost {
                    Lost::TimedOut(_) => Status::Timeout,
                    _ => Status::Runtime,
                };
                let message = format!("in the final comparison: {}", lost.describe());
                let values = tuned.best.values.clone();
                self.record(&Outcome::failed(values, size, status, message))?;
                false
            }
        };
        // The default stays if the candidate fails now, or its gain is within the noise.
        if !stays {
            tuned.best = first.clone();
            tuned.best_time = tuned.default_time;
            tuned.speedup = ONE;
        }
        Ok(())
    }
}

/// How far two equal candidates seem apart.
fn margin(noise: &Interval) -> f64 {
    LEAST_GAIN.max(noise.high - 1.0).max(1.0 - noise.low)
}
