//! Inputs that benchmarks make up.

use anyhow::Result;
use half::f16;
use wgrad_tensor::shape::numel;
use wgrad_tensor::{DType, Device, Tensor};

/// Uniform in -1..1, the same for a seed on every machine. Floats only.
pub fn uniform(device: &Device, shape: &[usize], dtype: DType, seed: u32) -> Result<Tensor> {
    let mut state = seed;
    let mut next = || {
        // Numerical Recipes' generator; its high bits are good enough for values that are only timed.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = numel(shape);
    Ok(match dtype {
        DType::F16 => {
            let values: Vec<f16> = (0..count).map(|_| f16::from_f32(next())).collect();
            Tensor::from_slice(device, &values, shape)?
        }
        _ => {
            let values: Vec<f32> = (0..count).map(|_| next()).collect();
            Tensor::from_slice(device, &values, shape)?
        }
    })
}
