//! Scaled dot-product attention: the op as it chooses its kernels, and composed of products and softmax.

use anyhow::{Result, bail};
use wgrad_tensor::{Attention, DType, Device, Tensor, no_grad, scaled_dot_product_attention};

use super::row::Work;
use super::session::Bench;
use super::values::uniform;

/// One size of attention: queries, keys and values are (B, H, T, D).
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub b: usize,
    pub t: usize,
    pub h: usize,
    pub d: usize,
    /// f32 or f16.
    pub dtype: DType,
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

    /// Two products forward (of the pairs that may be seen); with the backward pass five more. Bytes of
    /// q, k, v and the result; backward those once more, dy, and three gradients.
    fn work(&self, backward: bool) -> Work {
        let (t, d) = (self.t as f64, self.d as f64);
        let heads = (self.b * self.h) as f64;
        let pairs = match self.causal {
            true => t * (t + 1.0) / 2.0,
            false => t * t,
        };
        let product = 2.0 * heads * pairs * d;
        let tensor = heads * t * d * self.dtype.size() as f64;
        let work = match backward {
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

fn fused([q, k, v]: &[Tensor; 3], causal: bool) -> Result<Tensor> {
    let options = Attention {
        causal,
        ..Attention::default()
    };
    Ok(scaled_dot_product_attention(q, k, v, &options)?)
}

fn composed([q, k, v]: &[Tensor; 3], causal: bool) -> Result<Tensor> {
    let scale = 1.0 / (q.shape()[3] as f32).sqrt();
    let scores = q.matmul(&k.transpose(-2, -1)?)?;
    Ok(scores.softmax_masked(None, scale, causal)?.matmul(v)?)
}

/// Times each size: forward, and forward with backward, as the op does it and composed.
pub fn run(bench: &mut Bench, sizes: &[Size]) -> Result<()> {
    type Way = fn(&[Tensor; 3], bool) -> Result<Tensor>;
    let ways: [(&str, Way); 2] = [("", fused), ("composed ", composed)];
    for size in sizes {
        for (way, attend) in ways {
            let forward = size.name(&format!("{way}forward"));
            bench.time_with(
                &forward,
                size.work(false),
                |device| size.inputs(device),
                |inputs| no_grad(|| attend(inputs, size.causal)).map(|_| ()),
            )?;
            let both = size.name(&format!("{way}forward and backward"));
            bench.time_with(
                &both,
                size.work(true),
                |device| {
                    let dy = uniform(device, &[size.b, size.h, size.t, size.d], size.dtype, 4)?;
                    Ok((size.inputs(device)?, dy))
                },
                |(inputs, dy)| {
                    attend(inputs, size.causal)?.backward_with(dy)?;
                    Ok(())
                },
            )?;
        }
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
        let work = size.work(false);
        assert_eq!(work.operations, 2.0 * 2.0 * 16.0 * 8.0 * 6.0);
        assert_eq!(work.bytes, 4.0 * (6.0 * 4.0 * 8.0) * 4.0);
        size.causal = true;
        assert_eq!(size.work(false).operations, work.operations * 10.0 / 16.0);
    }
}
