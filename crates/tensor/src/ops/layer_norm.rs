//! Layer normalisation and root-mean-square normalisation of the last dimension, also of a sum with
//! dropout, in one kernel.

mod backward;
mod cases;

pub use cases::cases;

use wgrad_runtime::Defines;

use crate::autograd::record_with;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::random::Generator;
use crate::tensor::Tensor;

use super::dropout::{Drop, check_p};
use super::rows::{RowLayout, RowVariant, numbered, row_texels, tuned};
use crate::ops::pieces::row_halves;
use backward::Kept;

/// The most values of a row that a lane caches (see [`RowLayout::new`]).
const CACHED: usize = 32;
/// The most subgroups of a launch on the software adapter. Each holds weight and bias in registers for all of its rows.
const GROUPS: usize = 64;

impl Tensor {
    /// (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension C (arXiv:1607.06450);
    /// weight and bias are `[C]`, f32 or of the type of `self`. The variance divides by C.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 1.0, 3.0, 3.0], &[1, 4])?;
    /// let y = x.layer_norm(None, None, 1e-5)?.to_vec::<f32>()?;
    /// assert!((y[0] + 1.0).abs() < 1e-4 && (y[3] - 1.0).abs() < 1e-4);
    /// let y = x.rms_norm(None, 1e-5)?.to_vec::<f32>()?;
    /// assert!((y[3] - 3.0 / 5f32.sqrt()).abs() < 1e-4);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn layer_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor> {
        let norm = Norm {
            weight,
            bias,
            eps,
            ..Norm::default()
        };
        norm_with(self, &norm, None)
    }

    /// x / sqrt(mean(x^2) + eps) * weight over the last dimension C (arXiv:1910.07467); weight is `[C]`,
    /// f32 or of the type of `self`.
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f32) -> Result<Tensor> {
        let norm = Norm {
            rms: true,
            weight,
            eps,
            ..Norm::default()
        };
        norm_with(self, &norm, None)
    }

    /// `norm` of `residual + dropout(self)`, the step between the parts of a transformer block, in one
    /// kernel, with two or three in the backward pass. The same elements are dropped as by
    /// [`Tensor::dropout`].
    pub fn add_norm(&self, norm: &Norm) -> Result<Tensor> {
        if norm.residual.is_none() {
            return Err(Error::op("add_norm", "the norm has no residual"));
        }
        norm_with(self, norm, None)
    }
}

/// A normalisation of the last dimension C, and what goes before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Norm<'a> {
    /// Root mean square instead of mean and variance.
    pub rms: bool,
    /// `[C]`, f32 or of the type of the input.
    pub weight: Option<&'a Tensor>,
    /// `[C]`, of the type of the weight.
    pub bias: Option<&'a Tensor>,
    /// Added to the variance, or to the mean of the squares.
    pub eps: f32,
    /// Added to the input, of its shape and type.
    pub residual: Option<&'a Tensor>,
    /// The probability with which an element of the input is zeroed before the residual is added, and
    /// where the random numbers come from. Only with a residual.
    pub dropout: Option<(f32, &'a Generator)>,
}

/// The norm of `x` by a chosen variant, if it can run, for benchmarks and checks.
pub fn norm_with(x: &Tensor, norm: &Norm, variant: Option<RowVariant>) -> Result<Tensor> {
    let length = norm.check(x)?;
    if norm.residual.is_some() && (variant == Some(RowVariant::Composed) || x.numel() == 0) {
        return norm.composed(x);
    }
    let x = x.contiguous()?;
    if !x.fits_binding() && x.numel() > length {
        return match norm.residual {
            Some(_) => norm.composed(&x),
            None => row_halves(&x, |part, _| norm_with(part, norm, variant))?.reshape(x.shape()),
        };
    }
    let residual = norm.residual.map(Tensor::contiguous).transpose()?;
    let mut inputs = vec![&x];
    inputs.extend(&residual);
    inputs.extend([norm.weight, norm.bias].into_iter().flatten());
    record_with(
        norm.op(),
        &inputs,
        |ctx| {
            let (y, kept) = forward(&x, residual.as_ref(), norm, length, variant)?;
            for tensor in kept.tensors() {
                ctx.save(tensor);
            }
            Ok((y, kept))
        },
        |kept, ctx, dy| kept.backward(dy, ctx.all_needs()),
    )
}

/// The result for contiguous tensors, and the tensors that the backward pass reads.
fn forward(
    x: &Tensor,
    residual: Option<&Tensor>,
    norm: &Norm,
    length: usize,
    variant: Option<RowVariant>,
) -> Result<(Tensor, Kept)> {
    let dropout = norm
        .dropout
        .and_then(|(p, generator)| Drop::new(p, generator));
    let rows = x.numel() / length;
    let device = x.device();
    let y = Tensor::empty(device, x.shape(), x.dtype())?;
    let statistics = Tensor::empty(device, &[2, rows], DType::F32)?;
    // The normalised tensor, saved for the backward pass.
    let total = match residual {
        Some(_) => Tensor::empty(device, x.shape(), x.dtype())?,
        None => x.detach(),
    };
    let mut read = vec![x];
    read.extend([residual, norm.weight, norm.bias].into_iter().flatten());
    let tuned = tuned("layer_norm", x, length);
    let chosen = variant.or(tuned.as_ref().map(|tuned| tuned.variant));
    let texels = row_texels(chosen, length, &read);
    let defines = match texels {
        Some(count) => Defines::new().constant("COUNT", count),
        None => RowLayout::new(chosen, length, CACHED, &read)
            .tuned(device, length, tuned.as_ref())
            .defines_with(norm.weight.or(norm.bias).map(Tensor::dtype)),
    };
    let defines = defines
        .flag_if(norm.rms, "RMS")
        .flag_if(norm.weight.is_some(), "WEIGHT")
        .flag_if(norm.bias.is_some(), "BIAS")
        .flag_if(residual.is_some(), "RESIDUAL")
        .flag_if(dropout.is_some(), "DROPOUT");
    let mut bound = vec![("AT_X", x)];
    bound.extend(norm.weight.map(|w| ("AT_WEIGHT", w)));
    bound.extend(norm.bias.map(|b| ("AT_BIAS", b)));
    bound.extend([("AT_Y", &y), ("AT_STATISTICS", &statistics)]);
    if let Some(residual) = residual {
        bound.extend([("AT_RESIDUAL", residual), ("AT_TOTAL", &total)]);
    }
    bound.extend(dropout.as_ref().map(|d| ("AT_STATE", &d.state)));
    let defines = numbered(defines, &bound);
    let name = match texels {
        Some(_) => "layer_norm_subgroup",
        None => "layer_norm",
    };
    let kernel = device.kernel(name, &defines)?;
    let mut launch = device
        .launch(&kernel)
        .u32("rows", rows)
        .u32("length", length)
        .u32("offset", x.binding().lead)
        .u32("weight_offset", norm.weight.map_or(0, Tensor::offset))
        .u32("bias_offset", norm.bias.map_or(0, Tensor::offset))
        .u32("residual_offset", residual.map_or(0, |r| r.binding().lead))
        .f32("eps", norm.eps);
    if texels.is_none() {
        launch = launch
            .u32("weight_stride", norm.weight.map_or(0, |w| w.strides()[0]))
            .u32("bias_stride", norm.bias.map_or(0, |b| b.strides()[0]));
    }
    launch = Drop::params(dropout.as_ref(), launch);
    for (_, tensor) in bound {
        let binding = tensor.binding();
        launch = launch.window(tensor.buffer(), binding.offset, binding.bytes);
    }
    match texels {
        Some(_) => launch.grid([rows.min(GROUPS) as u64, 1, 1])?,
        None => launch.groups(rows as u64)?,
    }
    let kept = Kept {
        rms: norm.rms,
        total,
        weight: norm.weight.map(Tensor::detach),
        parameters: norm.weight.or(norm.bias).map_or(x.dtype(), Tensor::dtype),
        with_residual: residual.is_some(),
        has_bias: norm.bias.is_some(),
        dropout,
        statistics,
        variant,
    };
    Ok((y, kept))
}

impl Norm<'_> {
    fn op(&self) -> &'static str {
        match (self.residual.is_some(), self.rms) {
            (true, _) => "add_norm",
            (false, true) => "rms_norm",
            (false, false) => "layer_norm",
        }
    }

    /// The norm composed of other ops.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let mut sum = x.clone();
        if let Some((p, generator)) = self.dropout {
            sum = sum.dropout(p, generator)?;
        }
        if let Some(residual) = self.residual {
            sum = residual.add(&sum)?;
        }
        let plain = Norm {
            residual: None,
            dropout: None,
            ..*self
        };
        norm_with(&sum, &plain, Some(RowVariant::Plain))
    }

    /// The side that is normalised.
    fn check(&self, x: &Tensor) -> Result<usize> {
        let length = x.shape().last().copied().unwrap_or(0);
        let refuse = |message: String| Err(Error::op(self.op(), message));
        if length == 0 || !x.dtype().is_float() {
            return refuse(format!(
                "a float tensor with a last dimension of at least 1 is needed, {x:?} was given"
            ));
        }
        for (name, tensor) in [("weight", self.weight), ("bias", self.bias)] {
            let Some(tensor) = tensor else { continue };
            let typed = tensor.dtype() == DType::F32 || tensor.dtype() == x.dtype();
            if tensor.shape() != [length] || !typed {
                return refuse(format!(
                    "for {x:?} the {name} is {} [{length}], {tensor:?} was given",
                    x.dtype()
                ));
            }
        }
        if let (Some(weight), Some(bias)) = (self.weight, self.bias)
            && weight.dtype() != bias.dtype()
        {
            return refuse(format!(
                "weight {weight:?} and bias {bias:?} are not of one type"
            ));
        }
        match self.residual {
            Some(residual) if residual.shape() != x.shape() || residual.dtype() != x.dtype() => {
                return refuse(format!(
                    "the residual of {x:?} has its shape and type, {residual:?} was given"
                ));
            }
            None if self.dropout.is_some() => {
                return refuse("dropout is for a norm with a residual".into());
            }
            _ => {}
        }
        if let Some((p, generator)) = self.dropout {
            check_p(p)?;
            generator.check_device(self.op(), x.device())?;
        }
        Ok(length)
    }
}
