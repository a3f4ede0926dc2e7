//! An optimizer written outside of the crate, from public ops: Lion (arXiv:2302.06675).

use std::collections::HashMap;

use wgrad::nn::optim::{GradNorm, Optimizer, OptimizerState, clip_grad_norm};
use wgrad::nn::{LoadReport, Parameters};
use wgrad::tensor::{DType, Device, Gradients, Result, Tensor, no_grad};

use super::{LR, close, device, gradient, gradients, small, values};

struct Lion {
    parameters: Parameters,
    lr: f64,
    betas: (f32, f32),
    /// The running average of each parameter's gradient, by name.
    averages: HashMap<String, Tensor>,
    steps: u64,
}

impl Lion {
    fn new(parameters: Parameters, lr: f64) -> Self {
        Self {
            parameters,
            lr,
            betas: (0.9, 0.99),
            averages: HashMap::new(),
            steps: 0,
        }
    }
}

fn sign(x: &Tensor) -> Result<Tensor> {
    let zero = Tensor::zeros(x.device(), &[], DType::F32)?;
    x.gt(&zero)?
        .cast(DType::F32)?
        .sub(&x.lt(&zero)?.cast(DType::F32)?)
}

impl Optimizer for Lion {
    fn step(&mut self, gradients: &Gradients, max_grad_norm: Option<f64>) -> Result<GradNorm> {
        let mut gradients = gradients.clone();
        let norm = clip_grad_norm(&self.parameters, &mut gradients, max_grad_norm)?;
        assert_eq!(gradients.named(&self.parameters).count(), gradients.len());
        let (beta1, beta2) = self.betas;
        no_grad(|| -> Result<()> {
            for (name, tensor) in &self.parameters {
                let Some(gradient) = gradients.get(tensor) else {
                    continue;
                };
                let average = match self.averages.get(name) {
                    Some(average) => average.clone(),
                    None => Tensor::zeros(tensor.device(), tensor.shape(), DType::F32)?,
                };
                let mixed = |beta: f32| -> Result<Tensor> {
                    average
                        .mul_scalar(beta)?
                        .add(&gradient.mul_scalar(1.0 - beta)?)
                };
                let step = sign(&mixed(beta1)?)?.mul_scalar(self.lr as f32)?;
                tensor.sub(&step)?.copy_into(tensor)?;
                self.averages.insert(name.clone(), mixed(beta2)?);
            }
            Ok(())
        })?;
        self.steps += 1;
        Ok(norm)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.lr = lr;
        Ok(())
    }

    fn state_dict(&self) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        for (name, average) in &self.averages {
            state.steps.insert(name.clone(), self.steps);
            state
                .tensors
                .push((format!("{name}.average"), average.clone()));
        }
        Ok(state)
    }

    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<LoadReport> {
        let mut report = LoadReport::default();
        let stored: HashMap<&str, &Tensor> = state
            .tensors
            .iter()
            .map(|(name, t)| (name.as_str(), t))
            .collect();
        for (name, _) in &self.parameters {
            match stored.get(format!("{name}.average").as_str()) {
                Some(average) => {
                    self.averages.insert(name.clone(), (*average).clone());
                }
                None => report.missing.push(name.clone()),
            }
        }
        self.steps = state.steps.values().max().copied().unwrap_or(0);
        Ok(report)
    }
}

/// The same on the host.
fn host(steps: usize) -> Vec<f64> {
    let mut p = [0.5, -1.0, 2.0, 0.25];
    let mut m = [0.0; 4];
    for t in 0..steps {
        let g = gradient(t);
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = (1.0 / (norm + 1e-6)).min(1.0);
        for i in 0..4 {
            let g = factor * g[i];
            let mixed: f64 = 0.9 * m[i] + 0.1 * g;
            // Exact zeros have no sign.
            p[i] -= if mixed == 0.0 {
                0.0
            } else {
                LR * mixed.signum()
            };
            m[i] = 0.99 * m[i] + 0.01 * g;
        }
    }
    p.to_vec()
}

fn train(device: &Device, optimizer: &mut dyn Optimizer, params: &Parameters) {
    for t in 0..6 {
        let norm = optimizer.step(&gradients(params, t), Some(1.0)).unwrap();
        let want = gradient(t).iter().map(|g| g * g).sum::<f64>().sqrt();
        close("norm", &[norm.item().unwrap()], &[want]);
    }
    assert!(optimizer.set_grad_scaler(Default::default()).is_err());
    let loss = Tensor::ones(device, &[], DType::F32).unwrap();
    assert_eq!(optimizer.scale(&loss).unwrap().item().unwrap(), 1.0);
    assert!(optimizer.grad_scaler_state().unwrap().is_none());
}

#[test]
fn a_users_optimizer_trains_saves_and_resumes() {
    let device = device();
    let params = small(&device);
    let mut lion = Lion::new(params.clone(), LR);
    train(&device, &mut lion, &params);
    close("lion", &values(&params), &host(6));
    let state = lion.state_dict().unwrap();
    let mut resumed = Lion::new(params, LR);
    resumed.load_state_dict(&state).unwrap().strict().unwrap();
    assert_eq!(resumed.steps, 6);
}
