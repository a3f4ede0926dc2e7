//! Rotary positions that are stretched for texts longer than those a model was first trained on.

use std::f64::consts::TAU;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::config::Keys;

/// What the angles of rotary positions are divided by.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Every angle by the same number (Chen et al., arXiv:2306.15595).
    Linear {
        /// The number.
        factor: f64,
    },
    /// As in Llama 3.1: slow angles by `factor`, fast ones not at all, those between by something between.
    Llama3 {
        /// What slow angles are divided by.
        factor: f64,
        /// An angle is slow that turns less often than this in a text of the original length.
        low_freq_factor: f64,
        /// An angle is fast that turns more often than this in a text of the original length.
        high_freq_factor: f64,
        /// The original length.
        original_max_position_embeddings: usize,
    },
    /// Each angle by a number of its own, as `rope_freqs.weight` of a GGUF file says.
    Divisors(Vec<f32>),
}

impl RopeScaling {
    /// The angles at position 1, scaled.
    pub fn apply(&self, frequencies: &[f64]) -> Vec<f64> {
        let divided = |divisor: f64| frequencies.iter().map(|f| f / divisor).collect();
        match *self {
            Self::Linear { factor } => divided(factor),
            Self::Divisors(ref divisors) => frequencies
                .iter()
                .zip(divisors)
                .map(|(f, divisor)| f / f64::from(*divisor))
                .collect(),
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => frequencies
                .iter()
                .map(|f| {
                    let turns = length as f64 * f / TAU;
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    kept * f + (1.0 - kept) * f / factor
                })
                .collect(),
        }
    }

    /// What a GGUF file's divisors mean for these angles: Llama 3.1's rule where they follow from it, so that
    /// a folder saved of the model can say so; else the divisors themselves.
    pub(super) fn from_divisors(divisors: Vec<f32>, frequencies: &[f64]) -> Result<Option<Self>> {
        ensure!(
            divisors.len() == frequencies.len(),
            "`rope_freqs.weight` holds {} numbers, a head has {} pairs of channels",
            divisors.len(),
            frequencies.len()
        );
        if let Some(wrong) = divisors.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
            bail!("`rope_freqs.weight` holds {wrong}; it must hold positive numbers");
        }
        let Some(factor) = divisors.iter().copied().reduce(f32::max) else {
            return Ok(None);
        };
        if divisors.iter().all(|d| *d == 1.0) {
            return Ok(None);
        }
        // All models with this rule say 1, 4 and 8192.
        let rule = Self::Llama3 {
            factor: f64::from(factor),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let same = rule.apply(frequencies);
        let same = same.iter().zip(frequencies).zip(&divisors);
        let follows = |((scaled, f), d): ((&f64, &f64), &f32)| {
            (f / scaled / f64::from(*d) - 1.0).abs() < 1e-4
        };
        Ok(Some(match same.into_iter().all(follows) {
            true => rule,
            false => Self::Divisors(divisors),
        }))
    }

    /// As `config.json` writes it; null for divisors, for which it has no form.
    pub(super) fn to_json(&self) -> Value {
        match *self {
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Divisors(_) => Value::Null,
        }
    }

    fn from_json(kind: &str, keys: &Keys, most: usize) -> Result<Self> {
        let number = |key: &str| -> Result<f64> {
            let found = keys.number(key, f64::NAN, f64::MIN_POSITIVE, 1e9)?;
            ensure!(!found.is_nan(), "there is no {key}, which \"{kind}\" needs");
            Ok(found)
        };
        let factor = number("factor")?;
        if kind == "linear" {
            return Ok(Self::Linear { factor });
        }
        let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
        ensure!(
            low < high,
            "low_freq_factor is {low}; it must be below high_freq_factor, which is {high}"
        );
        let key = "original_max_position_embeddings";
        number(key)?;
        Ok(Self::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: keys.size(&[key], 1, most)?,
        })
    }
}

/// The base of the rotary positions and how they are stretched: `rope_parameters` (transformers 5), or
/// `rope_theta` and `rope_scaling`. Kinds that are not known are refused by their name.
pub(super) fn from_object(
    object: &Map<String, Value>,
    most: usize,
) -> Result<(f64, Option<RopeScaling>)> {
    let mut theta = Keys(object).number("rope_theta", 10_000.0, f64::MIN_POSITIVE, 1e30)?;
    let mut scaling = None;
    for key in ["rope_parameters", "rope_scaling"] {
        let found = match object.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(found)) => found,
            Some(other) => bail!("{key} is {other}; it must be an object"),
        };
        let keys = Keys(found);
        match keys.string("rope_type")?.or(keys.string("type")?) {
            None | Some("default") => {}
            Some(kind @ ("linear" | "llama3")) => {
                let read = RopeScaling::from_json(kind, &keys, most);
                scaling = Some(read.with_context(|| key.to_owned())?);
            }
            Some(kind) => bail!(
                "{key} asks for rotary positions of type {kind:?}, which are not supported yet; \
                 \"default\", \"linear\" and \"llama3\" are"
            ),
        }
        theta = keys.number("rope_theta", theta, f64::MIN_POSITIVE, 1e30)?;
    }
    Ok((theta, scaling))
}
