//! Matrix products: 2-D and batched, any layout, with bias and GELU fused.

mod cases;
mod gemm;

pub use cases::cases;

use crate::error::{Error, Result};
use crate::ops::unary::gelu_backward;
use crate::shape::numel;
use crate::tape::record;
use crate::tensor::Tensor;
use gemm::{Epilogue, gemm};

/// What follows a matrix product in the same kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// The exact GELU.
    Gelu,
}

/// The kernels that compute the same product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `matmul`: one output an invocation, any layout.
    Simple,
    /// `matmul_tiled`: workgroup memory and register tiles, any layout; for GPUs.
    Tiled,
    /// `matmul_subgroup`: textures and shuffles; for the software adapter.
    Subgroup,
}

impl Variant {
    /// All of them, for benchmarks that compare them.
    pub const ALL: [Variant; 3] = [Variant::Simple, Variant::Tiled, Variant::Subgroup];
}

impl Tensor {
    /// Matrix product over the last two dimensions; leading ones broadcast. A 1-D tensor is a row on the
    /// left and a column on the right, and its dimension is dropped again, as in PyTorch.
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

    /// [`Tensor::matmul`] of two tensors of rank 2 or more by the kernel `variant`, for benchmarks; the
    /// fitting one if `None`, or where the adapter or the operands do not allow `variant`.
    pub fn matmul_with(&self, other: &Tensor, variant: Option<Variant>) -> Result<Tensor> {
        let y = gemm("matmul", self, other, &Epilogue::default(), variant)?.y;
        let (a, b) = (self.detach(), other.detach());
        Ok(record("matmul", y, &[self, other], move |dy, needs| {
            let mut parts = vec![None, None];
            let plain = Epilogue::default();
            if needs[0] {
                let da = gemm("matmul", dy, &b.transpose(-2, -1)?, &plain, variant)?.y;
                parts[0] = Some(da.sum_to(a.shape())?);
            }
            if needs[1] {
                let db = gemm("matmul", &a.transpose(-2, -1)?, dy, &plain, variant)?.y;
                parts[1] = Some(db.sum_to(b.shape())?);
            }
            Ok(parts)
        }))
    }

    /// `activation(self @ weight^T + bias)` with `weight` (out, in) and `bias` (out), over the last
    /// dimension of `self`, in one kernel.
    pub fn linear(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let fits = weight.rank() == 2
            && self.rank() >= 1
            && self.shape().last() == weight.shape().last()
            && bias.is_none_or(|b| b.shape() == &weight.shape()[..1]);
        if !fits {
            return Err(Error::op(
                "linear",
                format!(
                    "input {:?}, weight {:?}, bias {:?} do not fit: weight is (out, in), bias (out)",
                    self.shape(),
                    weight.shape(),
                    bias.map(|b| b.shape().to_vec())
                ),
            ));
        }
        let mut shape = self.shape().to_vec();
        let inputs = shape.pop().unwrap_or(1);
        shape.push(weight.shape()[0]);
        let rows = self.reshape(&[numel(self.shape()) / inputs.max(1), inputs])?;
        linear_rows(&rows, weight, bias, activation, None)?.reshape(&shape)
    }
}

fn squeeze(y: &Tensor, at: usize) -> Result<Tensor> {
    let mut shape = y.shape().to_vec();
    shape.remove(at);
    y.reshape(&shape)
}

fn linear_rows(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    variant: Option<Variant>,
) -> Result<Tensor> {
    // The fused GELU needs a bias binding; without a bias the two are separate.
    if activation == Activation::Gelu && bias.is_none() {
        return linear_rows(x, weight, None, Activation::None, variant)?.gelu();
    }
    let epilogue = Epilogue {
        bias,
        gelu: activation == Activation::Gelu,
        ..Epilogue::default()
    };
    let made = gemm("linear", x, &weight.transpose(0, 1)?, &epilogue, variant)?;
    let (a, w) = (x.detach(), weight.detach());
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    Ok(record("linear", made.y, &inputs, move |dy, needs| {
        let dy = match &made.pre {
            Some(pre) => gelu_backward(dy, pre)?,
            None => dy.clone(),
        };
        let mut parts = vec![None; needs.len()];
        if needs[0] {
            parts[0] = Some(gemm("linear", &dy, &w, &Epilogue::default(), variant)?.y);
        }
        let bias = needs.get(2).copied().unwrap_or(false);
        if needs[1] {
            let (dw, db) = weight_gradient(&dy, &a, bias, variant)?;
            parts[1] = Some(dw);
            if bias {
                parts[2] = db;
            }
        } else if bias {
            parts[2] = Some(dy.sum_to(&w.shape()[..1])?);
        }
        Ok(parts)
    }))
}

/// The gradients of weight (out, in) and, if wanted, bias (out) in one kernel: dyᵀ x, and the sums of the
/// rows of dyᵀ on the way.
fn weight_gradient(
    dy: &Tensor,
    x: &Tensor,
    bias: bool,
    variant: Option<Variant>,
) -> Result<(Tensor, Option<Tensor>)> {
    let epilogue = Epilogue {
        row_sums: bias,
        ..Epilogue::default()
    };
    let made = gemm("linear", &dy.transpose(0, 1)?, x, &epilogue, variant)?;
    Ok((made.y, made.row_sums))
}
