//! A task of your own through the training loop: a small network learns a curve from points of a table that
//! this program makes up. It has a metric of its own (`mae`), stops early by it, and a callback ends the run.
//!
//! Run: cargo run --release --example own_task

use std::path::Path;

use wgrad::nn;
use wgrad::prelude::*;
use wgrad::train::{Callbacks, Evaluation, Flow, Loss, Task, TrainingArguments, train};

/// Two layers, with the names that PyTorch would give their parameters: `hidden.weight` and so on.
#[derive(Module)]
struct Network {
    hidden: Linear,
    output: Linear,
}

impl Network {
    fn new(vb: &VarBuilder) -> anyhow::Result<Self> {
        Ok(Self {
            hidden: Linear::new(1, 32, &vb.pp("hidden"))?,
            output: Linear::new(32, 1, &vb.pp("output"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> anyhow::Result<Tensor> {
        Ok(self.output.forward(&self.hidden.forward(x)?.tanh()?)?)
    }
}

/// Points (x, y) of the curve.
type Points = Vec<(f32, f32)>;

/// What the loop trains: the network, with points for training and for validation.
struct Curve {
    device: Device,
    network: Network,
    train: Points,
    validation: Points,
    /// Points have no length; the loop asks for one to batch texts by.
    lengths: Vec<usize>,
}

impl Curve {
    /// Predictions for points, and their true values, both (points, 1).
    fn predict(&self, points: &[(f32, f32)]) -> anyhow::Result<(Tensor, Tensor)> {
        let column =
            |values: Vec<f32>| Tensor::from_slice(&self.device, &values, &[points.len(), 1]);
        let x = column(points.iter().map(|p| p.0).collect())?;
        let y = column(points.iter().map(|p| p.1).collect())?;
        Ok((self.network.forward(&x)?, y))
    }
}

impl Task for Curve {
    fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    fn loss(&mut self, examples: &[usize], _mode: &Mode) -> anyhow::Result<Loss> {
        let points: Points = examples.iter().map(|i| self.train[*i]).collect();
        let (predicted, y) = self.predict(&points)?;
        let mean = predicted.sub(&y)?.pow_scalar(2.0)?.mean_all()?;
        Ok(Loss::new(mean, points.len()))
    }

    fn evaluate(&mut self) -> anyhow::Result<Option<Evaluation>> {
        let (predicted, y) = no_grad(|| self.predict(&self.validation))?;
        let error = predicted.sub(&y)?;
        let mse = no_grad(|| error.pow_scalar(2.0)?.mean_all()?.item())?;
        let mae = no_grad(|| error.abs()?.mean_all()?.item())?;
        // The name tells the loop that less is better. For a name that does not, set `greater_is_better`.
        Ok(Some(Evaluation::new(mse.into()).with("mae", mae.into())))
    }

    fn metric_for_best_model(&self) -> &str {
        "mae"
    }

    fn save(&self, dir: &Path) -> anyhow::Result<()> {
        Ok(nn::save(&self.network, dir.join("model.safetensors"))?)
    }

    fn load(&mut self, dir: &Path) -> anyhow::Result<()> {
        Ok(nn::load(&self.network, dir.join("model.safetensors"))?.strict()?)
    }
}

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    let output = std::env::temp_dir().join(format!("wgrad-own-task-{}", std::process::id()));
    std::fs::create_dir_all(&output)?;

    let mut arguments = TrainingArguments::new(&output);
    arguments.max_steps = 2000;
    arguments.per_device_train_batch_size = 32;
    arguments.learning_rate = 0.02;
    arguments.lr_scheduler_type = "constant".to_owned();
    arguments.eval_steps = Some(25.into());
    arguments.logging_steps = 100.into();
    arguments.early_stopping_patience = Some(8);

    let generator = Generator::new(&device, arguments.seed)?;
    let network = Network::new(&VarBuilder::fresh(&device, &generator))?;
    let point = |i: usize| {
        let x = (i as f32 * 0.618_034).fract() * 4.0 - 2.0;
        (x, (2.0 * x).sin() + 0.5 * x)
    };
    let mut task = Curve {
        device: device.clone(),
        network,
        train: (0..256).map(point).collect(),
        validation: (256..320).map(point).collect(),
        lengths: vec![1; 256],
    };

    let mut optimizer = arguments.optimizer(task.network.named_parameters())?;
    let mut scheduler = arguments.scheduler(arguments.total_steps(task.train.len()))?;
    let mut callbacks = Callbacks::new()
        .on_step(|log| {
            println!("step {:4}: loss {:.5}", log.step, log.loss);
            Ok(Flow::Continue)
        })
        .on_evaluate(|log| {
            // A callback may also fail: an error ends the run at once.
            anyhow::ensure!(log.evaluation.loss < 100.0, "this leads nowhere");
            Ok(match log.evaluation.get("mae") {
                Some(mae) if mae < 0.02 => Flow::Stop,
                _ => Flow::Continue,
            })
        });
    let outcome = train(
        &device,
        &mut task,
        &mut *optimizer,
        &mut scheduler,
        &arguments,
        &mut callbacks,
    )?;
    task.load(&output.join("checkpoint-best"))?;
    let best = task
        .evaluate()?
        .and_then(|e| e.get("mae"))
        .unwrap_or(f64::NAN);
    println!(
        "{:?} after {} steps; the best was step {:?} with a mean absolute error of {best:.4}",
        outcome.reason, outcome.steps, outcome.best_step
    );
    std::fs::remove_dir_all(&output)?;
    anyhow::ensure!(best < 0.1, "it did not learn");
    Ok(())
}
