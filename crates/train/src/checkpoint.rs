//! Checkpoints: the model as its task saves it, the optimizer's state as safetensors, the rest as JSON.
//! A checkpoint is filled under a temporary name and renamed, so that it is whole or not there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use wgrad_nn::optim::{Optimizer, OptimizerState};
use wgrad_nn::schedule::{LrScheduler, Schedule};
use wgrad_tensor::{Device, Tensor};

use crate::arguments::TrainingArguments;
use crate::early_stopping::{BestMetric, EarlyStopping};
use crate::fs::{AtomicDir, recover};
use crate::task::Task;

/// The position of a run. Together with the seed it fixes everything that follows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Optimizer steps done.
    pub global_step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Optimizer steps done in the epoch under way.
    pub step_in_epoch: u64,
    /// The step of the best evaluation.
    pub best_step: Option<u64>,
    seed: u64,
    examples: usize,
    batch_size: usize,
    gradient_accumulation_steps: usize,
    #[serde(default)]
    fp16: bool,
    /// How the examples are ordered, and a hash of their lengths: with the seed they make the batches.
    #[serde(default)]
    order: String,
    #[serde(default)]
    lengths: u64,
    /// `adamw`, `adam` or `sgd`; empty in checkpoints that do not say.
    #[serde(default)]
    optim: String,
    /// The metric of the best step and its direction; empty in older checkpoints.
    #[serde(default)]
    metric_for_best_model: String,
    #[serde(default)]
    greater_is_better: bool,
}

impl TrainerState {
    /// Reads the position of a checkpoint's run, before anything else is loaded.
    ///
    /// # Errors
    /// There is no checkpoint, or it is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(StateFile::read(path)?.state)
    }

    /// Stores the settings that a resumed run must share with this one. `lengths` are the examples' in tokens.
    pub fn remember(
        &mut self,
        arguments: &TrainingArguments,
        best_metric: &BestMetric,
        lengths: &[usize],
    ) {
        self.seed = arguments.seed;
        self.examples = lengths.len();
        self.batch_size = arguments.per_device_train_batch_size;
        self.gradient_accumulation_steps = arguments.gradient_accumulation_steps;
        self.fp16 = arguments.fp16;
        self.order = format!("{:?}", arguments.order());
        self.optim = arguments.optim.clone();
        self.metric_for_best_model = best_metric.name.clone();
        self.greater_is_better = best_metric.greater_is_better;
        self.lengths = hash(lengths);
    }

    /// The names of what differs between this run and one with these arguments, where the two must be equal
    /// for the one to continue the other.
    pub fn differences(
        &self,
        arguments: &TrainingArguments,
        best_metric: &BestMetric,
        lengths: &[usize],
    ) -> Vec<&'static str> {
        let mut other = self.clone();
        other.remember(arguments, best_metric, lengths);
        let metric = |state: &Self| (state.metric_for_best_model.clone(), state.greater_is_better);
        let same = [
            ("seed", self.seed == other.seed),
            (
                "per_device_train_batch_size",
                self.batch_size == other.batch_size,
            ),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps == other.gradient_accumulation_steps,
            ),
            ("fp16", self.fp16 == other.fp16),
            ("optim", self.optim.is_empty() || self.optim == other.optim),
            (
                "metric_for_best_model or greater_is_better",
                self.metric_for_best_model.is_empty() || metric(self) == metric(&other),
            ),
            (
                "order of the texts (no_shuffle, no_group_by_length)",
                self.order == other.order,
            ),
            (
                "training file, max_train_samples or max_seq_length",
                (self.examples, self.lengths) == (other.examples, other.lengths),
            ),
        ];
        same.iter()
            .filter(|(_, same)| !same)
            .map(|(name, _)| *name)
            .collect()
    }
}

/// FNV-1a (Fowler, Noll and Vo) over the numbers' bytes: the same on every platform and in every release.
fn hash(numbers: &[usize]) -> u64 {
    let bytes = numbers.iter().flat_map(|n| (*n as u64).to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `trainer_state.json`.
#[derive(Serialize, Deserialize)]
struct StateFile {
    #[serde(flatten)]
    state: TrainerState,
    early_stopping: EarlyStopping,
    plateau: Option<Plateau>,
    optimizer_steps: BTreeMap<String, u64>,
    #[serde(default)]
    grad_scaler: Option<(f32, u32)>,
}

impl StateFile {
    fn read(path: &Path) -> Result<Self> {
        recover(path)?;
        let path = path.join("trainer_state.json");
        let text = std::fs::read(&path).map_err(|e| {
            anyhow!(
                "{}: there is no checkpoint to resume from: {e}; train without resume_from_checkpoint first",
                path.display()
            )
        })?;
        serde_json::from_slice(&text)
            .map_err(|e| anyhow!("{}: not a checkpoint of this program: {e}", path.display()))
    }
}

/// The values that a schedule on plateaus has observed.
#[derive(Serialize, Deserialize)]
struct Plateau {
    best: Option<f64>,
    bad_evaluations: u64,
    cooldown_left: u64,
    reduced_lr: Option<f64>,
}

/// Writes a checkpoint to `path`, replacing one that is there.
///
/// # Errors
/// Errors of the device, the task or the file system.
pub fn save(
    path: &Path,
    task: &dyn Task,
    optimizer: &dyn Optimizer,
    scheduler: &LrScheduler,
    early_stopping: &EarlyStopping,
    state: &TrainerState,
) -> Result<()> {
    let folder = AtomicDir::new(path)?;
    task.save(folder.path())?;
    let OptimizerState {
        steps,
        tensors,
        grad_scaler,
    } = optimizer.state_dict()?;
    let mut bytes = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let values: Vec<u8> = tensor
            .to_vec::<f32>()?
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        bytes.push((name, tensor.shape(), values));
    }
    let views = bytes
        .iter()
        .map(|(name, shape, values)| {
            Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), values)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    std::fs::write(
        folder.path().join("optimizer.safetensors"),
        serialize(views, None)?,
    )?;
    let plateau = match scheduler.schedule() {
        Schedule::ReduceOnPlateau(p) => Some(Plateau {
            best: p.best,
            bad_evaluations: p.bad_evaluations,
            cooldown_left: p.cooldown_left,
            reduced_lr: p.reduced_lr,
        }),
        _ => None,
    };
    let file = StateFile {
        state: state.clone(),
        early_stopping: early_stopping.clone(),
        plateau,
        optimizer_steps: steps,
        grad_scaler,
    };
    std::fs::write(
        folder.path().join("trainer_state.json"),
        serde_json::to_vec_pretty(&file)?,
    )?;
    folder.commit()
}

/// Reads back what a checkpoint holds of optimizer, schedule and early stopping.
///
/// # Errors
/// There is no checkpoint, it is damaged, or it is of another optimizer.
pub fn load(
    path: &Path,
    device: &Device,
    optimizer: &mut dyn Optimizer,
    scheduler: &mut LrScheduler,
    early_stopping: &mut EarlyStopping,
) -> Result<()> {
    let file = StateFile::read(path)?;
    let tensors_path = path.join("optimizer.safetensors");
    let bytes = std::fs::read(&tensors_path)
        .with_context(|| format!("{}: cannot be read", tensors_path.display()))?;
    let stored = SafeTensors::deserialize(&bytes)
        .map_err(|e| anyhow!("{}: damaged: {e}", tensors_path.display()))?;
    let mut tensors = Vec::new();
    for (name, view) in stored.tensors() {
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        tensors.push((name, Tensor::from_slice(device, &values, view.shape())?));
    }
    let report = optimizer.load_state_dict(&OptimizerState {
        steps: file.optimizer_steps,
        tensors,
        grad_scaler: file.grad_scaler,
    })?;
    // Frozen parameters have no state.
    report
        .allow_missing()
        .with_context(|| format!("{}: the optimizer's state", path.display()))?;
    let patience = early_stopping.patience;
    *early_stopping = file.early_stopping;
    early_stopping.patience = patience;
    if let (Some(p), Schedule::ReduceOnPlateau(now)) = (file.plateau, scheduler.schedule()) {
        let mut plateau = now.clone();
        plateau.best = p.best;
        plateau.bad_evaluations = p.bad_evaluations;
        plateau.cooldown_left = p.cooldown_left;
        plateau.reduced_lr = p.reduced_lr;
        *scheduler = LrScheduler::new(scheduler.base_lr(), Schedule::ReduceOnPlateau(plateau))?;
    }
    Ok(())
}
