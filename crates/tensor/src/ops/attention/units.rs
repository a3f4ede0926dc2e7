//! Attention in matrix units: whether a device's units can compute it, and how its subgroups share it out.

use wgrad_runtime::{Defines, Device, MatrixUnit};

use super::fused::Sizes;
use crate::dtype::DType;

/// Forward passes of fewer tiles of 128 queries take 64: there are not enough to fill a large GPU else.
const MANY_TILES: usize = 512;

/// What a workgroup of four subgroups takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    unit: MatrixUnit,
    width: u32,
    /// Queries, or keys, of a subgroup.
    rows: u32,
    d: usize,
}

impl Units {
    /// For the kernel `op`; `None` where the device has no units for it. They read whole vectors from workgroup
    /// memory, which of the languages that kernels are written to only SPIR-V allows.
    pub fn of(device: &Device, op: &str, sizes: &Sizes, dtype: DType) -> Option<Units> {
        let d = sizes.d;
        let unit = device.matrix_unit().filter(|unit| unit.half)?;
        let width = device.subgroup_size()?;
        let one = |rows| Units {
            unit,
            width,
            rows,
            d,
        };
        let small = one(width.min(16));
        let possible = dtype == DType::F16
            && device.adapter().backend == "Vulkan"
            && matches!(width, 8 | 16 | 32 | 64)
            && 4 * width <= device.max_workgroup_invocations()
            && d.is_multiple_of(unit.side as usize)
            && small.rows.is_multiple_of(unit.side)
            && small.bytes() <= device.max_workgroup_bytes();
        // Keys and values in workgroup memory serve twice the rows, as far as registers allow it.
        let large = one(32);
        let tiles = sizes.b * sizes.h * sizes.tq.div_ceil(128);
        let twice = op == "attention"
            && d <= 64
            && width >= 32
            && tiles >= MANY_TILES
            && large.bytes() <= device.max_workgroup_bytes();
        possible.then_some(if twice { large } else { small })
    }

    /// Of workgroup memory at most: as in `common/attention_cooperative`.
    fn bytes(&self) -> u32 {
        let operands = 64 * (self.d as u32 / 4 + 2) * 8;
        let of_row = 10 * 16 + 10 * 8 + 32 / 8 * 4;
        operands + 4 * self.rows * of_row + 2 * 8 * 16 + 16
    }

    /// Rows of a workgroup.
    pub fn tile(&self) -> usize {
        4 * self.rows as usize
    }

    /// What the text of the kernel `op` depends on.
    pub fn defines(&self, op: &str, defines: Defines) -> Defines {
        let by = 4 * self.width / (self.d as u32 / 4);
        defines
            .matrices(self.unit)
            .constant("WIDTH", self.width)
            .constant("ROWS", self.rows)
            .constant("STEPS", 32u32.div_ceil(by))
            .flag_if(op == "attention_backward_kv", "KEY_ROWS")
    }
}
