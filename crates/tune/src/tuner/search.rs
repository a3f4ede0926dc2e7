//! The order in which choices are tried.
//!
//! `anneal` is simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983) over choices that differ in one
//! parameter, with restarts, none tried twice. It is one of the kinds that Schoonhoven, van Werkhoven and
//! Batenburg compare in "Benchmarking optimization algorithms for auto-tuning GPU kernels" (IEEE
//! Transactions on Evolutionary Computation, 2022). It ends, as every strategy does, when all are tried.

use serde::{Deserialize, Serialize};

use super::data::Random;
use super::space::Space;

/// How to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Every allowed choice, in order.
    Exhaustive,
    /// Allowed choices in random order.
    Random,
    /// Simulated annealing: see the head of this module.
    Anneal,
}

/// A running search. The same seed and the same costs give the same order.
pub struct Search<'a> {
    space: &'a Space,
    strategy: Strategy,
    random: Random,
    /// The result of each choice: `None` if not tried, `Some(None)` if it failed, else its cost.
    tried: Vec<Option<Option<f64>>>,
    /// The order in which choices are tried if no other rule applies, last first.
    order: Vec<usize>,
    /// The first choice of each kernel other than the default's. They are tried early, because kernels differ more than
    /// tiles do.
    kernels: Vec<usize>,
    at: Option<usize>,
    temperature: f64,
    refused: usize,
}

/// The first temperature: the search moves to a choice that is slower by this share with a probability of 1/e.
const HOT: f64 = 0.5;
/// The factor by which each step lowers the temperature.
const COOLING: f64 = 0.93;
/// Steps in a row without a move before a restart.
const PATIENCE: usize = 8;

impl<'a> Search<'a> {
    /// A search that knows only the cost of the default, 1.0.
    pub fn new(space: &'a Space, strategy: Strategy, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut order: Vec<usize> = (0..space.choices.len()).rev().collect();
        if strategy != Strategy::Exhaustive {
            for i in (1..order.len()).rev() {
                order.swap(i, random.below(i + 1));
            }
        }
        let mut tried = vec![None; space.choices.len()];
        tried[space.default] = Some(Some(1.0));
        let kernels = match strategy {
            Strategy::Anneal => other_kernels(space),
            Strategy::Exhaustive | Strategy::Random => Vec::new(),
        };
        Search {
            space,
            kernels,
            strategy,
            random,
            tried,
            order,
            at: Some(space.default),
            temperature: HOT,
            refused: 0,
        }
    }

    /// Records the cost of a choice from an earlier run.
    pub fn know(&mut self, choice: usize, cost: Option<f64>) {
        self.tried[choice] = Some(cost);
        let here = self.at.and_then(|at| self.tried[at]).flatten();
        if self.strategy == Strategy::Anneal && cost.is_some_and(|c| here.is_none_or(|h| c < h)) {
            self.at = Some(choice);
        }
    }

    /// The number of choices tried.
    pub fn tried(&self) -> usize {
        self.tried.iter().filter(|t| t.is_some()).count()
    }

    /// The choice to try next; `None` when all are tried.
    pub fn pick(&mut self) -> Option<usize> {
        while let Some(next) = self.kernels.pop() {
            if self.tried[next].is_none() {
                return Some(next);
            }
        }
        if let (Strategy::Anneal, Some(at)) = (self.strategy, self.at) {
            let mut near = self.space.neighbours(at);
            near.retain(|n| self.tried[*n].is_none());
            if !near.is_empty() && self.refused < PATIENCE {
                return Some(near[self.random.below(near.len())]);
            }
            // All neighbours are known, or none is better: restart from the best, or elsewhere, at the first temperature.
            self.at = self.best_with_more_around();
            self.temperature = HOT;
            self.refused = 0;
            if self.at.is_some() {
                return self.pick();
            }
        }
        while let Some(next) = self.order.pop() {
            if self.tried[next].is_none() {
                return Some(next);
            }
        }
        None
    }

    /// The best choice so far, if it has a neighbour that was not tried.
    fn best_with_more_around(&self) -> Option<usize> {
        let cost = |at: usize| self.tried[at].flatten().filter(|cost| !cost.is_nan());
        let known = (0..self.tried.len()).filter_map(|at| Some((at, cost(at)?)));
        let (best, _) = known.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let around = self.space.neighbours(best);
        around
            .iter()
            .any(|at| self.tried[*at].is_none())
            .then_some(best)
    }

    /// Records the cost (time over the default's) of the choice that [`Search::pick`] gave; `None` if it failed.
    pub fn report(&mut self, choice: usize, cost: Option<f64>) {
        self.tried[choice] = Some(cost);
        self.temperature *= COOLING;
        let here = self.at.and_then(|at| self.tried[at]).flatten();
        let moves = match (cost, here) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(new), Some(old)) => {
                new < old || self.random.unit() < (-(new / old - 1.0) / self.temperature).exp()
            }
        };
        if moves {
            self.at = Some(choice);
        }
        self.refused = if moves { 0 } else { self.refused + 1 };
    }
}

/// The first allowed choice for each value of the parameter `KERNEL` other than the default's, last first.
fn other_kernels(space: &Space) -> Vec<usize> {
    let Some(at) = space
        .parameters
        .iter()
        .position(|(name, _)| name == "KERNEL")
    else {
        return Vec::new();
    };
    let mut seen = vec![space.choices[space.default][at]];
    let mut found = Vec::new();
    for (i, choice) in space.choices.iter().enumerate() {
        if !seen.contains(&choice[at]) {
            seen.push(choice[at]);
            found.push(i);
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::super::expr::Value;
    use super::super::space::tests::spec;
    use super::*;

    fn space() -> Space {
        let parameters = "A = [1, 2, 4, 8, 16]\nB = [1, 2, 4, 8, 16]\nC = [1, 2, 4, 8, 16]";
        let spec = spec(parameters, "\"A * B <= 64\"", "");
        Space::new(&spec, &spec.time[0]).unwrap()
    }

    /// Fastest at A=8, B=4, C=2; choices with C=16 fail.
    fn cost(space: &Space, at: usize) -> Option<f64> {
        let off = |name: &str, best: f64| match space.values(at).get(name).copied() {
            Some(Value::Int(v)) => ((v as f64).log2() - best).abs(),
            _ => f64::NAN,
        };
        (off("C", 4.0) > 0.0).then(|| 0.2 + 0.1 * (off("A", 3.0) + off("B", 2.0) + off("C", 1.0)))
    }

    fn run(space: &Space, strategy: Strategy, seed: u64, steps: usize) -> Vec<usize> {
        let mut search = Search::new(space, strategy, seed);
        let mut order = Vec::new();
        while order.len() < steps {
            let Some(next) = search.pick() else { break };
            search.report(next, cost(space, next));
            order.push(next);
        }
        order
    }

    #[test]
    fn every_choice_is_tried_once() {
        let space = space();
        for strategy in [Strategy::Exhaustive, Strategy::Random, Strategy::Anneal] {
            let mut order = run(&space, strategy, 1, usize::MAX);
            order.sort_unstable();
            let all: Vec<usize> = (0..space.choices.len())
                .filter(|c| *c != space.default)
                .collect();
            assert_eq!(order, all, "{strategy:?}");
        }
    }

    #[test]
    fn a_seed_fixes_the_order() {
        let space = space();
        for strategy in [Strategy::Random, Strategy::Anneal] {
            assert_eq!(run(&space, strategy, 7, 40), run(&space, strategy, 7, 40));
            assert_ne!(run(&space, strategy, 7, 40), run(&space, strategy, 8, 40));
        }
        let in_order = run(&space, Strategy::Exhaustive, 1, 40);
        assert_eq!(in_order, run(&space, Strategy::Exhaustive, 2, 40));
        assert!(in_order.is_sorted());
    }

    #[test]
    fn annealing_finds_good_choices_sooner_than_chance() {
        let space = space();
        let steps_to_best = |strategy, seed| {
            let order = run(&space, strategy, seed, usize::MAX);
            order
                .iter()
                .position(|at| cost(&space, *at) == Some(0.2))
                .unwrap()
        };
        let mean = |strategy| {
            (0..50)
                .map(|seed| steps_to_best(strategy, seed))
                .sum::<usize>()
                / 50
        };
        let (anneal, random) = (mean(Strategy::Anneal), mean(Strategy::Random));
        assert!(anneal * 3 < random * 2, "{anneal} steps against {random}");
    }

    #[test]
    fn the_neighbours_of_the_best_come_first() {
        // Kernel 2 has a single choice and is good, but not the best. Kernel 1 is the best and has neighbours to try.
        let spec = spec(
            "KERNEL = [0, 1, 2]\nA = [1, 2, 4]\nB = [1, 2, 4, 8, 16, 32, 64]",
            "\"KERNEL == 0 || B == 1\", \"KERNEL != 2 || A == 4\", \"KERNEL == 2 || A < 4\"",
            "",
        );
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        for seed in 0..20 {
            let mut search = Search::new(&space, Strategy::Anneal, seed);
            let mut of_best = Vec::new();
            for step in 0..5 {
                let next = search.pick().unwrap();
                let values = space.values(next);
                let cost = match values["KERNEL"] {
                    Value::Int(1) => 0.1,
                    Value::Int(2) => 0.11,
                    _ => 1.5,
                };
                if values["KERNEL"] == Value::Int(1) {
                    of_best.push(step);
                }
                search.report(next, Some(cost));
            }
            assert_eq!(of_best.len(), 2, "seed {seed}: {of_best:?}");
        }
    }

    #[test]
    fn other_kernels_come_first() {
        let parameters = "KERNEL = [0, 1, 2]\nA = [1, 2, 4]\nB = [1, 2, 4]";
        let constraint = "\"KERNEL != 1 || A == 4\"";
        let spec = spec(parameters, constraint, "");
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        let order = run(&space, Strategy::Anneal, 1, 2);
        let kernels: Vec<Value> = order.iter().map(|at| space.values(*at)["KERNEL"]).collect();
        assert_eq!(kernels, [Value::Int(2), Value::Int(1)]);
    }

    #[test]
    fn known_choices_are_not_tried_again() {
        let space = space();
        let mut search = Search::new(&space, Strategy::Anneal, 3);
        let known: Vec<usize> = (0..space.choices.len()).step_by(2).collect();
        for at in &known {
            search.know(*at, cost(&space, *at));
        }
        while let Some(next) = search.pick() {
            assert!(!known.contains(&next));
            search.report(next, cost(&space, next));
        }
        assert_eq!(search.tried(), space.choices.len());
    }
}
