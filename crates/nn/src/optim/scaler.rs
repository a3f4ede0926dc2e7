//! Loss scaling: what keeps the gradients of f16 activations within f16's range.

use wgrad_tensor::ops::optim::{Flat, GradScaler, Scaling, StepRule, member_of};
use wgrad_tensor::{DType, Error, Gradients, Result, Tensor};

use super::multi_tensor::{Method, MultiTensor};

/// The state of loss scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct GradScalerState {
    /// The factor of the next loss.
    pub scale: f32,
    /// Steps since it changed.
    pub growth_tracker: u32,
    /// Steps that updated nothing since this optimizer was made or loaded: a gradient was not finite.
    pub skipped_steps: u64,
    /// The last parameter, in the optimizer's order, with such a gradient in the last of them. The backward
    /// pass goes from the last layer to the first, so it is the first that overflowed. Sums are taken over
    /// 16,384 elements: of smaller parameters side by side the last is named.
    pub overflowed: Option<String>,
}

impl MultiTensor {
    pub(super) fn set_grad_scaler(&mut self, rule: GradScaler) -> Result<()> {
        if self.slots.iter().any(|slot| slot.step > 0) {
            return Err(Error::op(
                "grad_scaler",
                "this optimizer has made steps; set its scaler before the first",
            ));
        }
        let device = self.slots[0].tensor.device();
        self.scaling = Some(Scaling::new(device, rule)?);
        self.made = Some(Tensor::zeros(device, &[self.slots.len()], DType::F32)?);
        Ok(())
    }

    pub(super) fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        match &self.scaling {
            Some(scaling) => loss.mul(&scaling.scale()?),
            None => Ok(loss.clone()),
        }
    }

    /// This optimizer's gradients as they would be without a scale, as copies.
    pub(super) fn unscale(&self, gradients: &Gradients) -> Result<Gradients> {
        let mut out = Gradients::default();
        for slot in &self.slots {
            let Some(gradient) = gradients.get(&slot.tensor) else {
                continue;
            };
            let plain = match &self.scaling {
                Some(scaling) => gradient.div(&scaling.scale()?)?,
                None => gradient.clone(),
            };
            out.insert(&slot.tensor, plain);
        }
        Ok(out)
    }

    pub(super) fn grad_scaler_state(&self) -> Result<Option<GradScalerState>> {
        let Some(scaling) = &self.scaling else {
            return Ok(None);
        };
        let [scale, since, skipped, partial] = scaling.read()?;
        let flats: Vec<&Flat> = self.flats.iter().map(|(flat, _)| flat).collect();
        let member = match partial >= 0.0 {
            true => member_of(&flats, partial as usize),
            false => None,
        };
        Ok(Some(GradScalerState {
            scale,
            growth_tracker: since as u32,
            skipped_steps: skipped as u64,
            overflowed: member.map(|(i, k)| self.slots[self.flats[i].1[k]].name.clone()),
        }))
    }

    /// Updates made of each parameter, in order. Waits, with a scaler.
    pub(super) fn updates(&self) -> Result<Vec<u64>> {
        match &self.made {
            Some(made) => Ok(made.to_vec::<f32>()?.iter().map(|n| *n as u64).collect()),
            None => Ok(self.slots.iter().map(|slot| slot.step).collect()),
        }
    }
}

impl Method {
    /// For [`Scaling::scalars`].
    pub(super) fn rule(&self) -> StepRule {
        match self {
            Method::Sgd(sgd) => StepRule::Sgd {
                momentum: sgd.momentum,
                dampening: sgd.dampening,
            },
            Method::Adam(adam) | Method::AdamW(adam) => StepRule::Adam { betas: adam.betas },
        }
    }

    /// A parameter's row for [`Scaling::scalars`].
    pub(super) fn row(&self, lr: f64, weight_decay: f64, due: bool) -> [f32; 4] {
        let (decay, l2) = match self {
            Method::Sgd(_) => (weight_decay, 0.0),
            Method::Adam(_) => (1.0, weight_decay),
            Method::AdamW(_) => (1.0 - lr * weight_decay, 0.0),
        };
        [lr, decay, l2, f64::from(due)].map(|v| v as f32)
    }
}
