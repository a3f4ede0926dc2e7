//! Scaled dot-product attention: composed of other ops, and fused.

mod cases;
mod cooperative;
mod fused;

pub use cases::cases;
pub use cooperative::self_test as cooperative_self_test;

use crate::autograd::{Context, Saved, record_with, refuse_grad};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::random::Generator;
use crate::shape::broadcast_strides;
use crate::tensor::Tensor;
use fused::{Fused, Sizes, StridedRows};

const OP: &str = "scaled_dot_product_attention";

/// Options of attention besides `softmax(scale * q k^T) v`. By default there is no mask, bias or dropout.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attention<'a> {
    /// u32 (B, Tk), 0 where a key is padding.
    pub mask: Option<&'a Tensor>,
    /// Added to the scaled scores; of the type of q, broadcasts to (B, H, Tq, Tk).
    pub bias: Option<&'a Tensor>,
    /// Query i sees keys 0..=i + Tk - Tq only: the last query sees all keys, whether or not earlier keys come from a
    /// cache (PyTorch's `causal_lower_right`; the same as `is_causal` where Tq is Tk).
    pub causal: bool,
    /// The scale; 1 / sqrt(D) if `None`.
    pub scale: Option<f32>,
    /// The probability that a weight is zeroed, and the generator of the random numbers.
    pub dropout: Option<(f32, &'a Generator)>,
}

/// The kernels that compute the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionVariant {
    /// Matrix product, softmax, dropout and matrix product, with the scores in memory.
    Composed,
    /// `attention_tiled` and its backward: workgroup memory; for GPUs.
    Tiled,
    /// `attention_subgroup` and its backward: textures and shuffles; for the software adapter.
    Subgroup,
    /// `attention_cooperative` and its backward: an adapter's matrix units, f16 only.
    Cooperative,
}

/// `softmax(scale * q k^T + bias, masked) v` (Vaswani et al., arXiv:1706.03762).
///
/// `q` is (B, H, Tq, D), `k` and `v` are (B, Hk, Tk, D) in any layout, where Hk divides H: query head h
/// reads key head h / (H / Hk). The result is (B, H, Tq, D); where the op is fused, it lies in memory as
/// (B, Tq, H, D), so that putting the heads side by side copies nothing. A query that may see no key
/// gives zeros.
///
/// Fused (FlashAttention-2, arXiv:2307.08691) the scores are never in memory; with dropout the same
/// weights are dropped as by the composed form. For f16 a GPU's matrix units compute the products where
/// Vulkan shows them and their side divides D; weights and their gradients are rounded to f16 then. The
/// composed form is used where D is no multiple of 4 or above 128, for a bias that requires a gradient, for
/// mask and bias at once on a GPU (they would need more than 8 bindings; not so for [`attention_packed`]),
/// on the software adapter for D above 64 and for more than 4096 keys,
/// and for one query (a step of generation) without a bias.
///
/// Errors name what does not fit.
///
/// ```
/// # use wgrad_tensor::{Attention, DType, Device, DeviceOptions, Tensor, scaled_dot_product_attention};
/// # let device = Device::open(DeviceOptions::default())?;
/// // One text, two heads, three tokens, four channels a head.
/// let q = Tensor::ones(&device, &[1, 2, 3, 4], DType::F32)?;
/// let options = Attention { causal: true, ..Attention::default() };
/// let y = scaled_dot_product_attention(&q, &q, &q, &options)?;
/// assert_eq!(y.shape(), [1, 2, 3, 4]);
/// # Ok::<(), wgrad_tensor::Error>(())
/// ```
pub fn scaled_dot_product_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &Attention,
) -> Result<Tensor> {
    attention_with(q, k, v, options, None)
}

/// Self-attention from one tensor `qkv` (B, T, 3, H, D), as one linear layer gives it: the result is
/// (B, T, H, D), and the backward pass writes one gradient of the shape of `qkv`. Else as
/// [`scaled_dot_product_attention`].
pub fn attention_packed(qkv: &Tensor, options: &Attention) -> Result<Tensor> {
    attention_packed_with(qkv, options, None)
}

/// The part of `qkv` (B, T, 3, H, D) that is q, k or v, as (B, H, T, D).
fn part(qkv: &Tensor, at: usize) -> Result<Tensor> {
    let [b, t, _, h, d] = *qkv.shape() else {
        return Err(Error::op(
            "attention_packed",
            format!("qkv has shape (B, T, 3, H, D), {:?} was given", qkv.shape()),
        ));
    };
    let part = qkv.narrow(2, at, 1)?.permute(&[0, 3, 1, 2, 4])?;
    let strides = part.strides();
    let strides = vec![strides[0], strides[1], strides[2], strides[4]];
    if qkv.requires_grad() {
        return part.reshape(&[b, h, t, d]);
    }
    Ok(part.view(vec![b, h, t, d], strides, part.offset()))
}

/// The same by a chosen variant, if it can run, for benchmarks and checks.
pub fn attention_packed_with(
    qkv: &Tensor,
    options: &Attention,
    variant: Option<AttentionVariant>,
) -> Result<Tensor> {
    if qkv.rank() != 5 || qkv.shape()[2] != 3 {
        return Err(Error::op(
            "attention_packed",
            format!("qkv has shape (B, T, 3, H, D), {:?} was given", qkv.shape()),
        ));
    }
    let plain = qkv.detach();
    let parts = [part(&plain, 0)?, part(&plain, 1)?, part(&plain, 2)?];
    let [q, k, v] = &parts;
    let sizes = Sizes::new(q, k, v, options)?;
    let Some(variant) = fused::choose(&parts, &sizes, options, true, variant)? else {
        let y = composed(
            &part(qkv, 0)?,
            &part(qkv, 1)?,
            &part(qkv, 2)?,
            &sizes,
            options,
        )?;
        return y.permute(&[0, 2, 1, 3])?.contiguous();
    };
    let forward = |ctx: &mut Saved| {
        // The software adapter's kernels read float32 texels.
        let dtype = match variant {
            AttentionVariant::Subgroup => DType::F32,
            _ => plain.dtype(),
        };
        let whole = plain.is_contiguous() && plain.offset().is_multiple_of(4);
        let source = if whole && plain.dtype() == dtype {
            plain
        } else {
            let packed = Tensor::empty(plain.device(), plain.shape(), dtype)?;
            plain.copy_into(&packed)?;
            packed
        };
        let one = |at| StridedRows::new(&part(&source, at)?);
        let rows = [one(0)?, one(1)?, one(2)?];
        let fused = Fused::new(rows, true, sizes, options, variant, qkv.dtype())?;
        let (y, statistics) = fused.forward()?;
        let saved = save(ctx, &fused, &y);
        Ok((y, (fused, saved, statistics)))
    };
    let shape = qkv.shape().to_vec();
    let op = "attention_packed";
    record_with(
        op,
        &[qkv],
        forward,
        move |(fused, y, statistics), ctx, dy| {
            let y = ctx.saved(*y)?;
            let dqkv = Tensor::empty(dy.device(), &shape, dy.dtype())?;
            let parts = [part(&dqkv, 0)?, part(&dqkv, 1)?, part(&dqkv, 2)?];
            let dy = dy.permute(&[0, 2, 1, 3])?;
            fused.backward_q(&dy, y, statistics, &parts[0])?;
            fused.backward_kv(&dy, statistics, &parts[1], &parts[2])?;
            Ok(vec![Some(dqkv)])
        },
    )
}

/// Saves what the backward kernels read; the number of the result. The statistics are not saved: no other code has
/// them, and the backward pass writes to them.
fn save(ctx: &mut Saved, fused: &Fused, y: &Tensor) -> usize {
    for tensor in fused.tensors() {
        ctx.save(tensor);
    }
    ctx.save(y)
}

/// The same by a chosen variant, if it can run, for benchmarks and checks.
pub fn attention_with(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: &Attention,
    variant: Option<AttentionVariant>,
) -> Result<Tensor> {
    let sizes = Sizes::new(q, k, v, options)?;
    if variant.is_none() && sizes.tq == 1 && options.bias.is_none() {
        return one_query(q, k, v, sizes, options);
    }
    let parts = [q.detach(), k.detach(), v.detach()];
    let Some(variant) = fused::choose(&parts, &sizes, options, false, variant)? else {
        return composed(q, k, v, &sizes, options);
    };
    let dtype = q.dtype();
    let forward = |ctx: &mut Saved| {
        let wide = |x: &Tensor| match variant {
            AttentionVariant::Subgroup => StridedRows::new(&x.cast(DType::F32)?),
            _ => StridedRows::new(x),
        };
        let rows = [wide(&parts[0])?, wide(&parts[1])?, wide(&parts[2])?];
        let fused = Fused::new(rows, false, sizes, options, variant, dtype)?;
        let (y, statistics) = fused.forward()?;
        let saved = save(ctx, &fused, &y);
        Ok((y.permute(&[0, 2, 1, 3])?, (fused, saved, statistics)))
    };
    let rule =
        move |(fused, y, statistics): &(Fused, usize, Tensor), ctx: &Context, dy: &Tensor| {
            let y = ctx.saved(*y)?;
            let Sizes {
                b,
                h,
                hk,
                tq,
                tk,
                d,
            } = sizes;
            let heads_first = |x: Tensor| x.permute(&[0, 2, 1, 3]);
            let dq = heads_first(Tensor::empty(dy.device(), &[b, tq, h, d], dtype)?)?;
            fused.backward_q(dy, y, statistics, &dq)?;
            let mut parts = vec![ctx.needs(0).then_some(dq), None, None];
            if ctx.needs(1) || ctx.needs(2) {
                let both = Tensor::empty(dy.device(), &[2, b, tk, hk, d], dtype)?;
                let one = |at| heads_first(both.narrow(0, at, 1)?.reshape(&[b, tk, hk, d])?);
                let (dk, dv) = (one(0)?, one(1)?);
                fused.backward_kv(dy, statistics, &dk, &dv)?;
                parts[1] = ctx.needs(1).then_some(dk);
                parts[2] = ctx.needs(2).then_some(dv);
            }
            Ok(parts)
        };
    record_with(OP, &[q, k, v], forward, rule)
}

/// One query of each head, as when text is generated. It sees all keys, and the heads that share keys become the queries
/// of one head. Products of few rows divide the keys among workgroups; the fused kernels would use one workgroup for all.
fn one_query(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sizes: Sizes,
    options: &Attention,
) -> Result<Tensor> {
    let Sizes { b, h, hk, d, .. } = sizes;
    let folded = Sizes {
        h: hk,
        tq: h / hk,
        ..sizes
    };
    let options = Attention {
        causal: false,
        ..*options
    };
    let q = q.reshape(&[b, hk, h / hk, d])?;
    composed(&q, k, v, &folded, &options)?.reshape(&[b, h, 1, d])
}

/// Attention composed of other ops, with their gradients.
fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sizes: &Sizes,
    options: &Attention,
) -> Result<Tensor> {
    let Sizes {
        b,
        h,
        hk,
        tq,
        tk,
        d,
    } = *sizes;
    let heads = |x: &Tensor| match h == hk {
        true => Ok(x.clone()),
        false => x
            .reshape(&[b, hk, 1, tk, d])?
            .expand(&[b, hk, h / hk, tk, d])?
            .reshape(&[b, h, tk, d]),
    };
    let scale = sizes.scale(options);
    let scores = q.matmul(&heads(k)?.transpose(-2, -1)?)?;
    let mut weights = match options.bias {
        None => scores.softmax_masked(options.mask, scale, options.causal)?,
        Some(bias) => scores.mul_scalar(scale)?.add(bias)?.softmax_masked(
            options.mask,
            1.0,
            options.causal,
        )?,
    };
    if let Some((p, generator)) = options.dropout {
        weights = weights.dropout(p, generator)?;
    }
    debug_assert_eq!(weights.shape(), [b, h, tq, tk]);
    weights.matmul(&heads(v)?)
}

/// Refuses a mask or bias that does not fit, and a mask that requires a gradient.
fn check_extras(sizes: &Sizes, options: &Attention, dtype: DType) -> Result<()> {
    let Sizes { b, h, tq, tk, .. } = *sizes;
    if let Some(mask) = options.mask {
        refuse_grad(OP, &[mask])?;
        if mask.shape() != [b, tk] || mask.dtype() != DType::U32 {
            return Err(Error::op(
                OP,
                format!("the mask is u32 [{b}, {tk}], {mask:?} was given"),
            ));
        }
    }
    if let Some(bias) = options.bias {
        let target = [b, h, tq, tk];
        let fits = bias.rank() <= 4
            && bias.dtype() == dtype
            && bias
                .shape()
                .iter()
                .rev()
                .zip(target.iter().rev())
                .all(|(side, full)| side == full || *side == 1);
        if !fits {
            return Err(Error::op(
                OP,
                format!("the bias is {dtype} and broadcasts to {target:?}, {bias:?} was given"),
            ));
        }
    }
    Ok(())
}

/// The steps of a bias over (B, H, Tq, Tk).
fn bias_steps(bias: &Tensor, sizes: &Sizes) -> [u32; 4] {
    let target = [sizes.b, sizes.h, sizes.tq, sizes.tk];
    let mut steps = [0; 4];
    let strides = broadcast_strides(bias.shape(), bias.strides(), &target);
    for (step, stride) in steps.iter_mut().zip(strides) {
        *step = stride as u32;
    }
    steps
}
