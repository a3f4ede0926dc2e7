//! Scaled dot-product attention: the op with the kernel it chooses, against products and softmax one by one.

use anyhow::{Result, bail};
use wgrad_tensor::ops::attention::{AttentionVariant, attention_with};
use wgrad_tensor::{Attention, DType, Device, Tensor, no_grad};

use super::row::Work;
use super::session::{Bench, Way};
use super::values::uniform;

/// One size of attention: queries, keys and values are (B, H, T, D).
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Texts in a batch.
    pub b: usize,
    /// Tokens of queries and of keys.
    pub t: usize,
    /// Heads.
    pub h: usize,
    /// Channels of a head.
    pub d: usize,
    /// f32 or f16.
    pub dtype: DType,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
}

impl Size {
    fn name(&self, what: &str) -> String {
        let Self { b, t, h, d, .. } = self;
        let causal = if self.causal { " causal" } else { "" };
        format!(
            "attention {} B{b} T{t} H{h} D{d}{causal} {what}",
            self.dtype.wgsl()
        )
    }

    /// Two products forward (of the pairs that may be seen); with the backward pass five more, or four where the scores
    /// were kept. Bytes of q, k, v and the result; backward those once more, dy, and three gradients.
    fn work(&self, backward: bool, variant: Option<AttentionVariant>) -> Work {
        let (t, d) = (self.t as f64, self.d as f64);
        let heads = (self.b * self.h) as f64;
        let pairs = match self.causal {
            true => t * (t + 1.0) / 2.0,
            false => t * t,
        };
        let product = 2.0 * heads * pairs * d;
        let tensor = heads * t * d * self.dtype.size() as f64;
        let work = match backward {
            true if variant == Some(AttentionVariant::Composed) => {
                Work::new(6.0 * product, 12.0 * tensor)
            }
            true => Work::new(7.0 * product, 12.0 * tensor),
            false => Work::new(2.0 * product, 4.0 * tensor),
        };
        match self.dtype {
            DType::F16 => work.half(),
            _ => work,
        }
    }

    fn inputs(&self, device: &Device) -> Result<[Tensor; 3]> {
        if self.dtype == DType::F16 && !device.has_f16() {
            bail!("the adapter has no shader-f16");
        }
        let shape = [self.b, self.h, self.t, self.d];
        let leaf = |seed| -> Result<Tensor> {
            let x = uniform(device, &shape, self.dtype, seed)?;
            x.set_requires_grad(true)?;
            Ok(x)
        };
        Ok([leaf(1)?, leaf(2)?, leaf(3)?])
    }
}

/// Attention by a chosen variant, or as the op chooses.
fn attend(x: &[Tensor; 3], causal: bool, variant: Option<AttentionVariant>) -> Result<Tensor> {
    let options = Attention {
        causal,
        ..Attention::default()
    };
    Ok(attention_with(&x[0], &x[1], &x[2], &options, variant)?)
}

/// Times each size, forward and forward with backward: composed of products and softmax, as the op chooses,
/// and without matrix units where a GPU has them, by turns.
pub fn run(bench: &mut Bench, sizes: &[Size]) -> Result<()> {
    for size in sizes {
        let made = size.inputs(&bench.device).and_then(|inputs| {
            let shape = [size.b, size.h, size.t, size.d];
            Ok((inputs, uniform(&bench.device, &shape, size.dtype, 4)?))
        });
        let (inputs, dy) = match made {
            Ok(made) => made,
            Err(error) => {
                bench.skip(bench.title(size.name("").trim_end()), &error)?;
                continue;
            }
        };
        let (inputs, dy, causal) = (&inputs, &dy, size.causal);
        let mut ways = vec![("composed ", Some(AttentionVariant::Composed)), ("", None)];
        // GPUs use matrix units for f16 by rule; this row shows what they gain.
        let units = bench.device.matrix_unit().is_some_and(|unit| unit.half);
        if size.dtype == DType::F16 && units && !bench.device.adapter().is_software() {
            ways.push(("tiled ", Some(AttentionVariant::Tiled)));
        }
        let forward = ways.iter().map(|&(way, variant)| -> Way {
            let call = move || no_grad(|| attend(inputs, causal, variant)).map(|_| ());
            let name = size.name(&format!("{way}forward"));
            (name, size.work(false, variant), Box::new(call))
        });
        bench.versus(forward.collect())?;
        let both = ways.iter().map(|&(way, variant)| -> Way {
            let call = move || {
                attend(inputs, causal, variant)?.backward_with(dy)?;
                Ok(())
            };
            let name = size.name(&format!("{way}forward and backward"));
            (name, size.work(true, variant), Box::new(call))
        });
        bench.versus(both.collect())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_work() {
        let mut size = Size {
            b: 2,
            t: 4,
            h: 3,
            d: 8,
            dtype: DType::F32,
            causal: false,
        };
        assert_eq!(size.name("forward"), "attention f32 B2 T4 H3 D8 forward");
        // Two products of 16 pairs, 8 long, 6 heads.
        let work = size.work(false, None);
        assert_eq!(work.operations, 2.0 * 2.0 * 16.0 * 8.0 * 6.0);
        assert_eq!(work.bytes, 4.0 * (6.0 * 4.0 * 8.0) * 4.0);
        size.causal = true;
        let causal = size.work(false, None).operations;
        assert_eq!(causal, work.operations * 10.0 / 16.0);
        assert_eq!(size.work(true, None).operations, 3.5 * causal);
        let composed = size.work(true, Some(AttentionVariant::Composed));
        assert_eq!(composed.operations, 3.0 * causal);
    }
}
