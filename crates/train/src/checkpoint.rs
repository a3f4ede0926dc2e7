//! Checkpoints: the model as its task saves it, the optimizer's state as safetensors, the rest as JSON.
//! A checkpoint is filled under a temporary name and renamed, so that it is whole or not there.

mod valid;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use wgrad_nn::optim::{Optimizer, OptimizerState, check_state_values};
use wgrad_nn::schedule::{LrScheduler, Schedule};
use wgrad_tensor::{Device, Tensor};

use crate::early_stopping::EarlyStopping;
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
    /// The learning rate of the step that would have followed.
    #[serde(default)]
    pub(crate) next_learning_rate: f64,
    /// What the run's reports count.
    #[serde(default)]
    pub(crate) totals: Totals,
    /// What a run that goes on from here is compared with.
    #[serde(default)]
    pub(crate) facts: BTreeMap<String, String>,
}

/// Sums over a run, those before a resume included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub seconds: f64,
    pub evaluation_seconds: f64,
    /// The median of a step.
    pub step_seconds: f64,
    pub tokens: u64,
    pub peak_bytes: u64,
}

impl TrainerState {
    /// Reads the position of a checkpoint's run, before anything else is loaded.
    ///
    /// # Errors
    /// There is no checkpoint, or it is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let state = StateFile::read(path)?.state;
        ensure!(
            !state.facts.is_empty(),
            "{}: the checkpoint does not say of which run it is; train anew, or start from its model with model_name_or_path",
            path.display()
        );
        Ok(state)
    }

    /// A fact about the run, by its name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }
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
                "{}: there is no checkpoint to resume from: {e}; {}",
                path.display(),
                others(&path)
            )
        })?;
        serde_json::from_slice(&text)
            .map_err(|e| anyhow!("{}: not a checkpoint of this program: {e}", path.display()))
    }
}

/// The checkpoints beside one that is not there.
fn others(state_file: &Path) -> String {
    let folder = state_file.parent().and_then(Path::parent);
    let there: Vec<String> = ["checkpoint-last", "checkpoint-best"]
        .iter()
        .filter_map(|name| Some(folder?.join(name)))
        .filter(|path| path.join("trainer_state.json").exists())
        .map(|path| path.display().to_string())
        .collect();
    match there.is_empty() {
        true => "train without resume_from_checkpoint first".to_owned(),
        false => format!("there is {}", there.join(" and ")),
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

/// Refuses a checkpoint whose `trainer_state.json` no run with this early stopping and schedule writes. [`load`] does it
/// before anything changes.
///
/// # Errors
/// Names the number that is wrong.
pub fn check(path: &Path, early_stopping: &EarlyStopping, scheduler: &LrScheduler) -> Result<()> {
    checked(path, early_stopping, scheduler).map(|_| ())
}

fn checked(
    path: &Path,
    early_stopping: &EarlyStopping,
    scheduler: &LrScheduler,
) -> Result<StateFile> {
    let file = StateFile::read(path)?;
    file.check(early_stopping, scheduler.schedule())
        .with_context(|| damaged(path))?;
    Ok(file)
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
    let file = checked(path, early_stopping, scheduler)?;
    let tensors_path = path.join("optimizer.safetensors");
    let bytes = std::fs::read(&tensors_path)
        .with_context(|| format!("{}: cannot be read", tensors_path.display()))?;
    let stored = SafeTensors::deserialize(&bytes)
        .map_err(|e| anyhow!("{}: damaged: {e}", tensors_path.display()))?;
    let mut tensors = Vec::new();
    for (name, view) in stored.tensors() {
        ensure!(
            view.dtype() == Dtype::F32,
            "{}: damaged: `{name}` is {:?}, the state of an optimizer is F32",
            tensors_path.display(),
            view.dtype()
        );
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        check_state_values(&name, &values)
            .with_context(|| format!("{}: damaged", tensors_path.display()))?;
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
    // The settings are those of this run's arguments.
    early_stopping.best = file.early_stopping.best;
    early_stopping.waiting = file.early_stopping.waiting;
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

/// What stands in front of an error about a checkpoint's numbers.
pub(crate) fn damaged(path: &Path) -> String {
    format!(
        "{}: the checkpoint is damaged; resume from another, or start anew without resume_from_checkpoint",
        path.join("trainer_state.json").display()
    )
}
