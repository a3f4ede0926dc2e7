//! How kernels that work on rows (softmax, norms) spread a row over lanes.

use wgrad_runtime::{Defines, Device};

/// One row of a contiguous tensor to one workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Lanes that share a row: the workgroup.
    width: usize,
    /// Values of the row that each lane keeps, or `None` where the row is read again for each pass.
    kept: Option<usize>,
    /// The workgroup is one subgroup of 8 lanes and needs no workgroup memory.
    subgroup8: bool,
}

impl Rows {
    /// A layout for rows of `length`; a lane keeps at most `most` values of its row between passes.
    pub(crate) fn new(device: &Device, length: usize, most: usize) -> Rows {
        // A subgroup of 8 is Mesa's software adapter. Its workgroup memory is slow, private arrays
        // take long to compile and to clear (keeping values was measured to gain nothing), and an
        // invocation is cut short at 65,535 steps of loops.
        if device.subgroup_size() == Some(8) && length <= 100_000 {
            return Rows {
                width: 8,
                kept: None,
                subgroup8: true,
            };
        }
        let width = if length <= 512 { 64 } else { 256 };
        let kept = length.div_ceil(width).next_power_of_two();
        Rows {
            width,
            kept: (kept <= most).then_some(kept),
            subgroup8: false,
        }
    }

    /// `WIDTH`, `SUBGROUP8`, and `KEPT` with the flag `KEEP`.
    pub(crate) fn defines(&self) -> Defines {
        let defines = Defines::new()
            .constant("WIDTH", self.width as u32)
            .flag_if(self.subgroup8, "SUBGROUP8");
        match self.kept {
            Some(kept) => defines.flag("KEEP").constant("KEPT", kept as u32),
            None => defines,
        }
    }
}
