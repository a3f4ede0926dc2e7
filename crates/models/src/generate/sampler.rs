//! The choice of the next token.

use anyhow::{Result, ensure};
use wgrad_tensor::Tensor;

/// How a token is chosen from the logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Logits are divided by this; 0 takes the most likely token always.
    pub temperature: f64,
    /// Only this many of the most likely tokens can be chosen; 0 means all.
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities sum up to this can be chosen (Holtzman et al.,
    /// arXiv:1904.09751); 1 means all.
    pub top_p: f64,
    /// Equal seeds give equal texts.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// The most likely token always.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// Chooses tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    /// How many were drawn.
    draws: u64,
}

impl Sampler {
    /// Errors: a temperature that is negative or not finite, a `top_p` outside of 0 to 1.
    pub fn new(options: SamplingOptions) -> Result<Self> {
        ensure!(
            options.temperature.is_finite() && options.temperature >= 0.0,
            "the temperature is {}; it must be 0 or above",
            options.temperature
        );
        ensure!(
            options.top_p > 0.0 && options.top_p <= 1.0,
            "top_p is {}; it must be above 0 and at most 1",
            options.top_p
        );
        Ok(Self { options, draws: 0 })
    }

    /// A token from logits (1, V). The most likely one is found on the device, and only its id comes back.
    pub fn pick(&mut self, logits: &Tensor) -> Result<u32> {
        if self.options.temperature == 0.0 {
            let ids = logits.argmax(-1, false)?.to_vec::<u32>()?;
            return ids
                .first()
                .copied()
                .ok_or_else(|| anyhow::anyhow!("there are no logits"));
        }
        self.draw(&logits.to_vec::<f32>()?)
    }

    /// A token from the logits of one position.
    fn draw(&mut self, logits: &[f32]) -> Result<u32> {
        let mut order: Vec<u32> = (0..).take(logits.len()).collect();
        let by_logit = |a: &u32, b: &u32| {
            logits[*b as usize]
                .total_cmp(&logits[*a as usize])
                .then(a.cmp(b))
        };
        order.sort_unstable_by(by_logit);
        if self.options.top_k > 0 {
            order.truncate(self.options.top_k);
        }
        let Some(best) = order.first().map(|id| f64::from(logits[*id as usize])) else {
            anyhow::bail!("there are no logits");
        };
        let weight =
            |id: &u32| ((f64::from(logits[*id as usize]) - best) / self.options.temperature).exp();
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        // The tokens before the one at which the sum reaches top_p, and that one.
        let mut kept = 0.0;
        let mut count = 0;
        for w in &weights {
            kept += w;
            count += 1;
            if kept >= self.options.top_p * all {
                break;
            }
        }
        let mut left = self.uniform() * kept;
        for (id, w) in order.iter().zip(&weights).take(count) {
            left -= w;
            if left < 0.0 {
                return Ok(*id);
            }
        }
        Ok(order[count - 1])
    }

    /// The next of the numbers in 0..1 that belong to the seed (splitmix64).
    fn uniform(&mut self) -> f64 {
        self.draws += 1;
        let mut z = self
            .options
            .seed
            .wrapping_add(self.draws.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::error_line;

    fn counts(options: SamplingOptions, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(options).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..4000 {
            counts[sampler.draw(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn tokens_come_as_often_as_their_probabilities_say() {
        let hot = SamplingOptions {
            temperature: 1.0,
            ..SamplingOptions::default()
        };
        // Probabilities 0.5, 0.3, 0.2.
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        for (count, expected) in counts(hot, &logits).iter().zip([2000.0, 1200.0, 800.0]) {
            assert!(
                (*count as f64 - expected).abs() < 130.0,
                "{count} {expected}"
            );
        }
        let two = counts(SamplingOptions { top_k: 2, ..hot }, &logits);
        assert!(
            two[2] == 0 && (two[0] as f64 - 2500.0).abs() < 130.0,
            "{two:?}"
        );
        // 0.5 alone does not reach 0.6, with 0.3 it does.
        let nucleus = counts(SamplingOptions { top_p: 0.6, ..hot }, &logits);
        assert!(nucleus[2] == 0 && nucleus[1] > 1300, "{nucleus:?}");
        let cold = counts(
            SamplingOptions {
                temperature: 0.05,
                ..hot
            },
            &logits,
        );
        assert!(cold[0] > 3990, "{cold:?}");
        let again = counts(SamplingOptions { top_k: 2, ..hot }, &logits);
        assert_eq!(two, again);
    }

    #[test]
    fn refuses_options_out_of_range() {
        let refused = |options| error_line(Sampler::new(options));
        let base = SamplingOptions::default();
        let negative = SamplingOptions {
            temperature: -1.0,
            ..base
        };
        assert!(refused(negative).contains("temperature is -1"));
        assert!(refused(SamplingOptions { top_p: 0.0, ..base }).contains("top_p is 0"));
    }
}
