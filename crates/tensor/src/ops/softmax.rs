//! Softmax and its logarithm along a dimension, and softmax of attention scores.

mod cases;

pub use cases::cases;

use wgrad_runtime::Defines;

use super::rows::{RowLayout, RowVariant, row_texels, tuned};
use crate::autograd::{record_with, refuse_grad};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::pieces::row_halves;
use crate::shape::dim;
use crate::tensor::Tensor;

/// The most values of a row that a lane caches (see [`RowLayout::new`]), and of each of two rows.
const CACHED: usize = 32;
const CACHED_OF_TWO: usize = 16;

impl Tensor {
    /// exp(x) / sum(exp(x)) along dimension `at`. f16 is computed in f32 and rounded once.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[0.0f32, 0.0, 5.0, 5.0], &[2, 2])?;
    /// assert_eq!(x.softmax(-1)?.to_vec::<f32>()?, [0.5; 4]);
    /// let log = x.log_softmax(-1)?.to_vec::<f32>()?;
    /// assert!((log[0] + 2f32.ln()).abs() < 1e-6);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn softmax(&self, at: isize) -> Result<Tensor> {
        softmax_with(self, at, false, None)
    }

    /// log(softmax(x)) along dimension `at`, without forming the softmax.
    pub fn log_softmax(&self, at: isize) -> Result<Tensor> {
        softmax_with(self, at, true, None)
    }

    /// softmax(scale * x) over the keys of attention scores `[B, H, Tq, Tk]`.
    ///
    /// A key `j` of batch `b` is seen where `mask[b, j]` is not 0 (u32, `[B, Tk]`) and, with `causal`,
    /// by the queries `i` with `j <= i + Tk - Tq`: the last query sees all keys (PyTorch's `causal_lower_right`). What
    /// is not seen gets exactly 0, also in a row where nothing is seen.
    pub fn softmax_masked(
        &self,
        mask: Option<&Tensor>,
        scale: f32,
        causal: bool,
    ) -> Result<Tensor> {
        let op = "softmax_masked";
        let &[batch, heads, queries, keys] = self.shape() else {
            return Err(Error::op(
                op,
                format!(
                    "scores have shape [B, H, Tq, Tk], {:?} was given",
                    self.shape()
                ),
            ));
        };
        let mask = match mask {
            None => None,
            Some(mask) if mask.shape() == [batch, keys] && mask.dtype() == DType::U32 => {
                refuse_grad(op, &[mask])?;
                Some(mask.contiguous()?)
            }
            Some(mask) => {
                return Err(Error::op(
                    op,
                    format!(
                        "the mask of scores {:?} has shape {:?} and type u32, {mask:?} was given",
                        self.shape(),
                        [batch, keys]
                    ),
                ));
            }
        };
        let options = Options {
            scale,
            mask,
            causal,
            queries,
            rows_per_batch: heads * queries,
            ..Options::default()
        };
        rows_of(op, &self.contiguous()?, options)
    }
}

/// Softmax, or with `log` its logarithm, along dimension `at`, by a chosen variant, if it can
/// run, for benchmarks and checks.
pub fn softmax_with(
    x: &Tensor,
    at: isize,
    log: bool,
    variant: Option<RowVariant>,
) -> Result<Tensor> {
    let op = if log { "log_softmax" } else { "softmax" };
    let options = Options {
        log,
        variant,
        ..Options::default()
    };
    along_dim(op, x, at, options)
}

/// What a row kernel computes beyond plain softmax.
struct Options {
    log: bool,
    variant: Option<RowVariant>,
    scale: f32,
    mask: Option<Tensor>,
    causal: bool,
    queries: usize,
    rows_per_batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log: false,
            variant: None,
            scale: 1.0,
            mask: None,
            causal: false,
            queries: 1,
            rows_per_batch: 1,
        }
    }
}

fn along_dim(op: &'static str, x: &Tensor, at: isize, options: Options) -> Result<Tensor> {
    let at = dim(op, at, x.rank())?;
    if x.rank() == 0 {
        return rows_of(op, x, options);
    }
    if at + 1 == x.rank() {
        return rows_of(op, &x.contiguous()?, options);
    }
    let packed = x.transpose(at as isize, -1)?.contiguous()?;
    rows_of(op, &packed, options)?.transpose(at as isize, -1)
}

/// Over the last dimension of a contiguous tensor.
fn rows_of(op: &'static str, x: &Tensor, options: Options) -> Result<Tensor> {
    let hides = options.mask.is_some() || options.causal;
    if !x.fits_binding() && !hides && x.numel() > x.shape().last().copied().unwrap_or(1) {
        let of_part = || Options {
            mask: None,
            ..options
        };
        return row_halves(x, |part, _| rows_of(op, part, of_part()))?.reshape(x.shape());
    }
    record_with(
        op,
        &[x],
        |ctx| {
            let y = forward(op, x, &options)?;
            ctx.save(&y);
            // The rule needs no mask: hidden keys are 0 in y.
            Ok((
                y,
                Options {
                    mask: None,
                    ..options
                },
            ))
        },
        |options, ctx, dy| Ok(vec![Some(backward(dy, ctx.saved(0)?, options)?)]),
    )
}

fn forward(op: &'static str, x: &Tensor, options: &Options) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(Error::op(
            op,
            format!(
                "a float tensor is needed, this one is {}; cast it first",
                x.dtype()
            ),
        ));
    }
    let device = x.device();
    let length = x.shape().last().copied().unwrap_or(1);
    let rows = x.numel() / length.max(1);
    let mask = options.mask.as_ref();
    let hides = mask.is_some() || options.causal;
    let bound = x.bindable()?;
    let y = Tensor::empty(device, x.shape(), x.dtype())?;
    let tuned = tuned("softmax", x, length);
    let variant = options
        .variant
        .or(tuned.as_ref().map(|tuned| tuned.variant));
    let texels = row_texels(variant, length, &[x]).filter(|_| !hides);
    if let Some(count) = texels {
        let defines = Defines::new()
            .constant("COUNT", count)
            .flag_if(options.log, "LOG");
        let kernel = device.kernel("softmax_subgroup", &defines)?;
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("offset", bound.offset())
            .f32("scale", options.scale)
            .bind(bound.buffer())
            .bind(y.buffer())
            .groups(rows as u64)?;
    } else {
        let defines = RowLayout::new(variant, length, CACHED, &[x])
            .tuned(device, length, tuned.as_ref())
            .defines()
            .flag_if(options.log, "LOG")
            .flag_if(mask.is_some(), "MASK")
            .flag_if(options.causal, "CAUSAL")
            .flag_if(hides, "HIDES");
        let kernel = device.kernel("softmax", &defines)?;
        let launch = device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("offset", bound.offset())
            .f32("scale", options.scale)
            .u32("mask_offset", mask.map_or(0, Tensor::offset))
            .u32("queries", options.queries.max(1))
            .u32("rows_per_batch", options.rows_per_batch.max(1))
            .bind(bound.buffer())
            .bind(y.buffer());
        let launch = match mask {
            Some(mask) => launch.bind(mask.buffer()),
            None => launch,
        };
        launch.groups(rows as u64)?;
    }
    Ok(y)
}

fn backward(dy: &Tensor, y: &Tensor, options: &Options) -> Result<Tensor> {
    let device = y.device();
    let dy = dy.contiguous()?.bindable()?;
    let length = y.shape().last().copied().unwrap_or(1);
    let rows = y.numel() / length.max(1);
    let dx = Tensor::empty(device, y.shape(), y.dtype())?;
    let tuned = tuned("softmax_backward", y, length);
    let variant = options
        .variant
        .or(tuned.as_ref().map(|tuned| tuned.variant));
    let (name, defines) = match row_texels(variant, length, &[&dy, y]) {
        Some(count) => (
            "softmax_backward_subgroup",
            Defines::new().constant("COUNT", count),
        ),
        None => (
            "softmax_backward",
            RowLayout::new(variant, length, CACHED_OF_TWO, &[&dy, y])
                .tuned(device, length, tuned.as_ref())
                .defines()
                .flag("TWO"),
        ),
    };
    let kernel = device.kernel(name, &defines.flag_if(options.log, "LOG"))?;
    device
        .launch(&kernel)
        .u32("rows", rows)
        .u32("length", length)
        .u32("dy_offset", dy.offset())
        .f32("scale", options.scale)
        .bind(dy.buffer())
        .bind(y.buffer())
        .bind(dx.buffer())
        .groups(rows as u64)?;
    Ok(dx)
}
