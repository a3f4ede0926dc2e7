//! The flags that describe an emulated GPU.

use anyhow::{Result, bail};
use wgrad_runtime::{Emulated, MatrixUnit};

/// Flattened into commands that can run on one.
#[derive(clap::Args, Clone, Copy)]
#[command(rename_all = "snake_case")]
pub struct EmulateArgs {
    /// Run the kernels on the host as a GPU with subgroups of this size (32 if none is given) and matrix units
    /// would, and report data races, stray indices and barriers that not all invocations reach
    #[arg(long, value_name = "SUBGROUP", num_args = 0..=1, default_missing_value = "32")]
    emulate: Option<u32>,
    /// Rows and columns of the emulated matrix units, which multiply f16: 8 or 16; 0 for none
    #[arg(long, value_name = "SIDE", default_value_t = 16)]
    matrix_side: u32,
}

impl EmulateArgs {
    /// The GPU, if one is to be emulated.
    pub fn gpu(self, counts: bool) -> Result<Option<Emulated>> {
        self.emulate.map(|size| self.of(size, counts)).transpose()
    }

    /// The GPU, a usual one if none is named.
    pub fn some_gpu(self, counts: bool) -> Result<Emulated> {
        self.of(self.emulate.unwrap_or(32), counts)
    }

    fn of(self, subgroup_size: u32, counts: bool) -> Result<Emulated> {
        let side = self.matrix_side;
        if !subgroup_size.is_power_of_two() || !(4..=128).contains(&subgroup_size) {
            bail!("--emulate {subgroup_size}: a subgroup has 4, 8, 16, 32, 64 or 128 invocations");
        }
        if ![0, 8, 16].contains(&side) {
            bail!("--matrix_side {side}: matrix units are 8 or 16 wide; 0 for none");
        }
        Ok(Emulated {
            subgroup_size,
            matrix_unit: (side > 0).then_some(MatrixUnit { side, half: true }),
            limit: None,
            counts,
        })
    }
}
