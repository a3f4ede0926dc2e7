//! The fused kernels of attention: what they need, and their launches.

use wgrad_runtime::{Defines, Device};

use super::cooperative::Units;
use super::{Attention, AttentionVariant, OP, bias_steps, check_extras};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::dropout::{Drop, check_p};
use crate::ops::rows::numbered;
use crate::shape::numel;
use crate::tensor::Tensor;

/// The largest D, because rows are held in registers. On the software adapter, compiling takes seconds beyond 64.
const MAX_D: usize = 128;
const MAX_D_SUBGROUP: usize = 64;
/// Keys, or queries of all heads of a key head, at most on the software adapter, which cuts an
/// invocation short after 65,535 steps of its loops.
const MAX_STEPS: usize = 4096;
/// WebGPU's default.
const MAX_BINDINGS: usize = 8;

/// The sides of the problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub b: usize,
    pub h: usize,
    pub hk: usize,
    pub tq: usize,
    pub tk: usize,
    pub d: usize,
}

impl Sizes {
    /// From q, k and v with heads in front. Errors name what does not fit.
    pub fn new(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attention) -> Result<Sizes> {
        let sizes = match (q.shape(), k.shape(), v.shape()) {
            (&[b, h, tq, d], &[kb, hk, tk, kd], v) => {
                let fits = (b, d) == (kb, kd) && v == k.shape() && hk > 0 && h % hk == 0;
                fits.then_some(Sizes {
                    b,
                    h,
                    hk,
                    tq,
                    tk,
                    d,
                })
            }
            _ => None,
        };
        let one_type = q.dtype().is_float() && k.dtype() == q.dtype() && v.dtype() == q.dtype();
        let Some(sizes) = sizes.filter(|_| one_type) else {
            return Err(Error::op(
                OP,
                format!(
                    "q {q:?}, k {k:?} and v {v:?} do not fit: (B, H, Tq, D) and twice (B, Hk, Tk, D) of one float type are needed, Hk a divisor of H"
                ),
            ));
        };
        check_extras(&sizes, options, q.dtype())?;
        if let Some((p, generator)) = options.dropout {
            check_p(p)?;
            generator.check_device(OP, q.device())?;
        }
        Ok(sizes)
    }

    pub fn scale(&self, options: &Attention) -> f32 {
        options.scale.unwrap_or(1.0 / (self.d.max(1) as f32).sqrt())
    }
}

/// A tensor (B, H, T, D) whose rows of D are whole vectors of 4, as the kernels see it.
#[derive(Clone)]
pub(super) struct StridedRows {
    tensor: Tensor,
    /// Offset; steps of batch, position and head.
    steps: [u32; 4],
}

impl StridedRows {
    /// Copies `x` if its rows are not contiguous.
    pub fn new(x: &Tensor) -> Result<StridedRows> {
        let x = x.bindable()?;
        if let Some(rows) = StridedRows::of(&x) {
            return Ok(rows);
        }
        let packed = Tensor::empty(x.device(), x.shape(), x.dtype())?;
        x.copy_into(&packed)?;
        StridedRows::of(&packed)
            .ok_or_else(|| Error::op(OP, format!("{x:?} has no rows of whole vectors")))
    }

    fn of(x: &Tensor) -> Option<StridedRows> {
        let step = |at: usize| match x.shape().get(at) {
            Some(1) => Some(0),
            _ => x.strides().get(at).copied(),
        };
        let steps = [x.offset(), step(0)?, step(2)?, step(1)?];
        let d = *x.strides().get(3)?;
        let whole = d == 1 && steps.iter().all(|s| s.is_multiple_of(4));
        whole.then(|| StridedRows {
            tensor: x.clone(),
            steps: steps.map(|s| s as u32),
        })
    }
}

/// One call of attention: what forward and backward share.
pub(super) struct Fused {
    rows: [StridedRows; 3],
    /// The three are views of one tensor, which is bound once.
    packed: bool,
    sizes: Sizes,
    variant: AttentionVariant,
    dtype: DType,
    causal: bool,
    scale: f32,
    mask: Option<Tensor>,
    bias: Option<(Tensor, [u32; 4])>,
    dropout: Option<Drop>,
    /// Whether a subgroup takes many rows; `None` lets the rule decide.
    pub large: Option<bool>,
}

/// The kernels to use, or `None` for the composed form. `packed` says that the parts are views of one tensor. `requested`
/// is the variant requested by a case or benchmark; it is used if it can run.
pub(super) fn choose(
    parts: &[Tensor; 3],
    sizes: &Sizes,
    options: &Attention,
    packed: bool,
    requested: Option<AttentionVariant>,
) -> Result<Option<AttentionVariant>> {
    let device = parts[0].device();
    let Sizes {
        b,
        h,
        hk,
        tq,
        tk,
        d,
    } = *sizes;
    let shuffles = device.subgroup_size() == Some(8) && !device.small_kernels();
    let units = Units::of(device, "attention", sizes, parts[0].dtype(), None).is_some();
    let variant = match requested {
        Some(AttentionVariant::Subgroup) if !shuffles => AttentionVariant::Tiled,
        Some(AttentionVariant::Cooperative) if !units => AttentionVariant::Tiled,
        Some(variant) => variant,
        None if shuffles && device.adapter().is_software() => AttentionVariant::Subgroup,
        None if units && super::cooperative::by_rule(device) => AttentionVariant::Cooperative,
        None => AttentionVariant::Tiled,
    };
    let dropped = options.dropout.is_some_and(|(p, _)| p > 0.0);
    let buffers = if packed { 5 } else { 7 }
        + usize::from(options.mask.is_some())
        + usize::from(options.bias.is_some());
    let fits = d > 0
        && d.is_multiple_of(4)
        && d <= MAX_D
        && [b, h, tq, tk]
            .iter()
            .all(|side| (1..=65_535).contains(side))
        && !options.bias.is_some_and(Tensor::requires_grad)
        && (!dropped || u32::try_from(numel(&[b, h, tq, tk])).is_ok())
        && match variant {
            AttentionVariant::Composed => false,
            AttentionVariant::Tiled | AttentionVariant::Cooperative => buffers <= MAX_BINDINGS,
            AttentionVariant::Subgroup => {
                d <= MAX_D_SUBGROUP
                    && tk <= MAX_STEPS
                    && tq * (h / hk) <= MAX_STEPS
                    && parts.iter().all(|x| device.fits_texture(x.buffer()))
            }
        };
    Ok(fits.then_some(variant))
}

impl Fused {
    pub fn new(
        rows: [StridedRows; 3],
        packed: bool,
        sizes: Sizes,
        options: &Attention,
        variant: AttentionVariant,
        dtype: DType,
    ) -> Result<Fused> {
        let bias = match options.bias {
            None => None,
            Some(bias) => {
                let bias = bias.detach().cast(rows[0].tensor.dtype())?;
                let steps = bias_steps(&bias, &sizes);
                Some((bias, steps))
            }
        };
        let dropout = options
            .dropout
            .and_then(|(p, generator)| Drop::new(p, generator));
        Ok(Fused {
            rows,
            packed,
            variant,
            dtype,
            causal: options.causal,
            scale: sizes.scale(options),
            mask: options.mask.map(Tensor::contiguous).transpose()?,
            bias,
            dropout,
            large: None,
            sizes,
        })
    }

    fn device(&self) -> &Device {
        self.rows[0].tensor.device()
    }

    /// The inputs of the kernels, in both passes.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let rows = if self.packed { 1 } else { 3 };
        let rows = self.rows[..rows].iter().map(|rows| &rows.tensor);
        let bias = self.bias.as_ref().map(|(bias, _)| bias);
        let state = self.dropout.as_ref().map(|dropout| &dropout.state);
        rows.chain(&self.mask).chain(bias).chain(state)
    }

    /// The result (B, Tq, H, D), and statistics for the backward pass.
    pub fn forward(&self) -> Result<(Tensor, Tensor)> {
        let Sizes { b, h, tq, d, .. } = self.sizes;
        let y = Tensor::empty(self.device(), &[b, tq, h, d], self.dtype)?;
        let statistics = Tensor::empty(self.device(), &[2 * b * h * tq + 4], DType::U32)?;
        let mut extra = Vec::new();
        extra.extend(self.dropout.as_ref().map(|d| ("AT_STATE", &d.state)));
        extra.extend([("AT_Y", &y), ("AT_STATISTICS", &statistics)]);
        let y_steps = StridedRows::new(&y.permute(&[0, 2, 1, 3])?)?.steps;
        self.launch("attention", &[("y", y_steps)], &extra, [tq, h])?;
        Ok((y, statistics))
    }

    /// Writes the gradient of the queries to `dq` (B, H, Tq, D), and delta to the statistics.
    pub fn backward_q(
        &self,
        dy: &Tensor,
        y: &Tensor,
        statistics: &Tensor,
        dq: &Tensor,
    ) -> Result<()> {
        let (dy, y) = (
            self.readable(dy)?,
            self.readable(&y.permute(&[0, 2, 1, 3])?)?,
        );
        let dq = StridedRows::new(dq)?;
        let extra = [
            ("AT_DY", &dy.tensor),
            ("AT_Y", &y.tensor),
            ("AT_STATISTICS", statistics),
            ("AT_DQ", &dq.tensor),
        ];
        let steps = [("dy", dy.steps), ("y", y.steps), ("dq", dq.steps)];
        let sides = [self.sizes.tq, self.sizes.h];
        self.launch("attention_backward_q", &steps, &extra, sides)
    }

    /// Writes the gradients of keys and values to views (B, Hk, Tk, D) of one tensor; after
    /// `backward_q`, which makes delta.
    pub fn backward_kv(
        &self,
        dy: &Tensor,
        statistics: &Tensor,
        dk: &Tensor,
        dv: &Tensor,
    ) -> Result<()> {
        let dy = self.readable(dy)?;
        let (dk, dv) = (StridedRows::new(dk)?, StridedRows::new(dv)?);
        let extra = [
            ("AT_DY", &dy.tensor),
            ("AT_STATISTICS", statistics),
            ("AT_DKV", &dk.tensor),
        ];
        let steps = [("dy", dy.steps), ("dk", dk.steps), ("dv", dv.steps)];
        let sides = [self.sizes.tk, self.sizes.hk];
        self.launch("attention_backward_kv", &steps, &extra, sides)
    }

    /// A tensor (B, H, T, D) that the kernels only read.
    fn readable(&self, x: &Tensor) -> Result<StridedRows> {
        match self.variant {
            AttentionVariant::Subgroup => StridedRows::new(&x.detach().cast(DType::F32)?),
            _ => StridedRows::new(x),
        }
    }

    /// `steps` and `extra` are the kernel's tensors besides q, k, v, mask and bias; `sides` are the
    /// positions to divide among workgroups, and the heads.
    fn launch(
        &self,
        op: &str,
        steps: &[(&str, [u32; 4])],
        extra: &[(&str, &Tensor)],
        sides: [usize; 2],
    ) -> Result<()> {
        let Sizes {
            b,
            h,
            hk,
            tq,
            tk,
            d,
        } = self.sizes;
        let device = self.device();
        let [q, k, v] = &self.rows;
        let packed = self.packed;
        let mut bound = vec![("AT_Q", &q.tensor)];
        if !packed {
            bound.extend([("AT_K", &k.tensor), ("AT_V", &v.tensor)]);
        }
        bound.extend(self.mask.as_ref().map(|mask| ("AT_MASK", mask)));
        bound.extend(self.bias.as_ref().map(|(bias, _)| ("AT_BIAS", bias)));
        bound.extend(extra);
        let mut defines = Defines::new()
            .alias("S", q.tensor.dtype().wgsl())
            .alias("T", &format!("vec4<{}>", self.dtype.wgsl()))
            .constant("DV", d as u32 / 4)
            .flag_if(op != "attention", "BACKWARD")
            .flag_if(packed, "PACKED")
            .flag_if(self.mask.is_some(), "MASK")
            .flag_if(self.bias.is_some(), "BIAS")
            .flag_if(self.causal, "CAUSAL")
            .flag_if(self.dropout.is_some(), "DROPOUT")
            .flag_if(self.dropout.is_some() && tk.is_multiple_of(4), "ALIGNED");
        defines = numbered(defines, &bound);
        let units = Units::of(device, op, &self.sizes, self.dtype, self.large);
        let (name, tile) = match (self.variant, units) {
            (AttentionVariant::Subgroup, _) => {
                // The rows that a lane holds. More rows share each load and shuffle, until the code outgrows the
                // instruction cache. The kernel for keys and values has two sums for each row.
                let lane_rows = if d <= 32 && op != "attention_backward_kv" {
                    4
                } else {
                    2
                };
                defines = defines.constant("R", lane_rows);
                (format!("{op}_subgroup"), 8 * lane_rows as usize)
            }
            (AttentionVariant::Cooperative, Some(units)) => {
                defines = units.defines(op, defines);
                (format!("{op}_cooperative"), units.tile())
            }
            _ => {
                defines = defines.constant("DC", d.div_ceil(32) as u32);
                (format!("{op}_tiled"), 32)
            }
        };
        let kernel = device.kernel(&name, &defines)?;
        let bias = self.bias.as_ref();
        let mut launch = Drop::params(self.dropout.as_ref(), device.launch(&kernel))
            .u32("batch", b)
            .u32("heads", h)
            .u32("group", h / hk)
            .u32("queries", tq)
            .u32("keys", tk)
            .f32("scale", self.scale)
            .u32("mask_offset", self.mask.as_ref().map_or(0, Tensor::offset))
            .u32("bias_offset", bias.map_or(0, |(bias, _)| bias.offset()))
            .u32s("bias", &bias.map_or([0; 4], |(_, steps)| *steps))
            .u32s("q", &q.steps)
            .u32s("k", &k.steps)
            .u32s("v", &v.steps);
        for name in ["y", "dy", "dq", "dk", "dv"] {
            let given = steps.iter().find(|(n, _)| *n == name);
            launch = launch.u32s(name, &given.map_or([0; 4], |(_, steps)| *steps));
        }
        for (_, tensor) in bound {
            launch = launch.bind(tensor.buffer());
        }
        let [positions, heads] = sides;
        Ok(launch.grid([positions.div_ceil(tile) as u64, heads as u64, b as u64])?)
    }
}
