//! One vector a text from the hidden states of its tokens.

use anyhow::{Context, Result, bail, ensure};
use wgrad_tensor::{DType, Tensor};

/// How the hidden states of a text's tokens become one vector. The modes of `sentence-transformers`' `Pooling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// That of the first token.
    Cls,
    /// Their maximum in each component, padding left out.
    Max,
    /// Their mean, padding left out.
    Mean,
    /// Their sum over the square root of their number.
    MeanSqrtLen,
    /// Their mean, weighted by position: 1, 2, 3, …
    WeightedMean,
    /// That of the last token.
    LastToken,
}

impl Pooling {
    /// Each mode with its name in `pooling_mode`, and the older flag that switches it on, in the order in which
    /// several are put side by side.
    pub(crate) const NAMES: [(Pooling, &'static str, &'static str); 6] = [
        (Pooling::Cls, "cls", "pooling_mode_cls_token"),
        (Pooling::Max, "max", "pooling_mode_max_tokens"),
        (Pooling::Mean, "mean", "pooling_mode_mean_tokens"),
        (
            Pooling::MeanSqrtLen,
            "mean_sqrt_len_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
        ),
        (
            Pooling::WeightedMean,
            "weightedmean",
            "pooling_mode_weightedmean_tokens",
        ),
        (Pooling::LastToken, "lasttoken", "pooling_mode_lasttoken"),
    ];

    /// The weight of each of `tokens` places of a text that is `length` tokens long, of which the first `skip` are
    /// left out, and what their sum is divided by. For [`Pooling::Max`] the weights say which tokens count.
    fn weights(self, length: usize, skip: usize, tokens: usize) -> (Vec<f32>, f32) {
        let mut weights = vec![0f32; tokens];
        let counted = skip.min(length)..length;
        let count = counted.len() as f32;
        let sum = match self {
            Pooling::Cls => {
                // Where nothing is left, the first token.
                let first = if counted.is_empty() { 0 } else { skip };
                weights[first] = 1.0;
                1.0
            }
            Pooling::LastToken => {
                if let Some(last) = counted.last() {
                    weights[last] = 1.0;
                }
                1.0
            }
            Pooling::Mean | Pooling::MeanSqrtLen | Pooling::Max => {
                weights[counted].fill(1.0);
                match self {
                    Pooling::MeanSqrtLen => count.max(1e-9).sqrt(),
                    _ => count,
                }
            }
            Pooling::WeightedMean => {
                let mut sum = 0.0;
                for place in counted {
                    weights[place] = (place + 1) as f32;
                    sum += weights[place];
                }
                sum
            }
        };
        (weights, sum.max(1e-9))
    }
}

/// Hidden states (B, T, C) to (B, C times modes): each of `modes` over the tokens of a text, the first `skip` of them
/// left out, side by side. `lengths` are the texts' tokens, padding behind them left out.
pub fn pool(hidden: &Tensor, lengths: &[usize], skip: usize, modes: &[Pooling]) -> Result<Tensor> {
    let [b, t, _] = *hidden.shape() else {
        bail!("hidden states {hidden:?} are not (B, T, C)");
    };
    ensure!(
        b == lengths.len() && lengths.iter().all(|length| (1..=t).contains(length)),
        "lengths {lengths:?} are not those of {b} texts of up to {t} tokens"
    );
    let device = hidden.device();
    let hidden = hidden.cast(DType::F32)?;
    let mut pooled = Vec::with_capacity(modes.len());
    for mode in modes {
        let (weights, sums): (Vec<Vec<f32>>, Vec<f32>) = lengths
            .iter()
            .map(|length| mode.weights(*length, skip, t))
            .unzip();
        let weights = weights.concat();
        pooled.push(match mode {
            Pooling::Max => {
                let out: Vec<u32> = weights.iter().map(|w| u32::from(*w == 0.0)).collect();
                let out = Tensor::from_slice(device, &out, &[b, t, 1])?;
                hidden.masked_fill(&out, -1e9)?.max(&[1], false)?
            }
            _ => {
                let weights = Tensor::from_slice(device, &weights, &[b, t, 1])?;
                let sums = Tensor::from_slice(device, &sums, &[b, 1])?;
                hidden.mul(&weights)?.sum(&[1], false)?.div(&sums)?
            }
        });
    }
    match pooled.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let parts: Vec<&Tensor> = several.iter().collect();
            Tensor::concat(&parts, 1).context("pooling")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::SQRT_2;

    use wgrad_tensor::{Device, DeviceOptions};

    use super::*;

    /// As `Pooling._forward_padded` of sentence-transformers 6.2 computes them.
    #[test]
    fn pools_as_sentence_transformers_does() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        // Two texts of 4 and 2 tokens, two channels; the padding must not count.
        let values: Vec<f32> = vec![
            1., -1., 2., -2., 3., -3., 6., -6., 5., 7., 1., -9., 99., 99., 99., 99.,
        ];
        let hidden = Tensor::from_slice(&device, &values, &[2, 4, 2]).unwrap();
        let pooled = |skip, mode| {
            let rows = pool(&hidden, &[4, 2], skip, &[mode]).unwrap();
            rows.to_vec::<f32>().unwrap()
        };
        for (skip, mode, expected) in [
            (0, Pooling::Cls, [1., -1., 5., 7.]),
            (0, Pooling::Max, [6., -1., 5., 7.]),
            (0, Pooling::Mean, [3., -3., 3., -1.]),
            (0, Pooling::MeanSqrtLen, [6., -6., 3. * SQRT_2, -SQRT_2]),
            (0, Pooling::WeightedMean, [3.8, -3.8, 7. / 3., -11. / 3.]),
            (0, Pooling::LastToken, [6., -6., 1., -9.]),
            // Without a prompt of one token.
            (1, Pooling::Cls, [2., -2., 1., -9.]),
            (1, Pooling::Max, [6., -2., 1., -9.]),
            (1, Pooling::Mean, [11. / 3., -11. / 3., 1., -9.]),
            (1, Pooling::WeightedMean, [37. / 9., -37. / 9., 1., -9.]),
            (1, Pooling::LastToken, [6., -6., 1., -9.]),
            // Nothing but the prompt is left of the second text.
            (2, Pooling::Cls, [3., -3., 5., 7.]),
            (2, Pooling::Mean, [4.5, -4.5, 0., 0.]),
            (2, Pooling::LastToken, [6., -6., 0., 0.]),
        ] {
            let found = pooled(skip, mode);
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{mode:?} without {skip}: {found:?}");
            }
        }
        let both = pool(&hidden, &[4, 2], 0, &[Pooling::Cls, Pooling::Mean]).unwrap();
        let both = both.to_vec::<f32>().unwrap();
        assert_eq!(both, [1., -1., 3., -3., 5., 7., 3., -1.]);
    }
}
