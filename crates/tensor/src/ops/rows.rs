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
    /// A layout for rows of `length`. Where a lane keeps values of the row between its passes, it
    /// keeps at most `most`, on the software adapter `most_software`.
    pub(crate) fn new(device: &Device, length: usize, most: usize, most_software: usize) -> Rows {
        // A subgroup of 8 is Mesa's software adapter: its workgroup memory is slow, it takes long to
        // compile large arrays, and it cuts an invocation short at 65,535 steps of loops.
        if device.subgroup_size() == Some(8) && length <= 100_000 {
            return Rows {
                width: 8,
                kept: (length <= 8 * most_software && most_software > 0).then_some(most_software),
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
