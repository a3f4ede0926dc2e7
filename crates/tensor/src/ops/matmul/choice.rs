//! Chooses the kernel of a product and its tile, from the tuned table or by a rule.

use wgrad_runtime::variants::Choice;
use wgrad_runtime::{Defines, Device};

use super::operand::{Operand, laid_out};
use super::{Kernel, MatmulVariant, cooperative};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::tunable::Tunable;
use crate::shape::numel;

/// The choices that a table may hold for products: see [`Tunable`].
pub const TUNABLE: &[Tunable] = &[
    tunable("matmul_subgroup", &[("ROWS", 32)]),
    tunable("matmul_subgroup", &[("ROWS", 64)]),
    tunable("matmul_subgroup", &[("ROWS", 96)]),
    tunable(
        "matmul_tiled",
        &[("BM", 32), ("BN", 32), ("BK", 16), ("TM", 4), ("TN", 4)],
    ),
    tunable(
        "matmul_tiled",
        &[("BM", 64), ("BN", 64), ("BK", 16), ("TM", 4), ("TN", 4)],
    ),
    tunable(
        "matmul_tiled",
        &[("BM", 128), ("BN", 128), ("BK", 8), ("TM", 8), ("TN", 8)],
    ),
    tunable(
        "matmul_tiled",
        &[("BM", 128), ("BN", 64), ("BK", 16), ("TM", 8), ("TN", 4)],
    ),
    // The kernel cannot have this tile, so the rule's tile is used.
    tunable("matmul_tiled", &[("BM", 256), ("BN", 20), ("PARTS", 2)]),
    // These run only with few rows, and with matrix units for the type; otherwise the rule decides.
    tunable("matmul_vector", &[]),
    tunable("matmul_cooperative", &[]),
    tunable(
        "matmul_cooperative",
        &[("BM", 128), ("BN", 128), ("BK", 32), ("TM", 64), ("TN", 64)],
    ),
    tunable(
        "matmul_cooperative",
        &[("BM", 64), ("BN", 32), ("BK", 16), ("TM", 32), ("TN", 16)],
    ),
];

/// A choice for every product.
const fn tunable(file: &'static str, values: &'static [(&'static str, u32)]) -> Tunable {
    Tunable {
        kernels: &["matmul", "matmul_f16", "linear", "linear_f16"],
        file,
        values,
        ops: &["matmul", "linear", "linear_stacked", "feed_forward"],
    }
}

/// Products of fewer multiplications than this are not worth a tile.
const SMALL: usize = 16 * 16 * 16;
/// The most rows that the vector kernel holds in registers.
pub(super) const FEW_ROWS: usize = 8;
/// Rows and columns of one invocation of the tiled kernel at most: registers.
const MOST_SIDE: usize = 16;

/// The tile of a kernel: rows, columns, depth, and of an invocation (with matrix units: of a subgroup) rows and
/// columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tile {
    pub bm: usize,
    pub bn: usize,
    pub bk: usize,
    pub tm: usize,
    pub tn: usize,
}

impl Tile {
    /// The rule's tile for a product (m, n) in `batches`.
    fn of(variant: MatmulVariant, device: &Device, [m, n]: [usize; 2], batches: usize) -> Tile {
        match variant {
            MatmulVariant::Simple => Tile::square(16, 1, 1),
            MatmulVariant::Vector => Tile {
                bm: m,
                bn: 4,
                bk: 256,
                tm: m,
                tn: 4,
            },
            MatmulVariant::Tiled => Tile::tiled(device, m, n, batches),
            MatmulVariant::Subgroup => Tile::subgroup(m),
            MatmulVariant::Cooperative => cooperative::tile(device, m, n, batches),
        }
    }

    /// A requested tile.
    fn given(
        variant: MatmulVariant,
        device: &Device,
        [bm, bn, bk, tm, tn]: [usize; 5],
    ) -> Result<Tile> {
        let tile = Tile { bm, bn, bk, tm, tn };
        if !tile.can_launch(variant, device) {
            return Err(Error::op(
                "matmul",
                format!(
                    "{} has no tile {bm}x{bn}x{bk}/{tm}x{tn} on this device: its sides must divide and fit its registers and workgroup memory",
                    variant.file()
                ),
            ));
        }
        Ok(tile)
    }

    fn can_launch(&self, variant: MatmulVariant, device: &Device) -> bool {
        match variant {
            MatmulVariant::Tiled => self.launches(device),
            MatmulVariant::Cooperative => cooperative::launches(self, device),
            MatmulVariant::Subgroup => {
                let rows = self.bm;
                let fits = (32..=128).contains(&rows) && rows.is_multiple_of(32);
                fits && *self == Tile::of_rows(rows)
            }
            MatmulVariant::Simple | MatmulVariant::Vector => false,
        }
    }

    /// The sides in the order of [`Kernel`].
    pub fn sides(self) -> [usize; 5] {
        [self.bm, self.bn, self.bk, self.tm, self.tn]
    }

    /// Of as many rows as columns.
    pub fn square(side: usize, bk: usize, t: usize) -> Tile {
        Tile {
            bm: side,
            bn: side,
            bk,
            tm: t,
            tn: t,
        }
    }

    /// The tile with a table's values for this kernel, if it can be launched.
    fn tuned(self, variant: MatmulVariant, device: &Device, choice: &Choice) -> Tile {
        let get = |name, default| choice.get(name).map_or(default, |v| v as usize);
        let tile = match variant {
            MatmulVariant::Simple | MatmulVariant::Vector => return self,
            MatmulVariant::Subgroup => Tile::of_rows(get("ROWS", self.bm)),
            MatmulVariant::Tiled | MatmulVariant::Cooperative => Tile {
                bm: get("BM", self.bm),
                bn: get("BN", self.bn),
                bk: get("BK", self.bk),
                tm: get("TM", self.tm),
                tn: get("TN", self.tn),
            },
        };
        if tile.can_launch(variant, device) {
            tile
        } else {
            self
        }
    }

    /// For the tiled kernel: whether the sides divide and the device allows the tile.
    fn launches(&self, device: &Device) -> bool {
        let Tile { bm, bn, bk, tm, tn } = *self;
        let registers = if device.small_kernels() { 4 } else { MOST_SIDE };
        let fours = [bm, bn, bk, tm, tn]
            .iter()
            .all(|v| *v > 0 && v.is_multiple_of(4));
        if !fours
            || tm > registers
            || tn > registers
            || !bm.is_multiple_of(tm)
            || !bn.is_multiple_of(tn)
        {
            return false;
        }
        let threads = self.threads();
        let bytes = 16 * bk * (bm / 4 + 1 + bn / 4 + 1);
        (bm * bk / 4).is_multiple_of(threads)
            && (bn * bk / 4).is_multiple_of(threads)
            && threads <= device.max_workgroup_invocations() as usize
            && bytes <= device.max_workgroup_bytes() as usize
    }

    /// Invocations of a workgroup, or with matrix units its subgroups.
    pub fn threads(&self) -> usize {
        self.bm / self.tm * (self.bn / self.tn)
    }

    /// Rows of a tile of the subgroup kernel. Tiles of 64 rows load less for each product and run about
    /// 1.2 times as fast, unless too many of their rows lie beyond the edge.
    fn subgroup(m: usize) -> Tile {
        let tall = 5 * m.next_multiple_of(64) <= 6 * m.next_multiple_of(32);
        Tile::of_rows(if tall { 64 } else { 32 })
    }

    /// Of the subgroup kernel, of `rows`.
    fn of_rows(rows: usize) -> Tile {
        Tile {
            bm: rows,
            bn: 32,
            bk: 4,
            tm: rows,
            tn: 4,
        }
    }

    /// Of the tiled kernel: large where the output has enough of them to fill a GPU, and its compiler allows it.
    fn tiled(device: &Device, m: usize, n: usize, batches: usize) -> Tile {
        let small = Tile::square(32, 16, 4);
        if device.small_kernels() {
            return small;
        }
        let groups = |side: usize| m.div_ceil(side) * n.div_ceil(side) * batches;
        let deep = Tile::square(128, 16, 8);
        if 4 * groups(128) >= 3 * device.groups_to_fill() && m >= 96 && n >= 96 {
            match deep.launches(device) {
                true => deep,
                false => Tile::square(128, 8, 8),
            }
        } else if groups(64) >= 32 {
            // 8 rows an invocation: three loads of vectors for 32 products.
            Tile {
                tm: 8,
                ..Tile::square(64, 16, 4)
            }
        } else {
            small
        }
    }

    /// The constants of the kernel's text.
    pub fn defines(&self, variant: MatmulVariant, device: &Device, defines: Defines) -> Defines {
        let put = |defines: Defines, name, value| defines.constant(name, value as u32);
        let sides = |defines, threads| {
            [
                ("BM", self.bm),
                ("BN", self.bn),
                ("BK", self.bk),
                ("TM", self.tm),
                ("TN", self.tn),
                ("THREADS", threads),
            ]
            .into_iter()
            .fold(defines, |d, (name, value)| put(d, name, value))
        };
        match variant {
            MatmulVariant::Simple => defines,
            MatmulVariant::Vector => put(defines, "ROWS", self.bm),
            MatmulVariant::Subgroup => {
                put(defines, "ROWS", self.bm).flag_if(self.bm <= FEW_ROWS, "FEW")
            }
            MatmulVariant::Tiled => sides(defines, self.threads()),
            MatmulVariant::Cooperative => {
                let width = cooperative::width(device);
                cooperative::defines(device, sides(defines, self.threads() * width))
            }
        }
    }
}

/// A table's choice for the product of these operands. With few rows it depends mostly on the layout of `b`.
fn tuned(device: &Device, a: &Operand, b: &Operand, [m, n, k]: [usize; 3]) -> Option<Choice> {
    let half = a.tensor.dtype() == DType::F16 || b.tensor.dtype() == DType::F16;
    let along_k = b.row == 1 && b.col != 1;
    let names: &[&str] = match (along_k, half) {
        (false, false) => &["matmul"],
        (false, true) => &["matmul_f16"],
        (true, false) => &["linear", "matmul"],
        (true, true) => &["linear_f16", "matmul_f16"],
    };
    let of_layout = if m <= FEW_ROWS { &names[..1] } else { names };
    let sizes = sizes([m, n, k]);
    of_layout
        .iter()
        .find_map(|name| device.variant(name, &sizes))
}

/// The sizes under the table's names.
pub(super) fn sizes([m, n, k]: [usize; 3]) -> [(&'static str, u64); 3] {
    [("m", m as u64), ("n", n as u64), ("k", k as u64)]
}

/// The kernel for these operands and its tile: the requested one, the table's or the rule's, if operands and
/// device allow it. Operands may be copied into the layout that the kernel needs; `k` is padded with them.
pub(super) fn choose(
    requested: Option<Kernel>,
    (m, n, k): (usize, usize, &mut usize),
    lead: &[usize],
    (a, b): (&mut Operand, &mut Operand),
) -> Result<(MatmulVariant, Tile)> {
    let device = &a.tensor.device().clone();
    let batches = numel(lead);
    let small = batches * m * n * *k < SMALL;
    let tuned = match (requested, small) {
        (None, true) => None,
        _ => tuned(device, a, b, [m, n, *k]),
    };
    let named = tuned.as_ref().and_then(|choice| {
        let file = choice.file()?;
        MatmulVariant::ALL.into_iter().find(|v| v.file() == file)
    });
    let shuffles = device.subgroup_size() == Some(8) && !device.small_kernels();
    let types = (a.tensor.dtype(), b.tensor.dtype());
    let possible = |variant: &MatmulVariant| match variant {
        MatmulVariant::Simple | MatmulVariant::Tiled => true,
        // Its rows are unrolled. A weak compiler goes with a slow adapter, for which the simple kernel is faster too.
        MatmulVariant::Vector => m <= FEW_ROWS && !device.small_kernels(),
        MatmulVariant::Subgroup => shuffles,
        MatmulVariant::Cooperative => cooperative::fit(device, types),
    };
    // Cooperative kernels are experimental: unless requested by name, they run only once this device has passed the
    // self-test.
    let trusted = |variant: &MatmulVariant| {
        *variant != MatmulVariant::Cooperative || cooperative::passed(device)
    };
    // The subgroup kernel would first copy an f16 operand to f32. With few rows the copy takes longer than the product.
    let copied = m <= FEW_ROWS && b.tensor.dtype() == DType::F16;
    // Evaluated only where no kernel was requested: asking for the units also asks for their self-test.
    let rule = || {
        if small {
            MatmulVariant::Simple
        } else if shuffles && device.adapter().is_software() && !copied {
            MatmulVariant::Subgroup
        } else if m <= FEW_ROWS {
            match device.small_kernels() {
                true => MatmulVariant::Simple,
                false => MatmulVariant::Vector,
            }
        } else if cooperative::fit(device, types) && cooperative::by_rule(device) {
            MatmulVariant::Cooperative
        } else {
            MatmulVariant::Tiled
        }
    };
    let mut variant = match requested.map(|kernel| kernel.variant) {
        Some(requested) if possible(&requested) => requested,
        Some(_) => MatmulVariant::Tiled,
        None => named
            .filter(|variant| possible(variant) && trusted(variant))
            .unwrap_or_else(rule),
    };
    if variant == MatmulVariant::Subgroup {
        if !(a.in_texels() && b.in_texels() && k.is_multiple_of(4)) {
            *a = Operand::new(&laid_out(&a.tensor, DType::F32, 4)?, lead);
            *b = Operand::new(&laid_out(&b.tensor, DType::F32, 4)?, lead);
            *k = k.next_multiple_of(4);
        }
        if !(a.in_texels() && b.in_texels()) {
            variant = MatmulVariant::Tiled;
        }
    }
    if variant == MatmulVariant::Cooperative {
        cooperative::halve([m, n], lead, (&mut *a, &mut *b))?;
    }
    let mut tile = Tile::of(variant, device, [m, n], batches);
    if let Some(choice) = tuned.filter(|_| named == Some(variant)) {
        tile = tile.tuned(variant, device, &choice);
    }
    if let Some(Kernel {
        variant: requested,
        tile: Some(sides),
    }) = requested
    {
        if requested != variant {
            let (file, a, b) = (requested.file(), types.0.wgsl(), types.1.wgsl());
            let why =
                format!("{file} does not run on this device with these operands, {a} and {b}");
            return Err(Error::op("matmul", why));
        }
        tile = Tile::given(variant, device, sides)?;
    } else if variant == MatmulVariant::Subgroup && m <= FEW_ROWS && a.col == 1 {
        // The tile has only the rows of the product: most of a tile of 32 rows would be wasted.
        (tile.bm, tile.tm) = (m.max(1), m.max(1));
    }
    if variant == MatmulVariant::Vector && b.row != 1 {
        tile.bn = 64;
    }
    Ok((variant, tile))
}
