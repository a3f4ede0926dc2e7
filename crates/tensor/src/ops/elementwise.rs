//! Launches of element-wise kernels: each value is computed from the elements at the same position of some tensors.
//!
//! Operands may have any layout: broadcast, transposed and sliced tensors are read without a copy. This file writes the
//! WGSL functions through which a kernel reads an operand: `one_NAME(i)` for element `i` of the result, `four_NAME(i)`
//! for its vector `i` of 4. The kernel writes to `to_NAME(i)`.
//!
//! Tensors larger than one binding of the adapter are taken in pieces, one launch each.

use wgrad_runtime::Defines;

use super::pieces::{Binding, pieces};
use super::rows::{EACH, RowVariant, few};
use crate::dtype::DType;
use crate::error::Result;
use crate::shape::{MAX_RANK, Walk, broadcast_strides};
use crate::tensor::Tensor;

/// An element-wise kernel and what it works on, by the names of bindings.
pub(crate) struct Elementwise<'a> {
    pub op: &'static str,
    pub kernel: &'static str,
    pub variant: Option<RowVariant>,
    /// The inputs, which broadcast to the shape of the output.
    pub inputs: &'a [(&'static str, &'a Tensor)],
    pub output: (&'static str, &'a Tensor),
    /// The op's defines.
    pub defines: Defines,
    /// The op's parameters.
    pub floats: &'a [(&'static str, f32)],
}

/// The layout of an operand relative to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// As the result, row-major.
    Flat,
    /// The four elements of a vector side by side.
    Row,
    /// One element for all four.
    Splat,
    /// Anywhere.
    Each,
}

/// An operand of one launch.
struct Operand<'a> {
    name: &'static str,
    tensor: &'a Tensor,
    binding: Binding,
    access: Access,
}

impl Elementwise<'_> {
    /// Writes the output.
    pub fn run(&self) -> Result<()> {
        let (_, output) = self.output;
        let shape = output.shape();
        let spread = |x: &Tensor| {
            let strides = broadcast_strides(x.shape(), x.strides(), shape);
            x.view(shape.to_vec(), strides, x.offset())
        };
        let mut all: Vec<Tensor> = self.inputs.iter().map(|(_, x)| spread(x)).collect();
        all.push(output.detach());
        pieces(&all, &mut |parts| self.launch(parts))
    }

    /// `parts` are views of one shape: the inputs, then the output.
    fn launch(&self, parts: &[Tensor]) -> Result<()> {
        let Some(first) = parts.first() else {
            return Ok(());
        };
        let n = first.numel();
        let strides: Vec<&[usize]> = parts.iter().map(Tensor::strides).collect();
        let walk = Walk::new(self.op, first.shape(), &strides)?;
        let names = self.inputs.iter().map(|(name, _)| *name);
        let operands: Vec<Operand> = names
            .chain([self.output.0])
            .zip(parts)
            .zip(&walk.strides)
            .map(|((name, tensor), strides)| Operand {
                name,
                tensor,
                binding: tensor.binding(),
                access: access(&walk, strides),
            })
            .collect();
        let (defines, lanes) = defines(self.variant, &walk, &operands, self.defines.clone());
        let device = first.device();
        let mut launch = device
            .launch(&device.kernel(self.kernel, &defines)?)
            .u32("n", n)
            .u32s("shape", &walk.shape);
        for (name, value) in self.floats {
            launch = launch.f32(name, *value);
        }
        for (operand, strides) in operands.iter().zip(&walk.strides) {
            let Operand { name, binding, .. } = operand;
            launch = launch
                .u32(&format!("{name}_offset"), binding.lead)
                .u32s(&format!("{name}_strides"), strides);
        }
        for Operand {
            tensor, binding, ..
        } in &operands
        {
            launch = launch.window(tensor.buffer(), binding.offset, binding.bytes);
        }
        Ok(launch.invocations(n.div_ceil(lanes) as u64)?)
    }
}

/// The type in which kernels compute.
pub(crate) fn compute(dtype: DType) -> DType {
    match dtype.is_float() {
        true => DType::F32,
        false => dtype,
    }
}

/// The number of dimensions that a kernel walks, rounded up so that few kernels are compiled.
pub(crate) fn rank(walk: &Walk) -> u32 {
    match walk.rank {
        0 | 1 => 1,
        2 => 2,
        3 | 4 => 4,
        _ => MAX_RANK as u32,
    }
}

fn access(walk: &Walk, strides: &[u32; MAX_RANK]) -> Access {
    let last = MAX_RANK - 1;
    let mut expected = 1;
    let mut flat = true;
    for (side, stride) in walk.shape.iter().zip(strides).rev() {
        flat &= *side == 1 || *stride == expected;
        expected *= side;
    }
    if flat {
        return Access::Flat;
    }
    let one_row = walk.shape[..last].iter().all(|side| *side == 1);
    if strides[last] == 0 && (one_row || walk.shape[last].is_multiple_of(4)) {
        return Access::Splat;
    }
    let rows =
        walk.shape[last].is_multiple_of(4) && strides[..last].iter().all(|s| s.is_multiple_of(4));
    match strides[last] == 1 && rows {
        true => Access::Row,
        false => Access::Each,
    }
}

/// Adds `LANES`, `EACH`, `RANK`, `VECTORS`, `TEXELS`, and for each operand (the output is the last) the type of its memory
/// `S_NAME` and its access functions. Returns how many elements an invocation takes.
fn defines(
    variant: Option<RowVariant>,
    walk: &Walk,
    operands: &[Operand],
    defines: Defines,
) -> (Defines, usize) {
    let Some((output, inputs)) = operands.split_last() else {
        return (defines, 1);
    };
    let n = output.tensor.numel();
    // Vectors lie at multiples of 4.
    let aligned = |o: &Operand| {
        o.binding.lead.is_multiple_of(4) || matches!(o.access, Access::Splat | Access::Each)
    };
    let whole = n > 0
        && n.is_multiple_of(4)
        && variant != Some(RowVariant::Plain)
        && matches!(output.access, Access::Flat | Access::Row)
        && operands.iter().all(aligned);
    let device = output.tensor.device();
    let in_use = match variant {
        None => device.adapter().is_software() && !few(n),
        Some(variant) => variant == RowVariant::Subgroup,
    };
    let texels = whole
        && in_use
        && device.subgroup_size() == Some(8)
        && inputs.iter().all(|o| {
            o.tensor.dtype().size() == 4
                && device.fits_texture(o.tensor.buffer())
                && o.binding.bytes <= 16 * n as u64
        });
    // On a GPU neighbours that read one element each use the memory better than those that gather four.
    let vectors = whole && (texels || inputs.iter().all(|o| o.access != Access::Each));
    let several = texels && n.is_multiple_of(4 * EACH);
    let (lanes, each) = (if vectors { 4 } else { 1 }, if several { EACH } else { 1 });
    let mut defines = defines
        .constant("LANES", lanes as u32)
        .constant("EACH", each as u32)
        .constant("RANK", rank(walk))
        .flag_if(vectors, "VECTORS")
        .flag_if(texels, "TEXELS");
    for operand in operands {
        let Operand { name, access, .. } = operand;
        let s = operand.tensor.dtype().wgsl();
        let in_fours = vectors && matches!(access, Access::Flat | Access::Row);
        let memory = match in_fours {
            true => format!("vec4<{s}>"),
            false => s.to_owned(),
        };
        let (key, text) = match *name == output.name {
            true => (format!("to_{name}"), target(name, *access, lanes)),
            false if vectors => (format!("four_{name}"), four(operand, texels)),
            false => (format!("one_{name}"), one(operand)),
        };
        defines = defines
            .alias(&format!("S_{name}"), &memory)
            .code(&key, &text);
    }
    (defines, lanes * each)
}

/// The position of element `i` of an operand.
fn place(name: &str, i: &str) -> String {
    format!(
        "(walk({i}, params.shape[0], params.shape[1], params.{name}_strides[0], params.{name}_strides[1]) + params.{name}_offset)"
    )
}

/// The text of `to_NAME`.
fn target(name: &str, access: Access, lanes: usize) -> String {
    let at = match access {
        Access::Flat => format!("i + params.{name}_offset / {lanes}u"),
        _ => format!("{} / {lanes}u", place(name, &format!("{lanes}u * i"))),
    };
    format!("fn to_{name}(i: u32) -> u32 {{ return {at}; }}")
}

/// The text of `one_NAME`.
fn one(operand: &Operand) -> String {
    let name = operand.name;
    let c = compute(operand.tensor.dtype());
    let at = match operand.access {
        Access::Flat => format!("i + params.{name}_offset"),
        _ => place(name, "i"),
    };
    format!("fn one_{name}(i: u32) -> {c} {{ return {c}({name}[{at}]); }}")
}

/// The text of `four_NAME`.
fn four(operand: &Operand, texels: bool) -> String {
    let name = operand.name;
    let c = compute(operand.tensor.dtype());
    // A texel is four floats; other types lie in their bits.
    let bits = |texel: String| match operand.tensor.dtype() {
        DType::F32 => texel,
        dtype => format!("bitcast<vec4<{dtype}>>({texel})"),
    };
    let vector = |at: &str| match texels {
        true => bits(format!("textureLoad({name}, at_texel({at}))")),
        false => format!("vec4<{c}>({name}[{at}])"),
    };
    let single = |at: &str| match texels {
        true => bits(format!("textureLoad({name}, at_texel({at} / 4u))")) + &format!("[{at} % 4u]"),
        false => format!("{c}({name}[{at}])"),
    };
    let body = match operand.access {
        Access::Flat => format!(
            "return {};",
            vector(&format!("i + params.{name}_offset / 4u"))
        ),
        Access::Row => format!(
            "return {};",
            vector(&format!("{} / 4u", place(name, "4u * i")))
        ),
        Access::Splat => {
            let at = place(name, "4u * i");
            format!("let p = {at}; return vec4<{c}>({});", single("p"))
        }
        Access::Each => {
            let place = |k: usize| {
                let at = place(name, &format!("4u * i + {k}u"));
                format!("let p{k} = {at};")
            };
            let places: Vec<String> = (0..4).map(place).collect();
            let values: Vec<String> = (0..4).map(|k| single(&format!("p{k}"))).collect();
            format!(
                "{} return vec4<{c}>({});",
                places.join(" "),
                values.join(", ")
            )
        }
    };
    format!("fn four_{name}(i: u32) -> vec4<{c}> {{ {body} }}")
}
