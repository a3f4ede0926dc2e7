//! Inputs for benchmarks.

use anyhow::{Result, bail};
use half::f16;
use wgrad_tensor::{DType, Device, Tensor};

/// How many numbers `shape` has, where they fit into one binding of the device.
///
/// # Errors
/// They do not fit: the host would run out of memory while it generates them.
pub fn count(device: &Device, shape: &[usize], dtype: DType) -> Result<usize> {
    let most = device.max_binding_bytes();
    let count = shape
        .iter()
        .try_fold(1usize, |count, side| count.checked_mul(*side));
    let bytes = count.and_then(|count| count.checked_mul(dtype.size()));
    match (count, bytes) {
        (Some(count), Some(bytes)) if bytes as u64 <= most => Ok(count),
        _ => bail!(
            "{} {shape:?} is too large for this device, one of whose bindings holds {most} bytes; take smaller sides",
            dtype.wgsl()
        ),
    }
}

/// Uniform in -1..1, the same for a seed on every machine. Floats only.
pub fn uniform(device: &Device, shape: &[usize], dtype: DType, seed: u32) -> Result<Tensor> {
    let mut state = seed;
    let mut next = || {
        // Numerical Recipes' generator; its high bits are good enough for values that are only timed.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = count(device, shape, dtype)?;
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

#[cfg(test)]
mod tests {
    use wgrad_tensor::DeviceOptions;

    use super::*;

    #[test]
    fn inputs_that_are_too_large_are_refused_before_they_are_made() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        assert_eq!(count(&device, &[3, 4], DType::F16).unwrap(), 12);
        for shape in [&[200_000, 200_000][..], &[1 << 31, 1 << 31, 1 << 31]] {
            let error = uniform(&device, shape, DType::F32, 1).unwrap_err();
            assert!(error.to_string().contains("too large"), "{error}");
        }
    }
}
