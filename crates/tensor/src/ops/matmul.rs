//! Matrix products: 2-D and batched, any layout, with bias and GELU fused.

mod cases;
mod choice;
mod cooperative;
mod gemm;
mod operand;
mod parts;
mod several;
mod split;

pub use cases::cases;
pub use choice::TUNABLE;
pub(crate) use cooperative::may_use as may_use_units;
pub use cooperative::self_test as cooperative_self_test;

use crate::autograd::{Saved, record_with};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::unary::gelu_backward;
use crate::tensor::Tensor;
use gemm::{Epilogue, gemm};

/// The kernels that compute the same product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatmulVariant {
    /// `matmul`: one output an invocation, any layout.
    Simple,
    /// `matmul_tiled`: workgroup memory and register tiles, any layout; for GPUs.
    Tiled,
    /// `matmul_subgroup`: textures and shuffles; for the software adapter.
    Subgroup,
    /// `matmul_vector`: up to eight rows in registers, any layout; for GPUs.
    Vector,
    /// `matmul_cooperative`: the adapter's matrix units, any layout; for f16 on GPUs.
    Cooperative,
}

/// Options of a linear layer besides its product: see [`Tensor::linear_with`].
#[derive(Clone, Copy)]
pub struct LinearOptions<'a> {
    /// (out), of f32 or the type of the weight.
    pub bias: Option<&'a Tensor>,
    /// After scale and bias; the exact GELU in the same kernel.
    pub activation: Option<Activation>,
    /// The product is multiplied by it, such as LoRA's alpha / r.
    pub scale: f32,
    /// (…, out): added last.
    pub residual: Option<&'a Tensor>,
}

impl Default for LinearOptions<'_> {
    fn default() -> Self {
        Self {
            bias: None,
            activation: None,
            scale: 1.0,
            residual: None,
        }
    }
}

/// A kernel and its tile, for benchmarks that compare tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The algorithm.
    pub variant: MatmulVariant,
    /// BM, BN, BK, TM, TN of the tiled kernel, of the one with matrix units or of the subgroup kernel, which has
    /// rows x 32 x 4 / rows x 4 only; `None` lets the table or the rule decide.
    pub tile: Option<[usize; 5]>,
}

impl From<MatmulVariant> for Kernel {
    fn from(variant: MatmulVariant) -> Self {
        Self {
            variant,
            tile: None,
        }
    }
}

impl MatmulVariant {
    /// All variants, for benchmarks that compare them.
    pub const ALL: [MatmulVariant; 5] = [
        MatmulVariant::Simple,
        MatmulVariant::Tiled,
        MatmulVariant::Subgroup,
        MatmulVariant::Vector,
        MatmulVariant::Cooperative,
    ];

    /// Its shader file.
    pub fn file(self) -> &'static str {
        match self {
            MatmulVariant::Simple => "matmul",
            MatmulVariant::Tiled => "matmul_tiled",
            MatmulVariant::Subgroup => "matmul_subgroup",
            MatmulVariant::Vector => "matmul_vector",
            MatmulVariant::Cooperative => "matmul_cooperative",
        }
    }
}

impl Tensor {
    /// Matrix product over the last two dimensions; leading ones broadcast. A 1-D tensor is a row on the
    /// left and a column on the right, and its dimension is dropped again, as in PyTorch.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let a = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// let b = Tensor::from_slice(&device, &[1.0f32, 0.0, 1.0, 1.0], &[2, 2])?;
    /// assert_eq!(a.matmul(&b)?.to_vec::<f32>()?, [3.0, 2.0, 7.0, 4.0]);
    /// let bias = Tensor::from_slice(&device, &[10.0f32, 20.0], &[2])?;
    /// let y = a.linear(&b, Some(&bias), None)?; // a bᵀ + bias
    /// assert_eq!(y.to_vec::<f32>()?, [11.0, 23.0, 13.0, 27.0]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() == 1 && other.rank() >= 1 {
            let y = self.unsqueeze(0)?.matmul(other)?;
            let at = y.rank() - usize::from(other.rank() > 1) - 1;
            return squeeze(&y, at);
        }
        if other.rank() == 1 {
            let y = self.matmul(&other.unsqueeze(1)?)?;
            return squeeze(&y, y.rank() - 1);
        }
        self.matmul_with(other, None)
    }

    /// [`Tensor::matmul`] of two tensors of rank 2 or more by the kernel `variant`, for benchmarks. `None`, or a
    /// `variant` that the adapter or the operands do not allow, lets the op choose.
    pub fn matmul_with(&self, other: &Tensor, variant: Option<MatmulVariant>) -> Result<Tensor> {
        self.matmul_by(other, variant.map(Kernel::from))
    }

    /// [`Tensor::matmul_with`] with a given tile.
    ///
    /// # Errors
    /// Where the device cannot launch the tile, besides those of [`Tensor::matmul`].
    pub fn matmul_by(&self, other: &Tensor, kernel: Option<Kernel>) -> Result<Tensor> {
        if self.dtype() != other.dtype() {
            return Err(Error::op(
                "matmul",
                format!(
                    "two matrices of one float type are needed, {self:?} and {other:?} were given; cast one"
                ),
            ));
        }
        let shapes = [self.shape().to_vec(), other.shape().to_vec()];
        record_with(
            "matmul",
            &[self, other],
            |ctx| {
                let y = gemm("matmul", self, other, &Epilogue::default(), kernel)?.y;
                let b = ctx.needs(0).then(|| ctx.save(other));
                let a = ctx.needs(1).then(|| ctx.save(self));
                Ok((y, [a, b]))
            },
            move |[a, b], ctx, dy| {
                let mut parts = vec![None, None];
                let plain = Epilogue::default();
                if let Some(b) = *b {
                    let b = ctx.saved(b)?.transpose(-2, -1)?;
                    let da = gemm("matmul", dy, &b, &plain, kernel)?.y;
                    parts[0] = Some(da.sum_to(&shapes[0])?);
                }
                if let Some(a) = *a {
                    let a = ctx.saved(a)?.transpose(-2, -1)?;
                    let db = gemm("matmul", &a, dy, &plain, kernel)?.y;
                    parts[1] = Some(db.sum_to(&shapes[1])?);
                }
                Ok(parts)
            },
        )
    }

    /// `activation(self @ weight^T + bias)` with `weight` (out, in) and `bias` (out), over the last
    /// dimension of `self`, in one kernel. The result has the type of `self`; `weight` and `bias` may be of
    /// another float type, and have gradients of their own type: f32 parameters train on f16 activations.
    pub fn linear(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Option<Activation>,
    ) -> Result<Tensor> {
        let layer = LinearOptions {
            bias,
            activation,
            ..LinearOptions::default()
        };
        self.linear_with(weight, &layer)
    }

    /// `activation(scale * self @ weight^T + bias) + residual` in one kernel, as [`Tensor::linear`]. With a
    /// residual the result has its type: f32 may flow past layers that compute in f16.
    pub fn linear_with(&self, weight: &Tensor, layer: &LinearOptions) -> Result<Tensor> {
        check_layer("linear", self, weight, layer.bias)?;
        let shape = self.with_last(weight.shape()[0]);
        let residual = layer
            .residual
            .map(|residual| residual_rows("linear", residual, &shape))
            .transpose()?;
        let layer = LinearOptions {
            residual: residual.as_ref(),
            ..*layer
        };
        linear_rows(&self.rows()?, weight, &layer, None)?.reshape(&shape)
    }

    /// As a matrix: all dimensions but the last are one.
    fn rows(&self) -> Result<Tensor> {
        let (inputs, lead) = self.shape().split_last().unwrap_or((&1, &[]));
        self.reshape(&[lead.iter().product(), *inputs])
    }

    /// The shape with another last side.
    fn with_last(&self, side: usize) -> Vec<usize> {
        let mut shape = self.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = side;
        }
        shape
    }
}

/// Checks that `x` (…, in), `weight` (out, in) and `bias` (out) fit.
fn check_layer(op: &'static str, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let fits = weight.rank() == 2
        && x.rank() >= 1
        && x.shape().last() == weight.shape().last()
        && bias.is_none_or(|b| b.shape() == &weight.shape()[..1]);
    if fits {
        return Ok(());
    }
    Err(Error::op(
        op,
        format!(
            "input {:?}, weight {:?}, bias {:?} do not fit: weight is (out, in), bias (out)",
            x.shape(),
            weight.shape(),
            bias.map(|b| b.shape().to_vec())
        ),
    ))
}

/// A residual for an output of `shape` as a contiguous matrix.
fn residual_rows(op: &'static str, residual: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if residual.shape() != shape || !residual.dtype().is_float() {
        return Err(Error::op(
            op,
            format!("the residual is a float tensor {shape:?}, {residual:?} was given"),
        ));
    }
    residual.contiguous()?.rows()
}

fn squeeze(y: &Tensor, at: usize) -> Result<Tensor> {
    let mut shape = y.shape().to_vec();
    shape.remove(at);
    y.reshape(&shape)
}

/// [`Tensor::linear_with`] of matrices.
fn linear_rows(
    x: &Tensor,
    weight: &Tensor,
    layer: &LinearOptions,
    variant: Option<MatmulVariant>,
) -> Result<Tensor> {
    let LinearOptions { bias, scale, .. } = *layer;
    // The kernel can compute only the exact GELU, and only with a bias.
    let fused = layer.activation == Some(Activation::Gelu) && bias.is_some();
    if let (Some(activation), false) = (layer.activation, fused) {
        let plain = LinearOptions {
            bias,
            scale,
            ..LinearOptions::default()
        };
        let y = activation.forward(&linear_rows(x, weight, &plain, variant)?)?;
        return match layer.residual {
            Some(residual) => residual.add(&y.cast(residual.dtype())?),
            None => Ok(y),
        };
    }
    let epilogue = Epilogue {
        scale,
        bias,
        gelu: layer.activation.is_some(),
        residual: layer.residual,
        dtype: layer.residual.map(Tensor::dtype),
        ..Epilogue::default()
    };
    let kernel = variant.map(Kernel::from);
    let of_bias = bias.map(Tensor::dtype);
    let types = [x.dtype(), weight.dtype()];
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    inputs.extend(layer.residual);
    let forward = |ctx: &mut Saved| {
        let made = gemm("linear", x, &weight.transpose(0, 1)?, &epilogue, kernel)?;
        let w = ctx.needs(0).then(|| ctx.save(weight));
        let a = ctx.needs(1).then(|| ctx.save(x));
        let pre = made.pre.map(|pre| ctx.save(&pre));
        Ok((made.y, [w, a, pre]))
    };
    record_with("linear", &inputs, forward, move |[w, a, pre], ctx, dy| {
        let through = match *pre {
            Some(pre) => gelu_backward(dy, ctx.saved(pre)?)?,
            None => dy.clone(),
        };
        let mut parts = vec![None; ctx.all_needs().len()];
        if let Some(w) = *w {
            let epilogue = Epilogue {
                scale,
                ..Epilogue::of(types[0])
            };
            parts[0] = Some(gemm("linear", &through, ctx.saved(w)?, &epilogue, kernel)?.y);
        }
        let behind = 2 + usize::from(of_bias.is_some());
        let needed = NeededGradients {
            weight: ctx.needs(1).then_some(types[1]),
            bias: of_bias.filter(|_| ctx.needs(2)),
            scale,
        };
        let a = a.map(|a| ctx.saved(a)).transpose()?;
        let (dw, db) = layer_gradients(&through, a, needed, kernel)?;
        parts[1] = dw;
        if of_bias.is_some() {
            parts[2] = db;
        }
        if ctx.needs(behind) {
            parts[behind] = Some(dy.clone());
        }
        Ok(parts)
    })
}

/// Which gradients of a linear layer's parameters are needed, and of which types.
#[derive(Clone, Copy)]
struct NeededGradients {
    weight: Option<DType>,
    bias: Option<DType>,
    /// The factor of the product.
    scale: f32,
}

/// The gradients of a linear layer's weight (out, in) and bias (out), as far as they are needed, in one
/// kernel: dyᵀ x, and the sums of the rows of dyᵀ. Only the weight's gradient needs `x`.
fn layer_gradients(
    dy: &Tensor,
    x: Option<&Tensor>,
    needed: NeededGradients,
    kernel: Option<Kernel>,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let as_bias = |sums: Option<Tensor>| match (sums, needed.bias) {
        (Some(sums), Some(dtype)) => sums.cast(dtype).map(Some),
        _ => Ok(None),
    };
    let (Some(dtype), Some(x)) = (needed.weight, x) else {
        let sums = needed.bias.map(|_| dy.sum_to(&dy.shape()[1..]));
        return Ok((None, as_bias(sums.transpose()?)?));
    };
    let epilogue = Epilogue {
        scale: needed.scale,
        row_sums: needed.bias.is_some(),
        ..Epilogue::of(dtype)
    };
    let made = gemm("linear", &dy.transpose(0, 1)?, x, &epilogue, kernel)?;
    Ok((Some(made.y), as_bias(made.row_sums)?))
}
