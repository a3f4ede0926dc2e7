//! Long sums in parts: a small output with a large inner dimension would leave most of a GPU idle.

use super::choice::{FEW_ROWS, sizes};
use super::gemm::{Epilogue, Product, bound, epilogue_defines, gemm, parameters};
use super::operand::Operand;
use super::{Kernel, MatmulVariant, cooperative};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

/// Parts of the inner dimension at most: each writes an output of its own.
const MOST_PARTS: usize = 64;

/// Parts that the inner dimension is cut into: a table's `PARTS`, else by rule. On the software adapter one part is
/// enough, because it has few cores.
pub(super) fn splits(a: &Tensor, b: &Tensor) -> usize {
    let (device, types) = (a.device(), (a.dtype(), b.dtype()));
    let (m, k, n) = (a.shape()[0], a.shape()[1], b.shape()[1]);
    let parts = device.variant("matmul", &sizes([m, n, k]));
    let parts = parts.and_then(|choice| choice.get("PARTS"));
    let divides = |parts: usize| k >= 4 * parts && k.is_multiple_of(4 * parts);
    let parts = parts.map(|parts| parts as usize);
    if let Some(parts) = parts.filter(|parts| (1..=MOST_PARTS).contains(parts) && divides(*parts)) {
        return parts;
    }
    // The kernel for few rows divides K itself, and with b along K uses many more workgroups.
    if device.adapter().is_software() || m <= FEW_ROWS && b.strides()[0] == 1 {
        return 1;
    }
    // The side of a tile, and how much of the inner dimension is worth a workgroup.
    let (side, least) = match cooperative::fit(device, types) && cooperative::by_rule(device) {
        true if m > FEW_ROWS => (128, 512),
        _ => (64, 256),
    };
    let tiles = m.div_ceil(side) * n.div_ceil(side);
    let groups = device.groups_to_fill();
    let mut parts = 1;
    while tiles * parts < groups
        && 2 * parts <= MOST_PARTS
        && k / (2 * parts) >= least
        && divides(2 * parts)
    {
        parts *= 2;
    }
    parts
}

/// The product of two matrices into `out`, the inner dimension in `parts` equal parts that run side by side and are
/// added up in order by a second kernel, which does what `epilogue` asks for.
pub(super) fn split_k(
    op: &'static str,
    (a, b): (&Tensor, &Tensor),
    parts: usize,
    requested: Option<Kernel>,
    epilogue: &Epilogue,
    out: &Product,
) -> Result<()> {
    let (m, k, n) = (a.shape()[0], a.shape()[1], b.shape()[1]);
    let part = k / parts;
    let (sa, sb) = (a.strides(), b.strides());
    let a = a.view(
        vec![parts, m, part],
        vec![part * sa[1], sa[0], sa[1]],
        a.offset(),
    );
    let b = b.view(
        vec![parts, part, n],
        vec![part * sb[0], sb[0], sb[1]],
        b.offset(),
    );
    let sums = Epilogue {
        row_sums: epilogue.row_sums,
        ..Epilogue::of(DType::F32)
    };
    let made = gemm(op, &a, &b, &sums, requested)?;
    let vec4 = epilogue.in_fours(MatmulVariant::Tiled, n);
    let ty = if vec4 { "vec4<f32>" } else { "f32" };
    let defines = epilogue_defines(out, out.row_sums.as_ref(), epilogue, vec4)
        .alias("TA", ty)
        .alias("TB", "f32");
    let device = out.y.device();
    let kernel = device.kernel("matmul_finish", &defines)?;
    let operand = Operand::new(&made.y, &[parts]);
    let launch = device.launch(&kernel);
    let launch = parameters(launch, [m, n, parts], (&operand, &operand), epilogue)
        .u32("first_batch", 0)
        .u32s("batch", &[1; 4])
        .bind(made.y.buffer())
        .bind(made.row_sums.as_ref().unwrap_or(&made.y).buffer());
    let elements = m * n / if vec4 { 4 } else { 1 };
    let launch = bound(launch, out, out.row_sums.as_ref(), epilogue);
    Ok(launch.invocations(elements as u64)?)
}
