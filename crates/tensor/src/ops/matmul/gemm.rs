//! One matrix product outside the graph: its operands, the kernel that fits them, the launch.

use wgrad_runtime::{Defines, Device, Launch, MAX_GROUPS};

use super::choice::{FEW_ROWS, choose};
use super::operand::Operand;
use super::parts::{cut, in_parts};
use super::split::{split_k, splits};
use super::{Kernel, MatmulVariant, cooperative};
use crate::autograd::no_grad;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{broadcast, numel};
use crate::tensor::Tensor;

/// The work of the kernel besides the sums. At most one of `bias`, `gelu_input` and `row_sums`.
pub(super) struct Epilogue<'a> {
    /// The product is multiplied by it.
    pub scale: f32,
    /// (N), of any layout, added to every row.
    pub bias: Option<&'a Tensor>,
    /// GELU after the bias; its input is kept.
    pub gelu: bool,
    /// (M, N): the product is multiplied by the derivative of GELU there.
    pub gelu_input: Option<&'a Tensor>,
    /// (batch, M, N), contiguous and of the type of what is computed: added last.
    pub residual: Option<&'a Tensor>,
    /// Whether the sums of the rows of the left operand are computed too.
    pub row_sums: bool,
    /// The type of the result, if it differs from the left operand's.
    pub dtype: Option<DType>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            scale: 1.0,
            bias: None,
            gelu: false,
            gelu_input: None,
            residual: None,
            row_sums: false,
            dtype: None,
        }
    }
}

impl Epilogue<'_> {
    /// Whether rows of `n` are stored four at a time by this kernel.
    pub fn in_fours(&self, variant: MatmulVariant, n: usize) -> bool {
        let aligned = self.residual.is_none_or(|x| x.offset().is_multiple_of(4));
        variant != MatmulVariant::Simple && n.is_multiple_of(4) && aligned
    }

    /// Nothing but the product, as this type.
    pub fn of(dtype: DType) -> Self {
        Self {
            dtype: Some(dtype),
            ..Self::default()
        }
    }
}

/// The results.
pub(super) struct Product {
    pub y: Tensor,
    /// The input of GELU.
    pub pre: Option<Tensor>,
    /// (batch, M)
    pub row_sums: Option<Tensor>,
}

impl Product {
    /// Allocates the outputs that `epilogue` needs.
    pub fn new(
        device: &Device,
        lead: &[usize],
        [m, n]: [usize; 2],
        dtype: DType,
        epilogue: &Epilogue,
    ) -> Result<Product> {
        let of = |sides: &[usize]| Tensor::empty(device, &[lead, sides].concat(), dtype);
        Ok(Product {
            y: of(&[m, n])?,
            pre: epilogue.gelu.then(|| of(&[m, n])).transpose()?,
            row_sums: epilogue.row_sums.then(|| of(&[m])).transpose()?,
        })
    }
}

/// The product of the last two dimensions, leading ones broadcast, followed by the epilogue. The
/// operands may have different float types.
pub(super) fn gemm(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    epilogue: &Epilogue,
    requested: Option<Kernel>,
) -> Result<Product> {
    let (ra, rb) = (a.rank(), b.rank());
    if ra < 2 || rb < 2 || !a.dtype().is_float() || !b.dtype().is_float() {
        return Err(Error::op(
            op,
            format!("two matrices of floats are needed, {a:?} and {b:?} were given"),
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
    let size = epilogue.dtype.unwrap_or(a.dtype()).size();
    if let Some(cut) = cut(a, b, &lead, size, epilogue) {
        return in_parts(op, (a, b), &lead, cut, epilogue, requested);
    }
    // The kernels need a contiguous bias.
    let bias = epilogue.bias.map(Tensor::contiguous);
    let bias = bias.transpose()?;
    let epilogue = &Epilogue {
        bias: bias.as_ref(),
        ..*epilogue
    };
    let device = a.device();
    let dtype = epilogue.dtype.unwrap_or(a.dtype());
    let mut out = Product::new(device, &lead, [m, n], dtype, epilogue)?;
    if k == 0 && epilogue.bias.is_none() && epilogue.residual.is_none() {
        for zero in [Some(&out.y), out.row_sums.as_ref()].into_iter().flatten() {
            device.zero(zero.buffer())?;
        }
        return Ok(out);
    }
    if requested.is_none() && lead.is_empty() && n > 0 {
        let parts = splits(a, b);
        let sums = (parts * m * n * 4) as u64;
        if parts > 1 && sums <= device.max_binding_bytes() {
            split_k(op, (a, b), parts, requested, epilogue, &out)?;
            return Ok(out);
        }
    }
    let mut a = Operand::new(a, &lead);
    let mut b = Operand::new(b, &lead);
    let sizes = (m, n, &mut k);
    let (variant, tile) = choose(requested, sizes, &lead, (&mut a, &mut b))?;
    // An empty product launches no kernel that could compute the sums.
    let in_kernel = n > 0
        && match variant {
            MatmulVariant::Cooperative => cooperative::sums_rows(&tile, device, &a),
            MatmulVariant::Subgroup => tile.bm > FEW_ROWS,
            _ => true,
        };
    if epilogue.row_sums && !in_kernel {
        // The operand may have been laid out anew, with rows of zeros behind its own.
        let rows = a.tensor.detach().narrow(-2, 0, m)?;
        let sums = no_grad(|| rows.sum(&[-1], false)?.cast(dtype))?;
        out.row_sums = Some(sums);
    }
    let row_sums = out.row_sums.as_ref().filter(|_| in_kernel);
    let batches = numel(&lead);
    let mut grid = [n.div_ceil(tile.bn) as u64, m.div_ceil(tile.bm) as u64];
    if grid.iter().any(|side| *side > MAX_GROUPS) {
        let all = grid[0] * grid[1];
        let y = all.div_ceil(MAX_GROUPS);
        grid = [all.div_ceil(y), y];
    }
    let defines = epilogue_defines(&out, row_sums, epilogue, epilogue.in_fours(variant, n));
    let defines = operand_defines(defines, variant, (&a, &b), epilogue, [m, k, n]);
    let kernel = device.kernel(variant.file(), &tile.defines(variant, device, defines))?;
    let mut batch = [1u32; 4];
    for (slot, side) in batch[4 - lead.len()..].iter_mut().zip(&lead) {
        *slot = *side as u32;
    }
    for first in (0..batches).step_by(MAX_GROUPS as usize) {
        let launch = device.launch(&kernel);
        let launch = parameters(launch, [m, n, k], (&a, &b), epilogue)
            .u32("first_batch", first)
            .u32s("batch", &batch)
            .window(a.tensor.buffer(), a.binding.offset, a.binding.bytes)
            .window(b.tensor.buffer(), b.binding.offset, b.binding.bytes);
        let layers = (batches - first).min(MAX_GROUPS as usize) as u64;
        bound(launch, &out, row_sums, epilogue).grid([grid[0], grid[1], layers])?;
    }
    Ok(out)
}

/// The parameters that all kernels of products share, except the batches.
pub(super) fn parameters<'a>(
    launch: Launch<'a>,
    [m, n, k]: [usize; 3],
    (a, b): (&Operand, &Operand),
    epilogue: &Epilogue,
) -> Launch<'a> {
    let offset = |side: Option<&Tensor>| side.map_or(0, Tensor::offset);
    launch
        .u32("m", m)
        .u32("n", n)
        .u32("k", k)
        .f32("alpha", epilogue.scale)
        .u32("a_offset", a.binding.lead)
        .u32("a_row", a.row)
        .u32("a_col", a.col)
        .u32("b_offset", b.binding.lead)
        .u32("b_row", b.row)
        .u32("b_col", b.col)
        .u32("bias_offset", offset(epilogue.bias))
        .u32(
            "residual_offset",
            epilogue.residual.map_or(0, |x| x.binding().lead),
        )
        .u32s("a_batch", &a.batch)
        .u32s("b_batch", &b.batch)
}

/// Binds the outputs and the inputs of the epilogue, behind the operands.
pub(super) fn bound<'a>(
    launch: Launch<'a>,
    out: &'a Product,
    row_sums: Option<&'a Tensor>,
    epilogue: &Epilogue<'a>,
) -> Launch<'a> {
    let extras = [
        epilogue.bias,
        out.pre.as_ref(),
        epilogue.gelu_input,
        row_sums,
        epilogue.residual,
    ];
    let launch = launch.bind(out.y.buffer());
    extras.into_iter().flatten().fold(launch, |launch, tensor| {
        let binding = tensor.binding();
        launch.window(tensor.buffer(), binding.offset, binding.bytes)
    })
}

/// The defines of the epilogue.
pub(super) fn epilogue_defines(
    out: &Product,
    row_sums: Option<&Tensor>,
    epilogue: &Epilogue,
    vec4: bool,
) -> Defines {
    let mut defines = Defines::new().alias("T", &ty(out.y.dtype(), vec4));
    if let Some(bias) = epilogue.bias {
        defines = defines.alias("S", bias.dtype().wgsl());
    }
    if let Some(sums) = row_sums {
        defines = defines.alias("R", sums.dtype().wgsl());
    }
    if epilogue.residual.is_some() {
        // Behind a, b, y and what else `bound` binds.
        let before = [
            epilogue.bias.is_some(),
            epilogue.gelu,
            epilogue.gelu_input.is_some(),
            row_sums.is_some(),
        ];
        let before = before.into_iter().filter(|there| *there).count();
        defines = defines.constant("AT_RESIDUAL", 4 + before as u32);
    }
    defines
        .flag_if(vec4, "VEC4")
        .flag_if(epilogue.bias.is_some(), "BIAS")
        .flag_if(epilogue.gelu, "GELU")
        .flag_if(epilogue.gelu_input.is_some(), "GELU_BACKWARD")
        .flag_if(row_sums.is_some(), "ROW_SUMS")
        .flag_if(epilogue.residual.is_some(), "RESIDUAL")
}

/// The type in memory: a scalar or a vector of four.
fn ty(dtype: DType, vector: bool) -> String {
    match vector {
        true => format!("vec4<{}>", dtype.wgsl()),
        false => dtype.wgsl().to_owned(),
    }
}

/// The defines of the operands.
fn operand_defines(
    mut defines: Defines,
    variant: MatmulVariant,
    (a, b): (&Operand, &Operand),
    epilogue: &Epilogue,
    [m, k, n]: [usize; 3],
) -> Defines {
    let subgroup = variant == MatmulVariant::Subgroup;
    let vectors = matches!(
        variant,
        MatmulVariant::Tiled | MatmulVariant::Vector | MatmulVariant::Cooperative
    );
    let (a_along_m, b_along_k) = (a.row == 1 && a.col != 1, b.row == 1 && b.col != 1);
    // The vector kernel loads a along K only.
    let a_in_place = variant != MatmulVariant::Vector || !a_along_m;
    let vec_a = vectors && a_in_place && a.in_vectors(if a_along_m { m } else { k });
    let vec_b = vectors && b.in_vectors(if b_along_k { k } else { n });
    // Without textures, loading the epilogue's inputs takes longer than the product.
    let in_texels =
        |side: &Tensor| side.dtype() == DType::F32 && side.device().fits_texture(side.buffer());
    let mut sides = [epilogue.residual, epilogue.gelu_input]
        .into_iter()
        .flatten();
    let texels = subgroup && epilogue.in_fours(variant, n) && sides.all(in_texels);
    if !subgroup {
        defines = defines
            .alias("TA", &ty(a.tensor.dtype(), vec_a))
            .alias("TB", &ty(b.tensor.dtype(), vec_b));
    }
    let directed = variant != MatmulVariant::Simple;
    defines
        .flag_if(subgroup, "TEXTURE")
        .flag_if(texels, "TEXELS")
        .flag_if(vec_a, "VEC_A")
        .flag_if(vec_b, "VEC_B")
        .flag_if(directed && a_in_place && a_along_m, "A_ALONG_M")
        .flag_if(directed && b_along_k, "B_ALONG_K")
}
