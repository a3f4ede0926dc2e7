//! One matrix product outside the graph: its operands, the kernel that fits them, the launch.

use wgrad_runtime::{Defines, Device};

use super::Variant;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{broadcast, broadcast_strides, numel};
use crate::tensor::Tensor;

/// Products of fewer multiplications than this are not worth a tile.
const SMALL: usize = 16 * 16 * 16;

/// What the kernel does besides the sums. At most one of `bias`, `gelu_input` and `row_sums`.
#[derive(Default)]
pub(super) struct Epilogue<'a> {
    /// (N), added to every row.
    pub bias: Option<&'a Tensor>,
    /// GELU after the bias; its input is kept.
    pub gelu: bool,
    /// (M, N): the product is multiplied by the derivative of GELU there.
    pub gelu_input: Option<&'a Tensor>,
    /// The sums of the rows of the left operand are wanted too.
    pub row_sums: bool,
}

/// What came of it.
pub(super) struct Product {
    pub y: Tensor,
    /// The input of GELU.
    pub pre: Option<Tensor>,
    /// (batch, M)
    pub row_sums: Option<Tensor>,
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

    /// Whether it is contiguous along one dimension and everything else begins at multiples of four.
    fn in_fours(&self) -> bool {
        let step = match (self.row, self.col) {
            (row, 1) => row,
            (1, col) => col,
            _ => return false,
        };
        step.is_multiple_of(4)
            && self.tensor.offset().is_multiple_of(4)
            && self.batch.iter().all(|s| s.is_multiple_of(4))
    }

    /// Whether the subgroup kernel can read it.
    fn in_texels(&self) -> bool {
        self.tensor.dtype() == DType::F32
            && self.in_fours()
            && self.tensor.device().fits_texture(self.tensor.buffer())
    }

    /// Whether the tiled kernel can load vectors of it; `side` is the one that it lies contiguous along.
    fn in_vectors(&self, side: usize) -> bool {
        self.in_fours() && side.is_multiple_of(4)
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

/// The tile of a kernel: rows, columns, depth, and of an invocation rows and columns.
#[derive(Clone, Copy)]
struct Tile {
    bm: usize,
    bn: usize,
    bk: usize,
    tm: usize,
    tn: usize,
}

impl Tile {
    /// Rows of a tile of the subgroup kernel. Tiles of 64 rows load less for each product and run about
    /// 1.2 times as fast, unless too many of their rows lie beyond the edge.
    fn subgroup(m: usize) -> Tile {
        let tall = 5 * m.next_multiple_of(64) <= 6 * m.next_multiple_of(32);
        let bm = if tall { 64 } else { 32 };
        Tile {
            bm,
            bn: 32,
            bk: 4,
            tm: bm,
            tn: 4,
        }
    }

    /// Of the tiled kernel: large where the output has enough of them to fill a GPU.
    fn tiled(device: &Device, m: usize, n: usize, batches: usize) -> Tile {
        let square = |side, bk, t| Tile {
            bm: side,
            bn: side,
            bk,
            tm: t,
            tn: t,
        };
        let groups = |side: usize| m.div_ceil(side) * n.div_ceil(side) * batches;
        // 17 KiB of workgroup memory.
        let deep = if device.max_workgroup_bytes() >= 20 << 10 {
            16
        } else {
            8
        };
        if groups(128) >= 64 && m >= 96 && n >= 96 {
            square(128, deep, 8)
        } else if groups(64) >= 32 {
            square(64, 16, 4)
        } else {
            square(32, 16, 4)
        }
    }

    fn defines(&self, defines: Defines) -> Defines {
        let threads = self.bm / self.tm * (self.bn / self.tn);
        [
            ("BM", self.bm),
            ("BN", self.bn),
            ("BK", self.bk),
            ("TM", self.tm),
            ("TN", self.tn),
            ("THREADS", threads),
        ]
        .into_iter()
        .fold(defines, |d, (name, value)| d.constant(name, value as u32))
    }
}

/// The kernel for these operands: `wanted` if they and the device allow it. Operands may be copied into
/// the layout that it needs; `k` grows with them.
fn choose(
    wanted: Option<Variant>,
    device: &Device,
    sizes: (usize, usize, &mut usize),
    lead: &[usize],
    operands: (&mut Operand, &mut Operand),
) -> Result<Variant> {
    let (m, n, k) = sizes;
    let (a, b) = operands;
    let shuffles = device.subgroup_size() == Some(8);
    let large = numel(lead) * m * n * *k >= SMALL;
    let variant = match wanted {
        Some(Variant::Subgroup) if !shuffles => Variant::Tiled,
        Some(variant) => variant,
        None if !large => Variant::Simple,
        None if shuffles && device.adapter().is_software() => Variant::Subgroup,
        None => Variant::Tiled,
    };
    if variant != Variant::Subgroup {
        return Ok(variant);
    }
    if !(a.in_texels() && b.in_texels() && k.is_multiple_of(4)) {
        *a = Operand::new(&padded(&a.tensor)?, lead);
        *b = Operand::new(&padded(&b.tensor)?, lead);
        *k = k.next_multiple_of(4);
    }
    Ok(match a.in_texels() && b.in_texels() {
        true => Variant::Subgroup,
        false => Variant::Tiled,
    })
}

/// The product of the last two dimensions, leading ones broadcast, and what the epilogue asks for.
pub(super) fn gemm(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    epilogue: &Epilogue,
    wanted: Option<Variant>,
) -> Result<Product> {
    let (ra, rb) = (a.rank(), b.rank());
    if ra < 2 || rb < 2 || !a.dtype().is_float() || a.dtype() != b.dtype() {
        return Err(Error::op(
            op,
            format!("two matrices of one float type are needed, {a:?} and {b:?} were given"),
        ));
    }
    let (m, mut k, n) = (a.shape()[ra - 2], a.shape()[ra - 1], b.shape()[rb - 1]);
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
    let of = |sides: &[usize]| Tensor::empty(device, &[&lead[..], sides].concat(), a.dtype());
    let out = Product {
        y: of(&[m, n])?,
        pre: epilogue.gelu.then(|| of(&[m, n])).transpose()?,
        row_sums: epilogue.row_sums.then(|| of(&[m])).transpose()?,
    };
    if k == 0 && epilogue.bias.is_none() {
        for zero in [Some(&out.y), out.row_sums.as_ref()].into_iter().flatten() {
            device.zero(zero.buffer())?;
        }
        return Ok(out);
    }
    let mut a = Operand::new(a, &lead);
    let mut b = Operand::new(b, &lead);
    let variant = choose(wanted, device, (m, n, &mut k), &lead, (&mut a, &mut b))?;
    let batches = numel(&lead);
    let (name, tile) = match variant {
        Variant::Simple => (
            "matmul",
            Tile {
                bm: 16,
                bn: 16,
                bk: 1,
                tm: 1,
                tn: 1,
            },
        ),
        Variant::Tiled => ("matmul_tiled", Tile::tiled(device, m, n, batches)),
        Variant::Subgroup => ("matmul_subgroup", Tile::subgroup(m)),
    };
    let defines = defines(variant, (&a, &b), &out, epilogue, [m, k, n]);
    let defines = match variant {
        Variant::Simple => defines,
        Variant::Tiled => tile.defines(defines),
        Variant::Subgroup => defines.constant("ROWS", tile.bm as u32),
    };
    let kernel = device.kernel(name, &defines)?;
    let mut batch = [1u32; 4];
    for (slot, side) in batch[4 - lead.len()..].iter_mut().zip(&lead) {
        *slot = *side as u32;
    }
    let extras = [
        epilogue.bias,
        out.pre.as_ref(),
        epilogue.gelu_input,
        out.row_sums.as_ref(),
    ];
    let launch = device
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
        .u32("bias_offset", epilogue.bias.map_or(0, Tensor::offset))
        .words("batch", &batch)
        .words("a_batch", &a.batch)
        .words("b_batch", &b.batch)
        .bind(a.tensor.buffer())
        .bind(b.tensor.buffer())
        .bind(out.y.buffer());
    extras
        .into_iter()
        .flatten()
        .fold(launch, |launch, tensor| launch.bind(tensor.buffer()))
        .grid([
            n.div_ceil(tile.bn) as u64,
            m.div_ceil(tile.bm) as u64,
            batches as u64,
        ])?;
    Ok(out)
}

/// What the kernel's text depends on.
fn defines(
    variant: Variant,
    (a, b): (&Operand, &Operand),
    out: &Product,
    epilogue: &Epilogue,
    [m, k, n]: [usize; 3],
) -> Defines {
    let subgroup = variant == Variant::Subgroup;
    let tiled = variant == Variant::Tiled;
    let (a_along_m, b_along_k) = (a.row == 1 && a.col != 1, b.row == 1 && b.col != 1);
    let vec_a = tiled && a.in_vectors(if a_along_m { m } else { k });
    let vec_b = tiled && b.in_vectors(if b_along_k { k } else { n });
    let vec4 = variant != Variant::Simple && n.is_multiple_of(4);
    let ty = |dtype: DType, vector: bool| match vector {
        true => format!("vec4<{}>", dtype.wgsl()),
        false => dtype.wgsl().to_owned(),
    };
    let mut defines = Defines::new().alias("T", &ty(out.y.dtype(), vec4));
    if !subgroup {
        defines = defines
            .alias("A", &ty(a.tensor.dtype(), vec_a))
            .alias("B", &ty(b.tensor.dtype(), vec_b));
    }
    if let Some(bias) = epilogue.bias {
        defines = defines.alias("S", bias.dtype().wgsl());
    }
    if let Some(sums) = &out.row_sums {
        defines = defines.alias("R", sums.dtype().wgsl());
    }
    let directed = variant != Variant::Simple;
    defines
        .flag_if(subgroup, "TEXTURE")
        .flag_if(vec4, "VEC4")
        .flag_if(vec_a, "VEC_A")
        .flag_if(vec_b, "VEC_B")
        .flag_if(directed && a_along_m, "A_ALONG_M")
        .flag_if(directed && b_along_k, "B_ALONG_K")
        .flag_if(epilogue.bias.is_some(), "BIAS")
        .flag_if(epilogue.gelu, "GELU")
        .flag_if(epilogue.gelu_input.is_some(), "GELU_BACKWARD")
        .flag_if(epilogue.row_sums, "ROW_SUMS")
}
