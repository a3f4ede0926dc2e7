//! The common part of the optimizers: their parameters lie side by side on the device, with their state, and a few
//! launches update all of them.

use std::collections::HashSet;

use wgrad_tensor::ops::optim::{Flat, SCALARS, Scaling, check_parameter, norm};
use wgrad_tensor::{DType, Device, Error, Gradients, Result, Tensor, no_grad};

use super::{AdamConstants, GradNorm, ParamGroups, SgdConstants, at_least_0};

/// The rule that an optimizer follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Method {
    Sgd(SgdConstants),
    Adam(AdamConstants),
    AdamW(AdamConstants),
}

/// One parameter, its group, and the optimizer's state for it.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    group: usize,
    /// Updates asked for so far; with a scaler [`Optimizer::made`] has those that were not skipped.
    pub(super) step: u64,
    /// As named by [`Method::state_names`]; empty before the first update.
    pub(super) state: Vec<Tensor>,
    /// Whether one of [`Optimizer::flats`] holds it.
    pub(super) placed: bool,
}

/// The hyperparameters of a group.
#[derive(Debug)]
struct Group {
    lr_scale: f64,
    weight_decay: f64,
}

/// Parameters with the rule that updates them. Memory is taken for parameters that receive a gradient only; frozen
/// ones cost nothing.
pub(super) struct MultiTensor {
    pub(super) method: Method,
    lr: f64,
    groups: Vec<Group>,
    pub(super) slots: Vec<Slot>,
    /// Parameters that were updated before, side by side on the device, with their rows in `slots`.
    pub(super) flats: Vec<(Flat, Vec<usize>)>,
    /// What changes from step to step, one row a parameter: kernels read it from here.
    scalars: Option<Tensor>,
    pub(super) scaling: Option<Scaling>,
    /// What the device makes [`MultiTensor::scalars`] from, with a scaler.
    rows: Option<Tensor>,
    /// f32, updates made of each parameter, with a scaler: the device counts them.
    pub(super) made: Option<Tensor>,
}

impl MultiTensor {
    /// `weight_decay` is that of groups that name none.
    ///
    /// Errors: numbers out of range; no parameter; one that is not a contiguous f32 tensor or is in two groups. A
    /// tensor that a group lists twice (tied weights) is updated once.
    pub(super) fn new(
        method: Method,
        param_groups: ParamGroups,
        lr: f64,
        weight_decay: f64,
    ) -> Result<Self> {
        at_least_0("weight_decay", weight_decay)?;
        let mut groups = Vec::new();
        let mut slots: Vec<Slot> = Vec::new();
        let mut seen = HashSet::new();
        for (group, params) in param_groups.0.into_iter().enumerate() {
            let weight_decay = params.weight_decay.unwrap_or(weight_decay);
            at_least_0("weight_decay", weight_decay)?;
            at_least_0("lr_scale", params.lr_scale)?;
            for (name, tensor) in params.params {
                if let Err(error) = check_parameter(&tensor) {
                    return Err(Error::op(
                        "optimizer",
                        format!("parameter `{name}`: {error}"),
                    ));
                }
                if !seen.insert(tensor.id()) {
                    let tied = slots
                        .iter()
                        .any(|s| s.group == group && s.tensor.id() == tensor.id());
                    if tied {
                        continue;
                    }
                    return Err(Error::op(
                        "optimizer",
                        format!("parameter `{name}` is in two groups; list it in one"),
                    ));
                }
                slots.push(Slot {
                    name,
                    tensor,
                    group,
                    step: 0,
                    state: Vec::new(),
                    placed: false,
                });
            }
            groups.push(Group {
                lr_scale: params.lr_scale,
                weight_decay,
            });
        }
        if slots.is_empty() {
            return Err(Error::op("optimizer", "no parameter was given"));
        }
        let mut all = Self {
            method,
            lr: 0.0,
            groups,
            slots,
            flats: Vec::new(),
            scalars: None,
            scaling: None,
            rows: None,
            made: None,
        };
        all.set_lr(lr)?;
        Ok(all)
    }

    pub(super) fn lr(&self) -> f64 {
        self.lr
    }

    pub(super) fn set_lr(&mut self, lr: f64) -> Result<()> {
        at_least_0("learning rate", lr)?;
        self.lr = lr;
        Ok(())
    }

    /// As [`Optimizer::step`](super::Optimizer::step).
    pub(super) fn step(
        &mut self,
        gradients: &Gradients,
        max_norm: Option<f64>,
    ) -> Result<GradNorm> {
        let due: Vec<Option<&Tensor>> = self
            .slots
            .iter()
            .map(|slot| match slot.tensor.requires_grad() {
                true => gradients.get(&slot.tensor),
                false => None,
            })
            .collect();
        if due.iter().all(Option::is_none) {
            return Err(Error::op(
                "optimizer.step",
                format!(
                    "none of the {} parameters has one of the {} gradients; is everything frozen, or is this another model's loss?",
                    self.slots.len(),
                    gradients.len()
                ),
            ));
        }
        self.place(&due)?;
        for (flat, rows) in &mut self.flats {
            let gradients: Vec<_> = rows.iter().map(|row| Some((due[*row]?, *row))).collect();
            flat.load(&gradients)?;
        }
        let flats: Vec<&Flat> = self.flats.iter().map(|(flat, _)| flat).collect();
        let clip = norm(&flats, max_norm, self.scaling.as_ref())?;
        for (slot, gradient) in self.slots.iter_mut().zip(&due) {
            slot.step += u64::from(gradient.is_some());
            if gradient.is_some() {
                slot.tensor.mark_written();
            }
        }
        let scalars = self.scalars_of_step(&due, &clip)?;
        for (flat, _) in &self.flats {
            match &self.method {
                Method::Sgd(sgd) => flat.sgd(&scalars, &clip, sgd.momentum, sgd.nesterov)?,
                Method::Adam(adam) | Method::AdamW(adam) => {
                    flat.adamw(&scalars, &clip, adam.of_kernel())?;
                }
            }
        }
        Ok(GradNorm::of_clip(clip))
    }

    /// Moves the parameters that get their first gradient now side by side and gives them state: zeros, or
    /// what was loaded for them.
    fn place(&mut self, due: &[Option<&Tensor>]) -> Result<()> {
        let new: Vec<usize> = (0..self.slots.len())
            .filter(|row| due[*row].is_some() && !self.slots[*row].placed)
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let tensors: Vec<&Tensor> = new.iter().map(|row| &self.slots[*row].tensor).collect();
        let states = self.method.state_names().len();
        for (flat, members) in Flat::pack(&tensors, states)? {
            let rows: Vec<usize> = members.iter().map(|i| new[*i]).collect();
            for (member, row) in rows.iter().enumerate() {
                let slot = &mut self.slots[*row];
                let loaded = std::mem::take(&mut slot.state);
                for i in 0..states {
                    let state = flat.state(i, member)?;
                    if let Some(loaded) = loaded.get(i) {
                        no_grad(|| loaded.copy_into(&state))?;
                    }
                    slot.state.push(state);
                }
                slot.placed = true;
            }
            self.flats.push((flat, rows));
        }
        Ok(())
    }

    /// Every parameter's row of scalars for the step it is at, in the one device table. With a scaler the
    /// device makes them: it alone knows which steps were skipped.
    fn scalars_of_step(&mut self, due: &[Option<&Tensor>], clip: &Tensor) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(self.slots.len() * SCALARS);
        for (slot, gradient) in self.slots.iter().zip(due) {
            let group = &self.groups[slot.group];
            let lr = self.lr * group.lr_scale;
            let decay = group.weight_decay;
            rows.extend(match (&self.scaling, &self.method) {
                (Some(_), method) => method.row(lr, decay, gradient.is_some()),
                (None, Method::Sgd(sgd)) => sgd.scalars(lr, decay, slot.step),
                (None, Method::Adam(adam)) => adam.scalars(lr, 0.0, decay, slot.step),
                (None, Method::AdamW(adam)) => adam.scalars(lr, decay, 0.0, slot.step),
            });
        }
        let shape = [self.slots.len(), SCALARS];
        let device = self.slots[0].tensor.device();
        let (Some(scaling), Some(made)) = (&self.scaling, &self.made) else {
            return table(&mut self.scalars, device, &rows, &shape);
        };
        let rows = table(&mut self.rows, device, &rows, &shape)?;
        let scalars = match &self.scalars {
            Some(scalars) => scalars.clone(),
            None => Tensor::empty(device, &shape, DType::F32)?,
        };
        scaling.scalars(&rows, self.method.rule(), (clip, made), &scalars)?;
        self.scalars = Some(scalars.clone());
        Ok(scalars)
    }
}

/// Writes `values` into the tensor in `place`, which is made if it is not there.
fn table(
    place: &mut Option<Tensor>,
    device: &Device,
    values: &[f32],
    shape: &[usize],
) -> Result<Tensor> {
    let tensor = match place.take() {
        Some(tensor) => {
            tensor.copy_from_slice(values)?;
            tensor
        }
        None => Tensor::from_slice(device, values, shape)?,
    };
    *place = Some(tensor.clone());
    Ok(tensor)
}

impl Method {
    /// What PyTorch calls the state of one parameter.
    pub(super) fn state_names(&self) -> &'static [&'static str] {
        match self {
            Method::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Method::Sgd(_) => &["momentum_buffer"],
            Method::Adam(_) | Method::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }
}

impl std::fmt::Debug for MultiTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiTensor")
            .field("method", &self.method)
            .field("lr", &self.lr)
            .field("groups", &self.groups)
            .field("parameters", &self.slots.len())
            .finish_non_exhaustive()
    }
}
