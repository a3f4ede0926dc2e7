//! Attention in matrix units: whether a device's units can compute it, and how its subgroups divide the work.

use wgrad_runtime::{Defines, Device, MatrixUnit, SelfTest};

use super::fused::{Fused, Sizes, StridedRows};
use super::{Attention, AttentionVariant};
use crate::autograd::no_grad;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

/// Forward passes of fewer tiles of 128 queries take 64, or there would be too few tiles to fill a large GPU.
const MANY_TILES: usize = 512;

/// The tile of a workgroup of four subgroups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    unit: MatrixUnit,
    width: u32,
    /// Queries, or keys, of a subgroup.
    rows: u32,
    d: usize,
}

impl Units {
    /// For the kernel `op`; `None` if the device has no units for it. The units read whole vectors from workgroup
    /// memory, which only SPIR-V allows.
    /// `large` overrides the rule, for checks.
    pub fn of(
        device: &Device,
        op: &str,
        sizes: &Sizes,
        dtype: DType,
        large: Option<bool>,
    ) -> Option<Units> {
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
        let many = sizes.b * sizes.h * sizes.tq.div_ceil(128) >= MANY_TILES;
        let twice = one(32);
        let fits = op == "attention"
            && d <= 64
            && width >= 32
            && twice.bytes() <= device.max_workgroup_bytes();
        possible.then_some(match fits && large.unwrap_or(many) {
            true => twice,
            false => small,
        })
    }

    /// The most bytes of workgroup memory: as in `common/attention_cooperative`.
    fn bytes(&self) -> u32 {
        let operands = 64 * (self.d as u32 / 4 + 2) * 8;
        let of_row = 10 * 16 + 10 * 8 + 32 / 8 * 4;
        operands + 4 * self.rows * of_row + 2 * 8 * 16 + 16
    }

    /// Rows of a workgroup.
    pub fn tile(&self) -> usize {
        4 * self.rows as usize
    }

    /// The defines of the kernel `op`.
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

/// Whether attention uses matrix units by default: on GPUs, if they passed the self-test.
pub(super) fn by_rule(device: &Device) -> bool {
    !device.adapter().is_software() && device.passed_self_test(SELF_TEST, test)
}

/// Whether attention in matrix units and its gradients equal those of the tiled kernels. Unlike a product, attention also
/// needs the invocations of a subgroup to be numbered in order, which WGSL does not promise. The first call launches,
/// waits and reads back, so call it outside of a forward pass.
///
/// # Errors
/// The reason why the units failed the test.
pub fn self_test(device: &Device) -> SelfTest {
    device.self_test(SELF_TEST, test)
}

const SELF_TEST: &str = "attention in matrix units";

fn test(device: &Device) -> SelfTest {
    let mut found = Err("they cannot run it".to_owned());
    for large in [false, true] {
        let sides = [64, 32].into_iter();
        let mut tried = sides.map(|d| no_grad(|| agreement(device, d, large)));
        match tried.find(|answer| !matches!(answer, Ok(None))) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(Ok(())))) => found = Ok(()),
            Some(Ok(Some(Err(wrong)))) => return Err(wrong),
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
    found
}

/// Two heads of more queries than a tile has, causal, some keys hidden; `None` if the units cannot compute this D.
fn agreement(device: &Device, d: usize, large: bool) -> Result<Option<SelfTest>> {
    const T: usize = 72;
    let shape = [1, 2, T, d];
    let of = |step: f32| -> Result<Tensor> {
        let values: Vec<f32> = (0..2 * T * d).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_slice(device, &values, &shape)?.cast(DType::F16)
    };
    let [q, k, v, dy] = [of(0.37)?, of(0.73)?, of(1.31)?, of(2.17)?];
    let shown: Vec<u32> = (0..T).map(|key| u32::from(key % 7 != 3)).collect();
    let mask = Tensor::from_slice(device, &shown, &[1, T])?;
    let options = Attention {
        mask: Some(&mask),
        causal: true,
        ..Attention::default()
    };
    let sizes = Sizes::new(&q, &k, &v, &options)?;
    if Units::of(device, "attention", &sizes, DType::F16, Some(large)).is_none() {
        return Ok(None);
    }
    let run = |variant| -> Result<Vec<f32>> {
        let rows = [
            StridedRows::new(&q)?,
            StridedRows::new(&k)?,
            StridedRows::new(&v)?,
        ];
        let mut fused = Fused::new(rows, false, sizes, &options, variant, DType::F16)?;
        fused.large = Some(large);
        let (y, statistics) = fused.forward()?;
        let dq = Tensor::empty(device, &shape, DType::F16)?;
        let both = Tensor::empty(device, &[2, 2, T, d], DType::F16)?;
        let [dk, dv] = [both.narrow(0, 0, 1)?, both.narrow(0, 1, 1)?];
        fused.backward_q(&dy, &y, &statistics, &dq)?;
        fused.backward_kv(&dy, &statistics, &dk, &dv)?;
        let parts = [y, dq, both].map(|x| x.cast(DType::F32)?.to_vec::<f32>());
        Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
    };
    let (units, tiled) = (
        run(AttentionVariant::Cooperative)?,
        run(AttentionVariant::Tiled)?,
    );
    // All values are of the order of 1, rounded to 11 bits a few times on the way; NaN is off too.
    let near = |(u, t): &(&f32, &f32)| (*u - *t).abs() <= 1.0 / 64.0;
    let off = units.len() - units.iter().zip(&tiled).filter(near).count();
    Ok(Some(match off {
        0 => Ok(()),
        off => Err(format!(
            "{off} of {} values of attention differ from those of the tiled kernels",
            units.len()
        )),
    }))
}
