//! What an optimizer remembers, as named tensors: for checkpoints.

use std::collections::{BTreeMap, HashMap};

use std::path::Path;

use wgrad_tensor::{DType, Device, Error, Result, Tensor, no_grad};

use super::multi_tensor::MultiTensor;
use crate::safetensors::{SafeFile, save_tensors};
use crate::{LoadReport, TensorSource};

/// The state of an optimizer. Parameters that were not updated yet have none.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState {
    /// Updates made, by parameter.
    pub steps: BTreeMap<String, u64>,
    /// Tensors called `<parameter>.exp_avg`, `<parameter>.exp_avg_sq`, `<parameter>.momentum_buffer`,
    /// f32 and of the parameter's shape.
    pub tensors: Vec<(String, Tensor)>,
    /// The scale of losses and the steps since it changed, where they are scaled.
    pub grad_scaler: Option<(f32, u32)>,
}

/// What the header of a state's file calls the counts of updates and the scaler.
const STEPS: &str = "optimizer_steps";
const GRAD_SCALER: &str = "grad_scaler";

impl OptimizerState {
    /// Writes the state to a safetensors file; counts of updates and the scaler go to its header. The file appears
    /// under its name only when it is complete and on disk.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::op("optimizer", error.to_string()))
        };
        let steps = json(serde_json::to_string(&self.steps))?;
        let scaler = json(serde_json::to_string(&self.grad_scaler))?;
        save_tensors(
            &self.tensors,
            path,
            &[(STEPS, &steps), (GRAD_SCALER, &scaler)],
        )
    }

    /// Reads what [`OptimizerState::save`] wrote. Errors: a damaged file, or one of other tensors.
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Self> {
        let file = SafeFile::open(path)?;
        let refuse = |key: &str| {
            let path = file.path().display();
            Error::op(
                "optimizer",
                format!("{path}: the header has no `{key}`; is it an optimizer's state?"),
            )
        };
        let entry = |key: &str| file.metadata().get(key).ok_or_else(|| refuse(key));
        let steps = serde_json::from_str(entry(STEPS)?).map_err(|_| refuse(STEPS))?;
        let grad_scaler =
            serde_json::from_str(entry(GRAD_SCALER)?).map_err(|_| refuse(GRAD_SCALER))?;
        let mut tensors = Vec::new();
        for name in TensorSource::names(&file) {
            let values = file.to_f32(&name)?;
            check_state_values(&name, &values)?;
            let tensor = Tensor::from_slice(device, &values, file.shape(&name)?)?;
            tensors.push((name, tensor));
        }
        Ok(Self {
            steps,
            tensors,
            grad_scaler,
        })
    }
}

/// Refuses values that no optimizer's state has: not finite, or the mean of squares below 0. Loaders call it for
/// each tensor of [`OptimizerState::tensors`].
///
/// Errors: names the tensor and the value.
pub fn check_state_values(name: &str, values: &[f32]) -> Result<()> {
    let least = match name.ends_with(".exp_avg_sq") {
        true => 0.0,
        false => f32::MIN,
    };
    let wrong = |value: &&f32| !(value.is_finite() && **value >= least);
    match values.iter().find(wrong) {
        None => Ok(()),
        Some(value) => Err(Error::op(
            "optimizer",
            format!("the state `{name}` holds {value}; load another checkpoint"),
        )),
    }
}

impl MultiTensor {
    pub(super) fn state_dict(&self) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        let scaler = self.grad_scaler_state()?;
        state.grad_scaler = scaler.map(|s| (s.scale, s.growth_tracker));
        let names = self.method.state_names();
        for (slot, made) in self.slots.iter().zip(self.updates()?) {
            if made == 0 {
                continue;
            }
            state.steps.insert(slot.name.clone(), made);
            for (name, tensor) in names.iter().zip(&slot.state) {
                state
                    .tensors
                    .push((format!("{}.{name}", slot.name), tensor.clone()));
            }
        }
        Ok(state)
    }

    pub(super) fn load_state_dict(&mut self, state: &OptimizerState) -> Result<LoadReport> {
        let refuse = |message: String| Err(Error::op("load_state_dict", message));
        let mut tensors: HashMap<&str, &Tensor> = state
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        let mut report = LoadReport::default();
        let known = |name: &String| self.slots.iter().any(|slot| slot.name == *name);
        report
            .unexpected
            .extend(state.steps.keys().filter(|name| !known(name)).cloned());
        let names = self.method.state_names();
        let mut loaded = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let step = state.steps.get(&slot.name).copied().unwrap_or(0);
            if step == 0 {
                report.missing.push(slot.name.clone());
            }
            let mut copies = Vec::new();
            for name in names.iter().filter(|_| step > 0) {
                let full = format!("{}.{name}", slot.name);
                let Some(tensor) = tensors.remove(full.as_str()) else {
                    return refuse(format!(
                        "the state has no tensor `{full}`; was it saved by another kind of optimizer?"
                    ));
                };
                if tensor.shape() != slot.tensor.shape() || tensor.dtype() != DType::F32 {
                    return refuse(format!(
                        "`{full}` is {tensor:?}, the parameter is {:?}",
                        slot.tensor
                    ));
                }
                let copy = Tensor::empty(slot.tensor.device(), tensor.shape(), DType::F32)?;
                no_grad(|| tensor.copy_into(&copy))?;
                copies.push(copy);
            }
            loaded.push((step, copies));
        }
        let mut too_many: Vec<String> = tensors.keys().map(|name| (*name).to_owned()).collect();
        too_many.sort();
        report.unexpected.extend(too_many);
        if let Some(scaling) = &self.scaling {
            let (scale, since) = state.grad_scaler.unwrap_or((scaling.init_scale(), 0));
            if !(scale.is_finite() && scale > 0.0) {
                return refuse(format!(
                    "the grad_scaler's scale is {scale}; it must be a number above 0"
                ));
            }
            scaling.write(scale, since)?;
        }
        if let Some(made) = &self.made {
            let steps: Vec<f32> = loaded.iter().map(|(step, _)| *step as f32).collect();
            made.copy_from_slice(&steps)?;
        }
        // The next step puts the loaded state where updates reach it.
        self.flats.clear();
        for (slot, (step, copies)) in self.slots.iter_mut().zip(loaded) {
            slot.step = step;
            slot.state = copies;
            slot.placed = false;
        }
        Ok(report)
    }
}
