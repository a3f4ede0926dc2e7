//! How kernels that work on rows (softmax, norms) spread a row over lanes.

use wgrad_runtime::variants::Choice;
use wgrad_runtime::{Defines, Device};

use super::tunable::Tunable;
use crate::dtype::DType;
use crate::tensor::Tensor;

/// The kernels that compute the same op on rows, or on elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowVariant {
    /// The op from other ops, where it is a fused one; else as `Plain`.
    Composed,
    /// A row to a workgroup, sums in workgroup memory; an element to an invocation.
    Plain,
    /// The same four elements at a time. For GPUs.
    Vectors,
    /// A row to a subgroup of 8, in registers; four elements to an invocation; tensors as textures. For
    /// the software adapter.
    Subgroup,
}

impl RowVariant {
    /// Those of ops on rows.
    pub(crate) const ROWS: [RowVariant; 4] = [
        RowVariant::Composed,
        RowVariant::Plain,
        RowVariant::Vectors,
        RowVariant::Subgroup,
    ];
    /// Those of ops on elements.
    pub(crate) const ELEMENTS: [RowVariant; 3] =
        [RowVariant::Plain, RowVariant::Vectors, RowVariant::Subgroup];
}

/// The choices that a table may hold for kernels on rows: see [`Tunable`].
pub const TUNABLE: &[Tunable] = &[
    tunable(SOFTMAX, "softmax", &[("WIDTH", 8), ("CACHE", 0)]),
    tunable(SOFTMAX, "softmax", &[("WIDTH", 32), ("CACHE", 1)]),
    // The tree of sums needs a power of two, so the rule's width is used.
    tunable(SOFTMAX, "softmax", &[("WIDTH", 96), ("CACHE", 1)]),
    tunable(NORM, "layer_norm", &[("WIDTH", 8), ("CACHE", 1)]),
    tunable(NORM, "layer_norm", &[("WIDTH", 512), ("CACHE", 0)]),
];

type Names = (&'static [&'static str], &'static [&'static str]);
const SOFTMAX: Names = (
    &["softmax", "softmax_backward"],
    &["softmax", "log_softmax", "softmax_masked"],
);
const NORM: Names = (
    &["layer_norm", "layer_norm_backward"],
    &["layer_norm", "rms_norm", "add_norm"],
);

const fn tunable(
    (kernels, ops): Names,
    file: &'static str,
    values: &'static [(&'static str, u32)],
) -> Tunable {
    Tunable {
        kernels,
        file,
        values,
        ops,
    }
}

/// Elements below which no texture is filled, unless a case asks for it: the copy costs more.
const FEW: usize = 2048;
/// Texels of a row that a lane holds at most: compile time grows with them.
const MOST_TEXELS: usize = 32;
/// The most values that a lane caches in registers if a table asks for a cache.
const MOST_CACHED: usize = 64;
/// Rounds of a pass at most: the software adapter cuts an invocation short at 65,535 steps of its loops.
const MOST_ROUNDS: usize = 12_500;

/// A table's choice for `kernel` and the rows of `length` of `x`.
pub(crate) fn tuned(kernel: &str, x: &Tensor, length: usize) -> Option<Tuned> {
    let rows = x.numel() / length.max(1);
    let sizes = [("rows", rows as u64), ("length", length as u64)];
    let choice = x.device().variant(kernel, &sizes)?;
    let variant = match choice.file()?.ends_with("_subgroup") {
        true => RowVariant::Subgroup,
        false => RowVariant::Vectors,
    };
    Some(Tuned { variant, choice })
}

/// A table's choice.
pub(crate) struct Tuned {
    /// The variant of the chosen kernel.
    pub variant: RowVariant,
    choice: Choice,
}

/// How one workgroup processes one row of a contiguous tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowLayout {
    /// Lanes that share a row: the workgroup.
    width: usize,
    /// Values that a lane takes at a time: 1 or 4.
    lanes: usize,
    /// The number of steps in which a lane caches its values, or `None` if each pass reads the row again.
    kept: Option<usize>,
    /// The workgroup is one subgroup of 8 lanes and needs no workgroup memory.
    subgroup8: bool,
    dtype: DType,
}

impl RowLayout {
    /// A layout for rows of `length` of `tensors`, which are of one type; a lane keeps at most `most`
    /// values of its row between passes.
    pub(crate) fn new(
        variant: Option<RowVariant>,
        length: usize,
        most: usize,
        tensors: &[&Tensor],
    ) -> RowLayout {
        let device = tensors.first().map(|x| x.device());
        let vectors =
            variant != Some(RowVariant::Plain) && length.is_multiple_of(4) && in_vectors(tensors);
        let lanes = if vectors { 4 } else { 1 };
        let dtype = tensors.first().map_or(DType::F32, |x| x.dtype());
        // A subgroup of 8 is Mesa's software adapter. Its workgroup memory is slow, private arrays
        // take long to compile and to clear (keeping values was measured to gain nothing), and an
        // invocation is cut short at 65,535 steps of loops.
        let forced = matches!(variant, Some(RowVariant::Plain | RowVariant::Vectors));
        if !forced && device.and_then(Device::subgroup_size) == Some(8) && length <= 100_000 * lanes
        {
            return RowLayout {
                width: 8,
                lanes,
                kept: None,
                subgroup8: true,
                dtype,
            };
        }
        let elements = length / lanes;
        let width = if elements <= 512 { 64 } else { 256 };
        let kept = elements.div_ceil(width).next_power_of_two();
        RowLayout {
            width,
            lanes,
            kept: (kept * lanes <= most).then_some(kept),
            subgroup8: false,
            dtype,
        }
    }

    /// [`RowLayout::defines`], and `W`: a vector or value of parameters of this type.
    pub(crate) fn defines_with(&self, parameters: Option<DType>) -> Defines {
        match parameters {
            Some(dtype) => self.defines().alias("W", &self.memory(dtype)),
            None => self.defines(),
        }
    }

    /// The WGSL type that a lane loads at once.
    fn memory(&self, dtype: DType) -> String {
        match self.lanes {
            4 => format!("vec4<{}>", dtype.wgsl()),
            _ => dtype.wgsl().to_owned(),
        }
    }

    /// The layout with a table's `WIDTH` and `CACHE` for this kernel, if `device` can launch it.
    pub(crate) fn tuned(self, device: &Device, length: usize, tuned: Option<&Tuned>) -> RowLayout {
        let choice = match tuned {
            Some(tuned) if tuned.variant == RowVariant::Vectors => &tuned.choice,
            _ => return self,
        };
        let Some(width) = choice.get("WIDTH").map(|width| width as usize) else {
            return self;
        };
        let rounds = (length / self.lanes).div_ceil(width.max(1));
        let fits = width.is_power_of_two()
            && width <= device.max_workgroup_invocations() as usize
            && 4 * width <= device.max_workgroup_bytes() as usize
            && rounds <= MOST_ROUNDS;
        if !fits {
            return self;
        }
        let kept = rounds.next_power_of_two();
        let keeps = choice.get("CACHE") == Some(1) && kept * self.lanes <= MOST_CACHED;
        RowLayout {
            width,
            kept: keeps.then_some(kept),
            subgroup8: width == 8 && device.subgroup_size() == Some(8),
            ..self
        }
    }

    /// `WIDTH`, `SUBGROUP8`, `LANES` and `VECTORS`, `V` (the type in memory), and `CACHED` with
    /// the flag `CACHE`.
    pub(crate) fn defines(&self) -> Defines {
        let defines = Defines::new()
            .constant("WIDTH", self.width as u32)
            .constant("LANES", self.lanes as u32)
            .flag_if(self.lanes == 4, "VECTORS")
            .alias("V", &self.memory(self.dtype))
            .flag_if(self.subgroup8, "SUBGROUP8");
        match self.kept {
            Some(kept) => defines.flag("CACHE").constant("CACHED", kept as u32),
            None => defines,
        }
    }
}

/// Whether `tensors` are to be read as textures, and can be: float32 in whole texels, and not a small part of
/// their buffers, which are copied as they are.
pub(crate) fn in_texels(variant: Option<RowVariant>, tensors: &[&Tensor]) -> bool {
    let Some(first) = tensors.first() else {
        return false;
    };
    let device = first.device();
    let in_use = match variant {
        None => device.adapter().is_software() && first.numel() >= FEW,
        Some(variant) => variant == RowVariant::Subgroup,
    };
    in_use && in_vectors(tensors) && tensors.iter().all(|x| is_worth_texels(x))
}

/// Whether rows of whole texels of `x` pay for a copy of its buffer into a texture, on the software adapter.
pub(crate) fn rows_in_texels(x: &Tensor) -> bool {
    x.device().adapter().is_software() && x.numel() >= FEW && is_worth_texels(x)
}

/// Whether there are too few elements to fill a texture for.
pub(crate) fn few(n: usize) -> bool {
    n < FEW
}

fn is_worth_texels(x: &Tensor) -> bool {
    x.device().subgroup_size() == Some(8)
        && !x.device().small_kernels()
        && x.dtype() == DType::F32
        && x.device().fits_texture(x.buffer())
        && x.buffer().size() <= 4 * 4 * x.numel() as u64
}

/// Whether `tensors` are floats in whole vectors of 4.
fn in_vectors(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|x| {
        x.dtype().is_float()
            && x.is_contiguous()
            && x.offset().is_multiple_of(4)
            && x.numel() > 0
            && x.numel().is_multiple_of(4)
    })
}

/// Vectors that an invocation of a pointwise kernel takes where it reads textures: to start one costs the
/// software adapter as much as a vector does.
pub(crate) const EACH: usize = 4;

/// The texels a lane holds where `tensors` of rows of `length` suit the `_subgroup` kernels.
pub(crate) fn row_texels(
    variant: Option<RowVariant>,
    length: usize,
    tensors: &[&Tensor],
) -> Option<u32> {
    let texels = length.div_ceil(32);
    // Few sizes, so that few kernels are compiled.
    let texels = match texels {
        0..=4 => texels.next_power_of_two(),
        more => more.next_multiple_of(4),
    };
    let fits = length.is_multiple_of(4) && texels <= MOST_TEXELS && in_texels(variant, tensors);
    fits.then_some(texels as u32)
}

/// Numbers the bindings of a kernel some of whose tensors are optional: constants AT_NAME, from 1.
pub(crate) fn numbered(defines: Defines, tensors: &[(&str, &Tensor)]) -> Defines {
    tensors
        .iter()
        .enumerate()
        .fold(defines, |defines, (i, (name, _))| {
            defines.constant(name, i as u32 + 1)
        })
}
