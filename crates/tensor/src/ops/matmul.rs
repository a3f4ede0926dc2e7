//! Matrix products: 2-D and batched, any layout, with bias and GELU fused.

use wgrad_runtime::Defines;

use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::unary::gelu_backward;
use crate::shape::{broadcast, broadcast_strides, numel};
use crate::tape::record;
use crate::tensor::Tensor;

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

/// Products of fewer multiplications than this are not worth a tile.
const SMALL: usize = 16 * 16 * 16;

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
        let y = gemm("matmul", self, other, &Epilogue::default(), variant)?.0;
        let (a, b) = (self.detach(), other.detach());
        Ok(record("matmul", y, &[self, other], move |dy, needs| {
            let mut parts = vec![None, None];
            let plain = Epilogue::default();
            if needs[0] {
                let da = gemm("matmul", dy, &b.transpose(-2, -1)?, &plain, variant)?.0;
                parts[0] = Some(da.sum_to(a.shape())?);
            }
            if needs[1] {
                let db = gemm("matmul", &a.transpose(-2, -1)?, dy, &plain, variant)?.0;
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
        bias: bias.map(Tensor::detach),
        gelu: activation == Activation::Gelu,
    };
    let (y, pre) = gemm("linear", x, &weight.transpose(0, 1)?, &epilogue, variant)?;
    let (a, w) = (x.detach(), weight.detach());
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    Ok(record("linear", y, &inputs, move |dy, needs| {
        let plain = Epilogue::default();
        let dy = match &pre {
            Some(pre) => gelu_backward(dy, pre)?,
            None => dy.clone(),
        };
        let mut parts = vec![None; needs.len()];
        if needs[0] {
            parts[0] = Some(gemm("linear", &dy, &w, &plain, variant)?.0);
        }
        if needs[1] {
            parts[1] = Some(gemm("linear", &dy.transpose(0, 1)?, &a, &plain, variant)?.0);
        }
        if needs.len() > 2 && needs[2] {
            parts[2] = Some(dy.sum_to(&w.shape()[..1])?);
        }
        Ok(parts)
    }))
}

/// What follows the sums.
#[derive(Default)]
struct Epilogue {
    bias: Option<Tensor>,
    gelu: bool,
}

/// One operand as the kernels see it: strides in elements, batch dimensions padded to four.
#[derive(Clone)]
struct Operand {
    tensor: Tensor,
    row: usize,
    col: usize,
    batch: [u32; 4],
}

impl Operand {
    fn new(tensor: &Tensor, lead: &[usize]) -> Operand {
        let rank = tensor.rank();
        let (shape, strides) = (tensor.shape(), tensor.strides());
        let expanded = broadcast_strides(&shape[..rank - 2], &strides[..rank - 2], lead);
        let mut batch = [0; 4];
        for (slot, stride) in batch[4 - lead.len()..].iter_mut().zip(expanded) {
            *slot = stride as u32;
        }
        Operand {
            tensor: tensor.clone(),
            row: strides[rank - 2],
            col: strides[rank - 1],
            batch,
        }
    }

    /// Whether the subgroup kernel can read it: contiguous along one dimension, texels whole.
    fn in_texels(&self) -> bool {
        let step = match (self.row, self.col) {
            (row, 1) => row,
            (1, col) => col,
            _ => return false,
        };
        self.tensor.dtype() == DType::F32
            && step.is_multiple_of(4)
            && self.tensor.offset().is_multiple_of(4)
            && self.batch.iter().all(|s| s.is_multiple_of(4))
            && self.tensor.device().fits_texture(self.tensor.buffer())
    }
}

/// A float32 copy with both sides zero-padded to whole texels.
fn padded(tensor: &Tensor) -> Result<Tensor> {
    let rank = tensor.rank();
    let mut shape = tensor.shape().to_vec();
    for side in &mut shape[rank - 2..] {
        *side = side.next_multiple_of(4);
    }
    let out = if shape == tensor.shape() {
        Tensor::empty(tensor.device(), &shape, DType::F32)?
    } else {
        Tensor::zeros(tensor.device(), &shape, DType::F32)?
    };
    let window =
        out.narrow(-2, 0, tensor.shape()[rank - 2])?
            .narrow(-1, 0, tensor.shape()[rank - 1])?;
    tensor.detach().copy_into(&window)?;
    Ok(out)
}

/// Rows of a tile of the subgroup kernel. Tiles of 64 rows load less for each product and run about 1.2
/// times as fast, unless too many of their rows lie beyond the edge.
fn subgroup_rows(m: usize) -> usize {
    match 5 * m.next_multiple_of(64) <= 6 * m.next_multiple_of(32) {
        true => 64,
        false => 32,
    }
}

/// The product outside the graph, and the input of GELU where the epilogue has one.
fn gemm(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    epilogue: &Epilogue,
    variant: Option<Variant>,
) -> Result<(Tensor, Option<Tensor>)> {
    let (ra, rb) = (a.rank(), b.rank());
    if ra < 2 || rb < 2 || !a.dtype().is_float() || a.dtype() != b.dtype() {
        return Err(Error::op(
            op,
            format!("two matrices of one float type are needed, {a:?} and {b:?} were given"),
        ));
    }
    let (m, k, n) = (a.shape()[ra - 2], a.shape()[ra - 1], b.shape()[rb - 1]);
    if b.shape()[rb - 2] != k {
        return Err(Error::op(
            op,
            format!(
                "inner dims differ, lhs {:?}, rhs {:?}",
                a.shape(),
                b.shape()
            ),
        ));
    }
    let lead = broadcast(op, &a.shape()[..ra - 2], &b.shape()[..rb - 2])?;
    if lead.len() > 4 {
        return Err(Error::op(
            op,
            format!(
                "{} batch dimensions; at most 4 are supported, reshape some into one",
                lead.len()
            ),
        ));
    }
    let device = a.device();
    let mut shape = lead.clone();
    shape.extend([m, n]);
    let y = Tensor::empty(device, &shape, a.dtype())?;
    let pre = match epilogue.gelu {
        true => Some(Tensor::empty(device, &shape, a.dtype())?),
        false => None,
    };
    if k == 0 && epilogue.bias.is_none() {
        device.zero(y.buffer())?;
        return Ok((y, pre));
    }
    let batches = numel(&lead);
    let large = batches * m * n * k >= SMALL;
    let variant = variant.unwrap_or(match large {
        false => Variant::Simple,
        true if device.subgroup_size() == Some(8) && device.adapter().is_software() => {
            Variant::Subgroup
        }
        true => Variant::Tiled,
    });
    let variant = match variant {
        Variant::Subgroup if device.subgroup_size() != Some(8) => Variant::Tiled,
        other => other,
    };
    let mut a = Operand::new(a, &lead);
    let mut b = Operand::new(b, &lead);
    let mut k = k;
    if variant == Variant::Subgroup && !(a.in_texels() && b.in_texels() && k.is_multiple_of(4)) {
        a = Operand::new(&padded(&a.tensor)?, &lead);
        b = Operand::new(&padded(&b.tensor)?, &lead);
        k = k.next_multiple_of(4);
    }
    let variant = match variant {
        Variant::Subgroup if !(a.in_texels() && b.in_texels()) => Variant::Tiled,
        other => other,
    };
    let (name, tile) = match variant {
        Variant::Simple => ("matmul", 16),
        Variant::Tiled => ("matmul_tiled", 64),
        Variant::Subgroup => ("matmul_subgroup", 32),
    };
    let subgroup = variant == Variant::Subgroup;
    let tile_rows = match subgroup {
        true => subgroup_rows(m),
        false => tile,
    };
    let vec4 = subgroup && n.is_multiple_of(4);
    let out = y.dtype().wgsl();
    let out = if vec4 {
        format!("vec4<{out}>")
    } else {
        out.to_owned()
    };
    let defines = Defines::new()
        .alias(
            "S",
            epilogue
                .bias
                .as_ref()
                .map_or(a.tensor.dtype(), Tensor::dtype)
                .wgsl(),
        )
        .alias("T", &out)
        .flag_if(subgroup, "TEXTURE")
        .flag_if(vec4, "VEC4")
        .flag_if(subgroup && a.col != 1, "A_ALONG_M")
        .flag_if(subgroup && b.col != 1, "B_ALONG_K")
        .flag_if(epilogue.bias.is_some(), "BIAS")
        .flag_if(epilogue.gelu, "GELU");
    let defines = match subgroup {
        true => defines.constant("ROWS", tile_rows as u32),
        false => defines,
    };
    let kernel = device.kernel(name, &defines)?;
    let mut batch = [1u32; 4];
    for (slot, side) in batch[4 - lead.len()..].iter_mut().zip(&lead) {
        *slot = *side as u32;
    }
    let mut launch = device
        .launch(&kernel)
        .u32("m", m)
        .u32("n", n)
        .u32("k", k)
        .f32("alpha", 1.0)
        .u32("a_offset", a.tensor.offset())
        .u32("a_row", a.row)
        .u32("a_col", a.col)
        .u32("b_offset", b.tensor.offset())
        .u32("b_row", b.row)
        .u32("b_col", b.col)
        .u32(
            "bias_offset",
            epilogue.bias.as_ref().map_or(0, Tensor::offset),
        )
        .words("batch", &batch)
        .words("a_batch", &a.batch)
        .words("b_batch", &b.batch)
        .bind(a.tensor.buffer())
        .bind(b.tensor.buffer());
    if let Some(bias) = &epilogue.bias {
        launch = launch.bind(bias.buffer());
    }
    launch = launch.bind(y.buffer());
    if let Some(pre) = &pre {
        launch = launch.bind(pre.buffer());
    }
    launch.grid([
        n.div_ceil(tile) as u64,
        m.div_ceil(tile_rows) as u64,
        batches as u64,
    ])?;
    Ok((y, pre))
}

/// The reference: broadcasts the leading dimensions, then multiplies.
fn product(a: &HostArray, b: &HostArray) -> HostArray {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let lead = HostArray::zeros(&a.shape[..ra - 2])
        .zip(&HostArray::zeros(&b.shape[..rb - 2]), |p, _| p)
        .shape;
    let widen = |x: &HostArray| {
        let rank = x.shape.len();
        let mut shape = lead.clone();
        shape.extend(&x.shape[rank - 2..]);
        x.broadcast_to(&shape)
    };
    widen(a).matmul(&widen(b))
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Sliced, Transposed};
    let shapes: Vec<(Vec<usize>, Vec<usize>)> = vec![
        (vec![1, 1], vec![1, 1]),
        (vec![5, 3], vec![3, 7]),
        (vec![33, 8], vec![8, 36]),
        (vec![65, 20], vec![20, 70]),
        (vec![16, 64], vec![64, 40]),
        (vec![3, 130], vec![130, 2]),
        (vec![2, 9, 12], vec![2, 12, 5]),
        (vec![2, 3, 8, 4], vec![2, 3, 4, 16]),
        (vec![3, 1, 6, 5], vec![4, 5, 3]),
    ];
    let layouts = [
        (Contiguous, Contiguous),
        (Transposed, Contiguous),
        (Contiguous, Transposed),
        (Transposed, Transposed),
        (Sliced, Contiguous),
        (Contiguous, Sliced),
    ];
    for dtype in [DType::F32, DType::F16] {
        for variant in [Variant::Simple, Variant::Tiled, Variant::Subgroup] {
            for (a, b) in &shapes {
                for (la, lb) in layouts {
                    out.push(
                        Case::new(
                            "matmul",
                            "x0 @ x1",
                            vec![
                                Input::new(a, dtype).layout(la),
                                Input::new(b, dtype).layout(lb),
                            ],
                            move |x| x[0].matmul_with(&x[1], Some(variant)),
                            |x: &[HostArray]| product(&x[0], &x[1]),
                        )
                        .note(format!("{variant:?}")),
                    );
                }
            }
        }
    }
    linear_cases(out);
    for (a, b) in [
        (vec![7], vec![7]),
        (vec![7], vec![7, 3]),
        (vec![2, 4, 7], vec![7]),
    ] {
        out.push(Case::new(
            "matmul",
            "x0 @ x1",
            vec![Input::new(&a, DType::F32), Input::new(&b, DType::F32)],
            |x| x[0].matmul(&x[1]),
            |x: &[HostArray]| {
                let mut a = x[0].clone();
                let mut b = x[1].clone();
                if a.shape.len() == 1 {
                    a.shape.insert(0, 1);
                }
                if b.shape.len() == 1 {
                    b.shape.push(1);
                }
                let mut y = product(&a, &b);
                if x[1].shape.len() == 1 {
                    y.shape.pop();
                }
                if x[0].shape.len() == 1 {
                    let at = y.shape.len() - usize::from(x[1].shape.len() > 1) - 1;
                    y.shape.remove(at);
                }
                y
            },
        ));
    }
    let two = |a: &[usize], b: &[usize]| vec![Input::new(a, DType::F32), Input::new(b, DType::F32)];
    out.push(Case::rejects(
        "matmul",
        two(&[2, 3], &[4, 5]),
        |x| x[0].matmul(&x[1]),
        "inner dims differ, lhs [2, 3], rhs [4, 5]",
    ));
    out.push(Case::rejects(
        "matmul",
        two(&[2, 2, 3], &[3, 3, 4]),
        |x| x[0].matmul(&x[1]),
        "do not broadcast",
    ));
    out.push(Case::rejects(
        "linear",
        two(&[2, 3], &[4, 5]),
        |x| x[0].linear(&x[1], None, Activation::None),
        "weight is (out, in)",
    ));
}

fn linear_cases(out: &mut Vec<Case>) {
    let erf_gelu = |v: f64| crate::ops::unary::gelu_reference(v);
    for dtype in [DType::F32, DType::F16] {
        for variant in [Variant::Simple, Variant::Tiled, Variant::Subgroup] {
            for (rows, inputs, outputs) in [
                (1, 1, 1),
                (5, 12, 7),
                (40, 36, 68),
                (33, 6, 10),
                (70, 64, 4),
            ] {
                for (bias, gelu) in [(false, false), (true, false), (true, true)] {
                    let activation = if gelu {
                        Activation::Gelu
                    } else {
                        Activation::None
                    };
                    let mut list = vec![
                        Input::new(&[rows, inputs], dtype),
                        Input::new(&[outputs, inputs], dtype),
                    ];
                    if bias {
                        list.push(Input::new(&[outputs], dtype));
                    }
                    let torch = match (bias, gelu) {
                        (false, _) => "F.linear(x0, x1)",
                        (true, false) => "F.linear(x0, x1, x2)",
                        (true, true) => "F.gelu(F.linear(x0, x1, x2))",
                    };
                    out.push(
                        Case::new(
                            "linear",
                            torch,
                            list,
                            move |x| linear_rows(&x[0], &x[1], x.get(2), activation, Some(variant)),
                            move |x: &[HostArray]| {
                                let y = x[0].matmul(&x[1].permute(&[1, 0]));
                                let y = match x.get(2) {
                                    Some(bias) => y.zip(bias, |a, b| a + b),
                                    None => y,
                                };
                                if gelu { y.map(erf_gelu) } else { y }
                            },
                        )
                        .note(format!("{variant:?} {torch}")),
                    );
                }
            }
        }
    }
    for shape in [vec![6], vec![2, 3, 6], vec![2, 2, 3, 6]] {
        out.push(Case::new(
            "linear",
            "F.gelu(F.linear(x0, x1, x2))",
            vec![
                Input::new(&shape, DType::F32),
                Input::new(&[5, 6], DType::F32).layout(Layout::Transposed),
                Input::new(&[5], DType::F32).layout(Layout::Sliced),
            ],
            |x| x[0].linear(&x[1], Some(&x[2]), Activation::Gelu),
            move |x: &[HostArray]| {
                let mut flat = x[0].clone();
                flat.shape = vec![flat.data.len() / 6, 6];
                let mut y = flat
                    .matmul(&x[1].permute(&[1, 0]))
                    .zip(&x[2], |a, b| a + b)
                    .map(erf_gelu);
                y.shape = x[0].shape.clone();
                if let Some(last) = y.shape.last_mut() {
                    *last = 5;
                }
                y
            },
        ));
    }
}
