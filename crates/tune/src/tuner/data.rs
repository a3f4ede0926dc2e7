//! The contents of buffers: made from a seed, packed for the device, read back as float64.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use half::f16;

use super::expr::Scope;
use super::spec::{BufferSpec, Dtype, Fill};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In 0..n; n > 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize % n.max(1)
    }

    /// Mean 0, deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The first contents of `buffer` at the sizes `scope`, as bytes for the device; `None` for an output without a
/// fill.
pub fn contents(
    buffer: &BufferSpec,
    scope: &Scope,
    folder: &Path,
    seed: u64,
) -> Result<Option<Vec<u8>>> {
    let count = buffer.size.count(scope)? as usize;
    let fill = match (buffer.fill, buffer.output) {
        (Some(fill), _) => fill,
        (None, true) => return Ok(None),
        (None, false) => Fill::Normal,
    };
    let integer = buffer.dtype.integer();
    let (low, high) = match integer {
        true => (buffer.low.unwrap_or(0.0), buffer.high.unwrap_or(100.0)),
        false => (buffer.low.unwrap_or(-1.0), buffer.high.unwrap_or(1.0)),
    };
    let mut random = Random::new(seed);
    let values: Vec<f64> = match fill {
        Fill::File => {
            let name = buffer.file.as_deref().unwrap_or("");
            return read_file(name, scope, folder, count, buffer.dtype).map(Some);
        }
        Fill::Zeros => vec![0.0; count],
        Fill::Ones => vec![1.0; count],
        Fill::Iota => (0..count).map(|i| i as f64).collect(),
        Fill::Normal if integer => bail!(
            "buffer `{}`: integers are filled with uniform, iota, zeros, ones or a file",
            buffer.name
        ),
        Fill::Normal => (0..count).map(|_| random.normal()).collect(),
        Fill::Uniform => (0..count)
            .map(|_| low + (high - low) * random.unit())
            .collect(),
    };
    Ok(Some(pack(&values, buffer.dtype)))
}

/// `name` with each `{SIZE}` replaced by its value.
pub fn file_name(name: &str, scope: &Scope) -> String {
    let mut name = name.to_owned();
    for (size, value) in scope {
        name = name.replace(&format!("{{{size}}}"), &value.to_string());
    }
    name
}

/// The raw values of file `name`, with each `{SIZE}` replaced by its value.
pub fn read_file(
    name: &str,
    scope: &Scope,
    folder: &Path,
    count: usize,
    dtype: Dtype,
) -> Result<Vec<u8>> {
    let path = folder.join(file_name(name, scope));
    let bytes =
        std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let needed = count * dtype.bytes() as usize;
    if bytes.len() != needed {
        return Err(anyhow!(
            "{} has {} bytes, {count} values need {needed}",
            path.display(),
            bytes.len()
        ));
    }
    Ok(bytes)
}

/// `values` as bytes for the device.
pub fn pack(values: &[f64], dtype: Dtype) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * dtype.bytes() as usize);
    for &value in values {
        match dtype {
            Dtype::F32 => bytes.extend((value as f32).to_le_bytes()),
            Dtype::F16 => bytes.extend(f16::from_f64(value).to_le_bytes()),
            Dtype::U32 => bytes.extend((value as u32).to_le_bytes()),
            Dtype::I32 => bytes.extend((value as i32).to_le_bytes()),
        }
    }
    bytes
}

/// Bytes from the device as float64 (exact for every type).
pub fn unpack(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
    match dtype {
        Dtype::F16 => bytes
            .chunks_exact(2)
            .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64())
            .collect(),
        _ => bytes
            .chunks_exact(4)
            .map(|b| {
                let word = [b[0], b[1], b[2], b[3]];
                match dtype {
                    Dtype::U32 => f64::from(u32::from_le_bytes(word)),
                    Dtype::I32 => f64::from(i32::from_le_bytes(word)),
                    _ => f64::from(f32::from_le_bytes(word)),
                }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_values_are_unpacked_unchanged() {
        for (dtype, values) in [
            (Dtype::F32, vec![0.0, -1.5, 3e30]),
            (Dtype::F16, vec![0.5, -2.0, 65504.0]),
            (Dtype::U32, vec![0.0, 7.0, 4294967295.0]),
            (Dtype::I32, vec![-5.0, 0.0, 2147483647.0]),
        ] {
            let bytes = pack(&values, dtype);
            assert_eq!(bytes.len() as u64, 3 * dtype.bytes());
            let back = unpack(&bytes, dtype);
            let near = back
                .iter()
                .zip(&values)
                .all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs());
            assert!(near, "{back:?}");
        }
    }

    #[test]
    fn a_seed_fixes_the_numbers() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.normal()).collect::<Vec<f64>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mean = draw(1).iter().sum::<f64>() / 1000.0;
        let square = draw(1).iter().map(|v| v * v).sum::<f64>() / 1000.0;
        assert!(
            mean.abs() < 0.1 && (square - 1.0).abs() < 0.2,
            "{mean} {square}"
        );
    }
}
