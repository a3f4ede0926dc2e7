//! Products in an adapter's matrix units: the types they support, their self-test, their tiles.

use wgrad_runtime::{Defines, Device, MatrixUnit, SelfTest};

use super::choice::Tile;
use super::gemm::{Epilogue, gemm};
use super::operand::{Operand, laid_out};
use super::{Kernel, MatmulVariant};
use crate::autograd::no_grad;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

/// The most sums that an invocation holds in registers.
const MOST_SUMS: usize = 128;

/// Whether the device has matrix units for operands of these types, and subgroups of one size to feed them.
pub(super) fn fit(device: &Device, (a, b): (DType, DType)) -> bool {
    // The units round an f32 operand beside an f16 one to f16, as autocast does.
    let half = a == DType::F16 || b == DType::F16;
    width(device) >= 8 && device.matrix_unit().is_some_and(|unit| unit.half == half)
}

/// Whether the device is a GPU with matrix units for f16: there they multiply several times as fast as everything else.
/// f32 products are left to a table.
pub(crate) fn may_use(device: &Device) -> bool {
    let half = device.matrix_unit().is_some_and(|unit| unit.half);
    half && !device.adapter().is_software()
}

/// Whether products use matrix units by default: if they passed the self-test.
pub(crate) fn by_rule(device: &Device) -> bool {
    may_use(device) && passed(device)
}

const SELF_TEST: &str = "products in matrix units";

/// Whether the units give products of small whole numbers, which are exact in f16, to the bit. Drivers offer
/// them as an experimental feature, and a wrong gradient is worse than a slow one. Any kind of failure counts as not passed.
/// The first call launches, waits and reads back, so call it outside of a forward pass.
///
/// # Errors
/// The reason why the units failed the test.
pub fn self_test(device: &Device) -> SelfTest {
    device.self_test(SELF_TEST, test)
}

/// Whether the self-test has run and passed.
pub(super) fn passed(device: &Device) -> bool {
    device.passed_self_test(SELF_TEST, test)
}

fn test(device: &Device) -> SelfTest {
    // Without subgroups of a fixed size, another kernel would run instead of the matrix units.
    if width(device) < 8 {
        return Err("subgroups are too small, or of several sizes".into());
    }
    let wrong: Result<Option<String>> = no_grad(|| {
        let large = tile(device, 4096, 4096, 1);
        for (sides, tile) in [([76, 84, 100], None), ([132, 140, 68], Some(large))] {
            if let Some(wrong) = whole_numbers(device, sides, tile)? {
                return Ok(Some(wrong));
            }
        }
        Ok(None)
    });
    match wrong {
        Ok(None) => Ok(()),
        Ok(Some(wrong)) => Err(wrong),
        Err(error) => Err(error.to_string()),
    }
}

/// Sides that are no multiples of a tile, with an inner one of several steps; the operands by rows, and by
/// columns, for which the units have another instruction; a parameter in f32 beside f16. `Some` says what is wrong.
fn whole_numbers(
    device: &Device,
    [m, n, k]: [usize; 3],
    tile: Option<Tile>,
) -> Result<Option<String>> {
    let dtype = match device.matrix_unit() {
        Some(MatrixUnit { half: true, .. }) => DType::F16,
        _ => DType::F32,
    };
    let a = |i: usize, p: usize| ((i * 3 + p * 7) % 5) as f32 - 2.0;
    let b = |p: usize, j: usize| ((p * 5 + j * 11) % 7) as f32 - 3.0;
    let of = |rows: usize, cols: usize, value: &dyn Fn(usize, usize) -> f32| -> Result<Tensor> {
        let values: Vec<f32> = (0..rows * cols)
            .map(|at| value(at / cols, at % cols))
            .collect();
        Tensor::from_slice(device, &values, &[rows, cols])
    };
    let by_rows = [of(m, k, &a)?.cast(dtype)?, of(k, n, &b)?];
    let by_columns = [
        of(k, m, &|p, i| a(i, p))?.cast(dtype)?.transpose(0, 1)?,
        of(n, k, &|j, p| b(p, j))?.cast(dtype)?.transpose(0, 1)?,
    ];
    let expected: Vec<f32> = (0..m * n)
        .map(|at| (0..k).map(|p| a(at / n, p) * b(p, at % n)).sum())
        .collect();
    let requested = Kernel {
        variant: MatmulVariant::Cooperative,
        tile: tile.map(Tile::sides),
    };
    let sums: Vec<f32> = (0..m).map(|i| (0..k).map(|p| a(i, p)).sum()).collect();
    for ([a, b], row_sums) in [(by_rows, false), (by_columns, true)] {
        let epilogue = Epilogue {
            row_sums,
            ..Epilogue::of(DType::F32)
        };
        let made = gemm("matmul", &a, &b, &epilogue, Some(requested))?;
        for (what, made, expected) in [
            ("a product", Some(made.y), &expected),
            ("rows", made.row_sums, &sums),
        ] {
            let Some(made) = made else { continue };
            let made = made.to_vec::<f32>()?;
            let off = made
                .iter()
                .zip(expected)
                .filter(|(y, expected)| y != expected);
            let (off, all) = (off.count(), made.len());
            if off > 0 {
                return Ok(Some(format!("{off} of {all} sums of {what} are wrong")));
            }
        }
    }
    Ok(None)
}

/// Rows or columns from which on an f32 operand is copied in f16 first: so many tiles would read and round it again.
const OFTEN_READ: usize = 512;

/// Copies an f32 operand, such as a parameter in mixed precision, to the f16 that the units would round it to, where
/// tiles read it often: they read half as much, and no load waits for a conversion.
pub(super) fn halve(
    [m, n]: [usize; 2],
    lead: &[usize],
    (a, b): (&mut Operand, &mut Operand),
) -> Result<()> {
    let half = |x: &Operand| x.tensor.dtype() == DType::F16;
    if half(a) == half(b) {
        return Ok(());
    }
    for (operand, reads) in [(a, n), (b, m)] {
        if !half(operand) && reads >= OFTEN_READ {
            *operand = Operand::new(&laid_out(&operand.tensor, DType::F16, 1)?, lead);
        }
    }
    Ok(())
}

/// Invocations of a subgroup, 0 where that is not one number.
pub(super) fn width(device: &Device) -> usize {
    device.subgroup_size().unwrap_or(0) as usize
}

/// The rule's tile: large if the output has enough large tiles to fill a GPU. A subgroup's part is as square as its
/// registers allow, which needs the fewest loads.
pub(super) fn tile(device: &Device, m: usize, n: usize, batches: usize) -> Tile {
    let large = |tn| Tile {
        bm: 128,
        bn: 128,
        bk: 32,
        tm: 64,
        tn,
    };
    let groups = m.div_ceil(128) * n.div_ceil(128) * batches;
    let enough = groups >= 64 && m >= 96 && n >= 96;
    let found = [large(64), large(32)]
        .into_iter()
        .find(|tile| enough && launches(tile, device));
    found.unwrap_or(Tile::square(64, 32, 32))
}

/// Whether the parts of a tile divide and the device allows it.
pub(super) fn launches(tile: &Tile, device: &Device) -> bool {
    let Tile { bm, bn, bk, tm, tn } = *tile;
    let Some(unit) = device.matrix_unit() else {
        return false;
    };
    let side = unit.side as usize;
    let whole = [bm, bn, bk, tm, tn]
        .iter()
        .all(|v| *v > 0 && v.is_multiple_of(side));
    if !whole || !bm.is_multiple_of(tm) || !bn.is_multiple_of(tn) {
        return false;
    }
    let threads = tile.threads() * width(device);
    let bytes = if unit.half { 2 } else { 4 };
    // Rows are padded by 8 elements in either layout: count the longer one of each.
    let factors =
        bytes * ((bm + 8) * bk).max((bk + 8) * bm) + bytes * ((bn + 8) * bk).max((bk + 8) * bn);
    // A matrix of sums of each subgroup, and four sums of rows of each invocation.
    let sums = 4 * tile.threads() * side * side + 16 * threads;
    threads > 0
        && (bm * bk / 4).is_multiple_of(threads)
        && (bn * bk / 4).is_multiple_of(threads)
        && tm * tn <= MOST_SUMS * width(device)
        && threads <= device.max_workgroup_invocations() as usize
        && factors + sums <= device.max_workgroup_bytes() as usize
}

/// Whether the kernel can sum the rows of `a`: each invocation must load from the same rows in every step.
pub(super) fn sums_rows(tile: &Tile, device: &Device, a: &Operand) -> bool {
    let along_m = a.row == 1 && a.col != 1;
    // In the units' type, so that nothing was rounded before it is summed.
    let exact = a.tensor.dtype() == DType::F16 || device.matrix_unit().is_some_and(|u| !u.half);
    let threads = tile.threads() * width(device);
    along_m && exact && threads.is_multiple_of(tile.bm / 4)
}

/// The kernel's defines besides the tile.
pub(super) fn defines(device: &Device, defines: Defines) -> Defines {
    let defines = match device.matrix_unit() {
        Some(unit) => defines.matrices(unit),
        None => defines,
    };
    // Metal's units load from scalars only.
    defines
        .constant("WIDTH", width(device) as u32)
        .flag_if(device.adapter().backend == "Vulkan", "WIDE")
}
