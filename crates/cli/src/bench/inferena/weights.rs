//! Seeded weights: uniform numbers that every language makes to the same bits, so that two programs run
//! the same model without exchanging a file.
//!
//! Each tensor has a stream of its own, chosen by the seed and by the tensor's name in PyTorch. The numbers
//! come from splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The range of a tensor's values: uniform in `centre` ± `bound`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The middle of the values.
    pub centre: f64,
    /// The largest distance from the middle.
    pub bound: f64,
}

/// The range of a parameter of a language model, by its name in `transformers` and its shape.
pub fn range(name: &str, shape: &[usize]) -> Range {
    let mut parts = name.rsplit('.');
    let (last, module) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (centre, bound) = match (last, module) {
        _ if name.contains("embed_tokens") => (0.0, 3f64.sqrt() / 24.0),
        ("bias", module) if module.contains("norm") => (0.0, 0.1),
        (_, module) if module.contains("norm") => (1.0, 0.5),
        ("bias", _) => (0.0, 0.05),
        _ => {
            let fan_in: usize = shape.iter().skip(1).product();
            (0.0, (3.0 / fan_in.max(1) as f64).sqrt())
        }
    };
    Range { centre, bound }
}

/// `count` values of the tensor `name`, row-major.
pub fn seeded(name: &str, count: usize, seed: u64, range: Range) -> Vec<f32> {
    let key = splitmix64(seed ^ fnv1a64(name), 1);
    (1..=count as u64)
        .map(|k| {
            // 24 bits, as an odd multiple of 2^-24 between -1 and 1: exact in f64.
            let u = (splitmix64(key, k) >> 40) as f64;
            let r = (2.0 * u + 1.0 - f64::from(1 << 24)) / f64::from(1 << 24);
            (range.centre + r * range.bound) as f32
        })
        .collect()
}

/// The `k`-th output (from 1) of splitmix64 started at `state`.
fn splitmix64(state: u64, k: u64) -> u64 {
    let mut z = state.wrapping_add(k.wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The 64-bit FNV-1a hash of a name.
fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_give_the_known_answers() {
        assert_eq!(splitmix64(0, 1), 0xe220_a839_7b1d_cdaf);
        assert_eq!(fnv1a64("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn weights_equal_those_of_the_python_reference() {
        // `conv_in.weight` of shape (64, 4, 3, 3) with seed 0, as numpy makes it.
        let shape = [64, 4, 3, 3];
        let range = range("conv_in.weight", &shape);
        let values = seeded("conv_in.weight", shape.iter().product(), 0, range);
        assert_eq!(
            values[..4],
            [-0.023807865, -0.18611188, 0.2857374, -0.25425375]
        );
        assert_eq!(values.last(), Some(&-0.21041895));
        let name = "model.embed_tokens.weight";
        let first = seeded(name, 2, 0, super::range(name, &[49_152, 576]));
        assert_eq!(first, [-0.01854701, -0.046734706]);
    }

    #[test]
    fn ranges_follow_the_kind_of_parameter() {
        let norm = Range {
            centre: 1.0,
            bound: 0.5,
        };
        for name in ["model.norm.weight", "model.layers.3.input_layernorm.weight"] {
            assert_eq!(range(name, &[576]), norm, "{name}");
        }
        assert_eq!(range("a.norm1.bias", &[8]).bound, 0.1);
        assert_eq!(range("a.fc.bias", &[8]).bound, 0.05);
        assert_eq!(range("mlp.up_proj.weight", &[8, 12]).bound, 0.5);
    }
}
