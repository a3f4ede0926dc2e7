//! Checks of what a checkpoint says, before any of it is used. A damaged count would otherwise make the loop wait
//! for a step that never comes, or overflow.

use anyhow::{Result, ensure};
use wgrad_nn::schedule::Schedule;

use super::{Plateau, StateFile, TrainerState};
use crate::early_stopping::EarlyStopping;

impl TrainerState {
    /// Refuses a position that no run with `steps_per_epoch` steps an epoch can have.
    ///
    /// # Errors
    /// Names the number that contradicts the others.
    pub fn check(&self, steps_per_epoch: u64) -> Result<()> {
        let Self {
            global_step,
            epoch,
            step_in_epoch,
            best_step,
            ..
        } = self;
        ensure!(
            *step_in_epoch <= steps_per_epoch,
            "step_in_epoch is {step_in_epoch}, an epoch of this run has {steps_per_epoch} steps"
        );
        let sum = epoch
            .checked_mul(steps_per_epoch)
            .and_then(|steps| steps.checked_add(*step_in_epoch));
        ensure!(
            sum == Some(*global_step),
            "global_step is {global_step}, but epoch {epoch} of {steps_per_epoch} steps and step_in_epoch {step_in_epoch} make another number"
        );
        ensure!(
            best_step.is_none_or(|best| (1..=*global_step).contains(&best)),
            "best_step is {}, the run is at step {global_step}",
            best_step.unwrap_or(0)
        );
        let totals = &self.totals;
        for (name, value) in [
            ("next_learning_rate", self.next_learning_rate),
            ("totals.seconds", totals.seconds),
            ("totals.evaluation_seconds", totals.evaluation_seconds),
            ("totals.step_seconds", totals.step_seconds),
        ] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "{name} is {value}; it must be a number from 0 on"
            );
        }
        Ok(())
    }
}

impl StateFile {
    /// Refuses counts above the number of steps, and numbers that are not finite or out of their range.
    pub(super) fn check(&self, now: &EarlyStopping, schedule: &Schedule) -> Result<()> {
        let steps = self.state.global_step;
        self.early_stopping.check(steps)?;
        ensure!(
            self.early_stopping.greater_is_better == now.greater_is_better,
            "early_stopping.greater_is_better is {}, in this run it is {}",
            self.early_stopping.greater_is_better,
            now.greater_is_better
        );
        if let (Some(plateau), Schedule::ReduceOnPlateau(now)) = (&self.plateau, schedule) {
            plateau.check(steps, now.cooldown, self.state.next_learning_rate)?;
        }
        for (name, made) in &self.optimizer_steps {
            ensure!(
                *made <= steps,
                "optimizer_steps says {made} updates of `{name}`, the run is at step {steps}"
            );
        }
        if let Some((scale, growth)) = self.grad_scaler {
            ensure!(
                u64::from(growth) <= steps,
                "grad_scaler says {growth} steps since the scale {scale} changed, the run is at step {steps}"
            );
        }
        Ok(())
    }
}

impl EarlyStopping {
    fn check(&self, steps: u64) -> Result<()> {
        ensure!(
            self.waiting as u64 <= steps,
            "early_stopping.waiting is {}, the run is at step {steps}",
            self.waiting
        );
        let best = self.best.unwrap_or(0.0);
        ensure!(
            best.is_finite() && self.min_delta.is_finite(),
            "early_stopping holds a number that is not finite: best {best}, min_delta {}",
            self.min_delta
        );
        Ok(())
    }
}

impl Plateau {
    fn check(&self, steps: u64, cooldown: u64, next: f64) -> Result<()> {
        ensure!(
            self.bad_evaluations <= steps,
            "plateau.bad_evaluations is {}, the run is at step {steps}",
            self.bad_evaluations
        );
        ensure!(
            self.cooldown_left <= cooldown,
            "plateau.cooldown_left is {}, the schedule's cooldown {cooldown}",
            self.cooldown_left
        );
        let best = self.best.unwrap_or(0.0);
        ensure!(best.is_finite(), "plateau.best is {best}");
        let reduced = self.reduced_lr.unwrap_or(next);
        ensure!(
            reduced.is_finite() && reduced == next,
            "plateau.reduced_lr is {reduced}, next_learning_rate {next}; they are the same rate"
        );
        Ok(())
    }
}
