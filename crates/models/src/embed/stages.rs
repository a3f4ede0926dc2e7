//! The modules of `sentence-transformers` that follow pooling.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use wgrad_nn::{LayerNorm, Linear, VarBuilder};
use wgrad_tensor::{Device, Tensor};

use crate::config::{Keys, read_json};
use crate::io::safetensors::Weights;

/// A module that turns vectors (B, C) into others.
#[derive(Debug)]
pub(super) enum Stage {
    /// Each vector divided by its Euclidean length.
    Normalize,
    /// A linear layer, an activation, and perhaps the input added.
    Dense(Dense),
    /// A layer norm.
    LayerNorm { dimension: usize, weights: Weights },
}

/// The settings of a `Dense` module, and its weights.
#[derive(Debug)]
pub(super) struct Dense {
    inputs: usize,
    outputs: usize,
    bias: bool,
    activation: DenseActivation,
    residual: bool,
    weights: Weights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Silu,
    Sigmoid,
}

impl Stage {
    /// The module `class` of the folder `dir`. `None` for one that does nothing when nothing is trained.
    pub(super) fn read(class: &str, dir: &Path, notes: &mut Vec<String>) -> Result<Option<Self>> {
        let path = dir.join("config.json");
        let config = || -> Result<Value> { read_json(&path) };
        let located = |error: anyhow::Error| anyhow!("{}: {error:#}", path.display());
        Ok(Some(match class {
            // Old ones have no file.
            "Normalize" if !path.exists() => Stage::Normalize,
            "Normalize" => {
                only_sentences(&config()?).map_err(located)?;
                Stage::Normalize
            }
            "Dropout" => return Ok(None),
            "Dense" => {
                let json = config()?;
                let dense = Dense::read(&json, dir, notes).map_err(located)?;
                Stage::Dense(dense)
            }
            "LayerNorm" => {
                let json = config()?;
                let keys = Keys(
                    json.as_object()
                        .context("expected a JSON object")
                        .map_err(located)?,
                );
                Stage::LayerNorm {
                    dimension: required(&keys, "dimension").map_err(located)?,
                    weights: Weights::open(dir)?,
                }
            }
            _ => bail!(
                "module {class:?} is not supported; known are Transformer, Pooling, Dense, LayerNorm, Dropout, Normalize"
            ),
        }))
    }

    /// Brings the weights onto the device.
    pub(super) fn load(&self, device: &Device) -> Result<LoadedStage> {
        Ok(match self {
            Stage::Normalize => LoadedStage::Normalize,
            Stage::LayerNorm { dimension, weights } => {
                let vb = VarBuilder::from_source(device, Box::new(weights));
                LoadedStage::LayerNorm(LayerNorm::new(*dimension, 1e-5, &vb.pp("norm"))?)
            }
            Stage::Dense(dense) => {
                let vb = VarBuilder::from_source(device, Box::new(&dense.weights));
                let (inputs, outputs) = (dense.inputs, dense.outputs);
                let linear = match dense.bias {
                    true => Linear::new(inputs, outputs, &vb.pp("linear"))?,
                    false => Linear::no_bias(inputs, outputs, &vb.pp("linear"))?,
                };
                let project = dense.residual && inputs != outputs;
                LoadedStage::Dense {
                    linear,
                    activation: dense.activation,
                    add_input: dense.residual,
                    residual: match project {
                        true => Some(Linear::no_bias(inputs, outputs, &vb.pp("residual"))?),
                        false => None,
                    },
                }
            }
        })
    }
}

impl Dense {
    fn read(json: &Value, dir: &Path, notes: &mut Vec<String>) -> Result<Self> {
        only_sentences(json)?;
        let keys = Keys(json.as_object().context("expected a JSON object")?);
        let activation = match keys.string("activation_function")? {
            None => DenseActivation::Tanh,
            Some(name) if name.starts_with("torch.") => {
                match name.rsplit('.').next().unwrap_or(name) {
                    "Identity" => DenseActivation::Identity,
                    "Tanh" => DenseActivation::Tanh,
                    "ReLU" => DenseActivation::Relu,
                    "GELU" => DenseActivation::Gelu,
                    "SiLU" => DenseActivation::Silu,
                    "Sigmoid" => DenseActivation::Sigmoid,
                    _ => bail!(
                        "activation_function is {name:?}; known are Identity, Tanh, ReLU, GELU, SiLU and Sigmoid of torch.nn"
                    ),
                }
            }
            Some(name) => {
                // As sentence-transformers does where it does not trust the model's code.
                notes.push(format!(
                    "activation_function {name:?} is not one of torch; Tanh takes its place"
                ));
                DenseActivation::Tanh
            }
        };
        Ok(Self {
            inputs: required(&keys, "in_features")?,
            outputs: required(&keys, "out_features")?,
            bias: keys.get("bias").is_none() || keys.flag("bias")?,
            activation,
            residual: keys.flag("use_residual")?,
            weights: Weights::open(dir)?,
        })
    }
}

fn required(keys: &Keys, key: &str) -> Result<usize> {
    ensure!(keys.get(key).is_some(), "{key} is missing");
    keys.size(&[key], 1, 1 << 16)
}

/// Refuses a module that works on tokens instead of sentences.
fn only_sentences(json: &Value) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        let name = &json[key];
        ensure!(
            name.is_null() || name == "sentence_embedding",
            "{key} is {name}; only \"sentence_embedding\" is supported"
        );
    }
    Ok(())
}

/// A [`Stage`] on a device.
pub(super) enum LoadedStage {
    Normalize,
    LayerNorm(LayerNorm),
    Dense {
        linear: Linear,
        activation: DenseActivation,
        add_input: bool,
        residual: Option<Linear>,
    },
}

impl LoadedStage {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            LoadedStage::Normalize => {
                let norm = x.mul(x)?.sum(&[-1], true)?.sqrt()?;
                x.div(&norm.clamp(1e-12, f32::MAX)?)?
            }
            LoadedStage::LayerNorm(norm) => norm.forward(x)?,
            LoadedStage::Dense {
                linear,
                activation,
                add_input,
                residual,
            } => {
                let y = linear.forward(x)?;
                let y = match activation {
                    DenseActivation::Identity => y,
                    DenseActivation::Tanh => y.tanh()?,
                    DenseActivation::Relu => y.relu()?,
                    DenseActivation::Gelu => y.gelu()?,
                    DenseActivation::Silu => y.silu()?,
                    DenseActivation::Sigmoid => y.sigmoid()?,
                };
                match (add_input, residual) {
                    (true, Some(residual)) => y.add(&residual.forward(x)?)?,
                    (true, None) => y.add(x)?,
                    (false, _) => y,
                }
            }
        })
    }
}
