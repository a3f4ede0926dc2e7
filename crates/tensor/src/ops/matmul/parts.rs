//! Products whose operands or result are larger than one binding of the adapter: computed in parts.

use super::Kernel;
use super::gemm::{Epilogue, Product, gemm};
use crate::error::Result;
use crate::ops::pieces::half;
use crate::shape::numel;
use crate::tensor::Tensor;

/// The dimension that is cut in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A dimension of the batch.
    Batch(usize),
    /// Rows of the left operand and the result.
    M,
    /// Columns of the right operand and the result.
    N,
    /// The dimension that is summed over.
    K,
}

/// Which side of a product to cut, if something is beyond one binding and can be cut; `size` are the bytes of an element
/// of the result.
pub(super) fn cut(
    a: &Tensor,
    b: &Tensor,
    lead: &[usize],
    size: usize,
    epilogue: &Epilogue,
) -> Option<Cut> {
    let (ra, rb) = (a.rank(), b.rank());
    let (m, n, k) = (a.shape()[ra - 2], b.shape()[rb - 1], a.shape()[ra - 1]);
    let result = (numel(lead) * m * n * size) as u64;
    let too_large = result > a.device().max_binding_bytes();
    if !too_large && a.fits_binding() && b.fits_binding() {
        return None;
    }
    if let Some(at) = lead.iter().position(|side| *side > 1) {
        return Some(Cut::Batch(at));
    }
    // A cut along the dimension with the larger step shortens what an operand spans.
    let sums = !epilogue.gelu && epilogue.gelu_input.is_none();
    let by_rows = |x: &Tensor, r: usize| x.strides()[r - 2] >= x.strides()[r - 1];
    let cut = match (too_large, a.fits_binding()) {
        (true, _) => Cut::M,
        (false, false) if by_rows(a, ra) => Cut::M,
        (false, false) => Cut::K,
        (false, true) if by_rows(b, rb) => Cut::K,
        (false, true) => Cut::N,
    };
    match cut {
        Cut::M if m > 1 => Some(Cut::M),
        Cut::N if n > 1 => Some(Cut::N),
        Cut::K if k > 1 && sums => Some(Cut::K),
        _ => None,
    }
}

/// The product in two parts.
pub(super) fn in_parts(
    op: &'static str,
    (a, b): (&Tensor, &Tensor),
    lead: &[usize],
    cut: Cut,
    epilogue: &Epilogue,
    kernel: Option<Kernel>,
) -> Result<Product> {
    let (ra, rb) = (a.rank(), b.rank());
    let side = match cut {
        Cut::Batch(at) => lead[at],
        Cut::M => a.shape()[ra - 2],
        Cut::N => b.shape()[rb - 1],
        Cut::K => a.shape()[ra - 1],
    };
    let first = half(side);
    let ranges = [(0, first), (first, side - first)];
    let part = |at: usize, earlier: Option<&Tensor>| {
        let (start, length) = ranges[at];
        // Of the result's shape: `behind` counts its dimensions from the last.
        let of_result = |x: &Tensor, behind: usize| match x.rank().checked_sub(behind) {
            Some(d) => x.piece(d, start, length).contiguous(),
            None => Ok(x.clone()),
        };
        let batch = |x: &Tensor, d: usize| {
            let at = (d + x.rank()).checked_sub(lead.len() + 2);
            match at.filter(|at| x.shape()[*at] > 1) {
                Some(at) => x.piece(at, start, length),
                None => x.detach(),
            }
        };
        let (a, b, behind) = match cut {
            Cut::Batch(d) => (batch(a, d), batch(b, d), Some(lead.len() + 2 - d)),
            Cut::M => (a.piece(ra - 2, start, length), b.detach(), Some(2)),
            Cut::N => (a.detach(), b.piece(rb - 1, start, length), Some(1)),
            Cut::K => (
                a.piece(ra - 1, start, length),
                b.piece(rb - 2, start, length),
                None,
            ),
        };
        let shaped = |x: Option<&Tensor>| match (x, behind) {
            (Some(x), Some(behind)) => of_result(x, behind).map(Some),
            (x, _) => Ok(x.cloned()),
        };
        let residual = match earlier {
            Some(earlier) => Some(earlier.clone()),
            None => shaped(epilogue.residual)?,
        };
        // The kernels read it from its buffer's start.
        let gelu_input = shaped(epilogue.gelu_input)?
            .map(|x| copied(&x))
            .transpose()?;
        let bias = match (epilogue.bias, cut) {
            (Some(bias), Cut::N) => Some(bias.detach().piece(0, start, length)),
            // Added once.
            (Some(_), Cut::K) if at == 0 => None,
            (bias, _) => bias.cloned(),
        };
        let epilogue = Epilogue {
            bias: bias.as_ref(),
            residual: residual.as_ref(),
            gelu_input: gelu_input.as_ref(),
            dtype: Some(epilogue.dtype.unwrap_or(a.dtype())),
            ..*epilogue
        };
        gemm(op, &a, &b, &epilogue, kernel)
    };
    let one = part(0, None)?;
    if cut == Cut::K {
        let two = part(1, Some(&one.y))?;
        let row_sums = match (one.row_sums, two.row_sums) {
            (Some(x), Some(y)) => Some(x.add(&y)?),
            _ => None,
        };
        return Ok(Product { row_sums, ..two });
    }
    let two = part(1, None)?;
    let at = match cut {
        Cut::Batch(at) => at as isize,
        Cut::M => -2,
        _ => -1,
    };
    let join = |x: &Tensor, y: &Tensor| Tensor::concat(&[x, y], at);
    let both = |x: &Option<Tensor>, y: &Option<Tensor>, of_rows: bool| match (x, y) {
        (Some(x), Some(_)) if of_rows && cut == Cut::N => Ok(Some(x.clone())),
        (Some(x), Some(y)) if of_rows && cut == Cut::M => Tensor::concat(&[x, y], -1).map(Some),
        (Some(x), Some(y)) => join(x, y).map(Some),
        _ => Ok(None),
    };
    Ok(Product {
        y: join(&one.y, &two.y)?,
        pre: both(&one.pre, &two.pre, false)?,
        row_sums: both(&one.row_sums, &two.row_sums, true)?,
    })
}

fn copied(x: &Tensor) -> Result<Tensor> {
    let y = Tensor::empty(x.device(), x.shape(), x.dtype())?;
    x.detach().copy_into(&y)?;
    Ok(y)
}
