//! Runs training steps and times each.

use std::time::Instant;

use anyhow::{Result, bail};
use wgrad_nn::Parameters;
use wgrad_nn::optim::{AdamW, AdamWConfig, GradScaler, Optimizer};
use wgrad_runtime::Device;
use wgrad_tensor::DType;
use wgrad_tune::bench::stats::{ENOUGH, median};

use super::cpu::CpuTime;
use super::models::Workload;

/// A model with the optimizer of the comparison with other engines.
pub struct Trainer<'a> {
    device: Device,
    model: &'a Workload,
    optimizer: AdamW,
    trained: usize,
}

impl<'a> Trainer<'a> {
    /// Trains the parameters that `is_trained` accepts; the rest is frozen. Losses are scaled for activations of
    /// f16.
    pub fn new(
        device: &Device,
        model: &'a Workload,
        dtype: DType,
        is_trained: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut trained = Parameters::new();
        for (name, tensor) in &model.parameters {
            tensor.set_requires_grad(is_trained(name))?;
            if is_trained(name) {
                trained.push((name.clone(), tensor.clone()));
            }
        }
        let count = trained.iter().map(|(_, tensor)| tensor.numel()).sum();
        let config = AdamWConfig {
            lr: 3e-4,
            weight_decay: 0.01,
            ..AdamWConfig::default()
        };
        let mut optimizer = AdamW::new(trained, config)?;
        if dtype == DType::F16 {
            optimizer.set_grad_scaler(GradScaler::default())?;
        }
        Ok(Self {
            device: device.clone(),
            model,
            optimizer,
            trained: count,
        })
    }

    /// One step, the loss read back: the loss before the step and the seconds.
    pub fn step(&mut self) -> Result<(f32, f64)> {
        let start = Instant::now();
        let loss = (self.model.loss)()?;
        let gradients = self.optimizer.scale(&loss)?.backward()?;
        self.optimizer.step(&gradients, None)?;
        let loss = loss.item()?;
        self.device.synchronize()?;
        Ok((loss, start.elapsed().as_secs_f64()))
    }

    /// Device seconds of forward, backward and optimizer in one step.
    pub fn parts(&mut self) -> Result<[f64; 3]> {
        let mut watch = self.device.stopwatch()?;
        watch.mark()?;
        let loss = (self.model.loss)()?;
        watch.mark()?;
        let gradients = self.optimizer.scale(&loss)?.backward()?;
        watch.mark()?;
        self.optimizer.step(&gradients, None)?;
        watch.mark()?;
        match watch.read()?.as_slice() {
            [forward, backward, optimizer] => Ok([*forward, *backward, *optimizer]),
            other => bail!("{} parts of a step were measured", other.len()),
        }
    }

    /// Some steps.
    pub fn many(&mut self, n: usize) -> Result<Steps> {
        self.timed(n, f64::INFINITY, &mut || Ok(None))
    }

    /// Up to `n` steps, of which the first third warms up. Past `budget` seconds of either part it ends, the second not
    /// before it has samples for an interval. `temperature` is read before the first step that counts and behind each.
    pub fn timed(
        &mut self,
        n: usize,
        budget: f64,
        temperature: &mut dyn FnMut() -> Result<Option<f64>>,
    ) -> Result<Steps> {
        let device = self.device.clone();
        let mut out = Steps {
            seconds: Vec::new(),
            losses: Vec::new(),
            dispatches: 0,
            submits: 0,
            moved: 0,
            to_textures: 0,
            parameters: self.trained,
            cpu: Vec::new(),
            warm: warm_up(n),
            temperatures: Vec::new(),
        };
        let mut start = Instant::now();
        for i in 0..n {
            let over = start.elapsed().as_secs_f64() > budget;
            if over && (2..out.warm).contains(&i) {
                out.warm = i;
            }
            if over && i >= out.warm + ENOUGH {
                break;
            }
            if i == out.warm {
                out.temperatures.push(temperature()?);
                start = Instant::now();
            }
            let (before, moved) = (device.counters(), device.bytes_moved());
            let cpu = CpuTime::now();
            let (loss, seconds) = self.step()?;
            if let (Some(from), Some(to)) = (cpu, CpuTime::now()) {
                out.cpu.push(CpuTime {
                    thread: to.thread - from.thread,
                    process: to.process - from.process,
                });
            }
            out.losses.push(loss);
            out.seconds.push(seconds);
            let after = device.counters();
            (out.dispatches, out.submits) = (after.0 - before.0, after.1 - before.1);
            let bytes = device.bytes_moved();
            (out.moved, out.to_textures) = (bytes.0 - moved.0, bytes.1 - moved.1);
            if i >= out.warm {
                out.temperatures.push(temperature()?);
            }
        }
        Ok(out)
    }
}

/// The measurements of some steps.
pub struct Steps {
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// The loss before each step.
    pub losses: Vec<f32>,
    /// Dispatches and submits of the last step.
    pub dispatches: u64,
    pub submits: u64,
    /// Bytes that the last step's launches and copies read and wrote.
    pub moved: u64,
    /// The part of those bytes that copies into textures moved.
    pub to_textures: u64,
    /// Trained numbers.
    pub parameters: usize,
    /// Processor time of each step, if the system reports it.
    pub cpu: Vec<CpuTime>,
    /// The first step behind the warm-up.
    pub warm: usize,
    /// Readings of the reference kernel: before the first step behind the warm-up, and after each step from there on.
    pub temperatures: Vec<Option<f64>>,
}

/// How many of `n` steps warm up: a third, at least two, and one is left.
pub fn warm_up(n: usize) -> usize {
    (n / 3).max(2).min(n.saturating_sub(1))
}

impl Steps {
    /// Median and best of the steps behind the warm-up.
    pub fn steady(&self) -> (f64, f64) {
        let tail = &self.seconds[self.warm..];
        let best = tail.iter().copied().fold(f64::INFINITY, f64::min);
        (median(tail), best)
    }
}

/// Trains all of `model` for some steps with AdamW, as the comparison prescribes it.
pub fn steps(device: &Device, model: &Workload, n: usize) -> Result<Steps> {
    Trainer::new(device, model, DType::F32, |_| true)?.many(n)
}
