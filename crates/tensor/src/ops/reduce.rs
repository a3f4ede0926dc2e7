//! Reductions over dimensions: sum, mean, largest and smallest.

mod cases;
mod fours;
mod halves;
mod kind;

use wgrad_runtime::Defines;

pub use cases::cases;

use crate::autograd::record;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::elementwise::compute;
use crate::shape::{Walk, dim, numel};
use crate::tensor::Tensor;
use fours::{Fours, fours};
use halves::reduce_halves;
use kind::Kind;

/// Elements one invocation combines at most: short of the loop limit of Mesa's software adapter, and
/// few enough for f32 sums to stay exact to the last digits.
const SERIAL: usize = 1024;
/// Elements each lane of a workgroup combines at most where one workgroup makes one value.
const TREE_SERIAL: usize = 64;

/// Which dimensions go: `dims` by number, negative ones from the back, all of them if none is named.
fn chosen(op: &'static str, x: &Tensor, dims: &[isize]) -> Result<Vec<bool>> {
    let mut reduced = vec![dims.is_empty(); x.rank()];
    for d in dims {
        let at = dim(op, *d, x.rank())?;
        let Some(slot) = reduced.get_mut(at) else {
            continue; // dim 0 or -1 of a scalar
        };
        if *slot {
            return Err(Error::op(
                op,
                format!(
                    "dim {d} is named twice in {dims:?} for shape {:?}",
                    x.shape()
                ),
            ));
        }
        *slot = true;
    }
    Ok(reduced)
}

/// The shape with the reduced sides as 1.
fn kept_as_one(shape: &[usize], reduced: &[bool]) -> Vec<usize> {
    let sides = shape.iter().zip(reduced);
    sides.map(|(s, gone)| if *gone { 1 } else { *s }).collect()
}

fn without(values: &[usize], reduced: &[bool]) -> Vec<usize> {
    let sides = values.iter().zip(reduced);
    sides.filter(|(_, gone)| !**gone).map(|(s, _)| *s).collect()
}

fn only(values: &[usize], reduced: &[bool]) -> Vec<usize> {
    let sides = values.iter().zip(reduced);
    sides.filter(|(_, gone)| **gone).map(|(s, _)| *s).collect()
}

/// The reduction of `x` over the marked dimensions as a contiguous tensor of `shape` and `dtype`; outside the graph.
fn reduce(
    op: &'static str,
    kind: Kind,
    x: &Tensor,
    reduced: &[bool],
    scale: f32,
    (shape, dtype): (&[usize], DType),
) -> Result<Tensor> {
    let device = x.device();
    if !x.fits_binding()
        && let Some(at) = halves::side(x, reduced)
    {
        return reduce_halves(op, kind, x, reduced, scale, (shape, dtype), at);
    }
    let length = numel(&only(x.shape(), reduced));
    if length == 0 && kind == Kind::Sum {
        return Tensor::zeros(device, shape, dtype);
    }
    let compute = compute(x.dtype());
    let kept_shape = without(x.shape(), reduced);
    let outputs = numel(&kept_shape);
    let mut kept = Walk::new(op, &kept_shape, &[&without(x.strides(), reduced)])?;
    let mut walk = Walk::new(
        op,
        &only(x.shape(), reduced),
        &[&only(x.strides(), reduced)],
    )?;
    // Neighbouring invocations should read neighbouring memory.
    let inner = |w: &Walk| match w.rank {
        0 => u32::MAX,
        _ => w.strides[0][w.strides[0].len() - 1],
    };
    let columns = inner(&kept) < inner(&walk);
    let binding = x.binding();
    let (fours, texels) = fours(x, binding.lead, columns, &mut kept, &mut walk);
    let of = |on: Fours| if fours == on { 4 } else { 1 };
    let length = length / of(Fours::Rows);
    let places = outputs / of(Fours::Columns);
    // A subgroup of 8 is Mesa's software adapter: few lanes, and workgroup memory slower than work.
    let few_lanes = device.subgroup_size() == Some(8);
    let tree = !columns && !few_lanes && length > 32 && compute == DType::F32;
    let (width, most, most_groups) = match (tree, few_lanes) {
        (false, true) => (64, SERIAL, 256),
        (false, false) => (64, SERIAL, 65_536),
        (true, _) if length <= 1024 => (64, 64 * TREE_SERIAL, 512),
        (true, _) => (256, 256 * TREE_SERIAL, 512),
    };
    let least = if tree { 4 * width } else { 64 };
    let chunks = (most_groups / places.max(1))
        .min(length / least)
        .max(length.div_ceil(most))
        .max(1);
    let last = chunks == 1;
    let y = match (last, columns) {
        (true, _) => Tensor::empty(device, shape, dtype)?,
        (false, true) => Tensor::empty(device, &[chunks, outputs], compute)?,
        (false, false) => Tensor::empty(device, &[outputs, chunks], compute)?,
    };
    let c = fours.compute(compute);
    let memory = |dtype: DType, in_fours| match in_fours {
        true => format!("vec4<{dtype}>"),
        false => dtype.to_string(),
    };
    let defines = Defines::new()
        .constant("WIDTH", width as u32)
        .alias("S", &memory(x.dtype(), fours != Fours::No))
        .alias("T", &memory(y.dtype(), fours == Fours::Columns))
        .alias("COMPUTE", &c)
        .code(
            "identity",
            &format!(
                "fn identity() -> {c} {{ return {c}({}); }}",
                kind.identity(compute)
            ),
        )
        .code(
            "combine",
            &format!(
                "fn combine(a: {c}, b: {c}) -> {c} {{ return {}; }}",
                kind.combine(compute, fours != Fours::No)
            ),
        )
        .flag_if(columns, "COLUMNS")
        .flag_if(texels, "TEXELS")
        .flag_if(walk.rank <= 1, "LINEAR")
        .flag_if(last && scale != 1.0, "SCALED");
    let defines = if fours == Fours::Rows {
        let line = format!("fn fold(v: {c}) -> f32 {{ return {}; }}", Fours::fold(kind));
        defines.flag("FOLD").code("fold", &line)
    } else {
        defines
    };
    let defines = if tree {
        let line = format!(
            "fn across(v: f32, lane: u32) -> f32 {{ return {}; }}",
            kind.across()
        );
        defines.flag("TREE").code("across", &line)
    } else {
        defines
    };
    let kernel = device.kernel("reduce", &defines)?;
    let launch = device
        .launch(&kernel)
        .u32("outputs", places)
        .u32("chunks", chunks)
        .u32("length", length)
        .u32(
            "offset",
            binding.lead / if fours == Fours::No { 1 } else { 4 },
        )
        .f32("scale", scale)
        .u32s("kept_shape", &kept.shape)
        .u32s("kept_strides", &kept.strides[0])
        .u32s("shape", &walk.shape)
        .u32s("strides", &walk.strides[0])
        .window(x.buffer(), binding.offset, binding.bytes)
        .bind(y.buffer());
    let values = (places * chunks) as u64;
    if tree {
        launch.groups(values)?;
    } else {
        launch.invocations(values)?;
    }
    if last {
        return Ok(y);
    }
    reduce(op, kind, &y, &[columns, !columns], scale, (shape, dtype))
}

impl Tensor {
    fn add_up(
        &self,
        op: &'static str,
        dims: &[isize],
        keepdim: bool,
        scale: impl Fn(usize) -> f32,
    ) -> Result<Tensor> {
        let reduced = chosen(op, self, dims)?;
        let as_one = kept_as_one(self.shape(), &reduced);
        let shape = if keepdim {
            as_one.clone()
        } else {
            without(self.shape(), &reduced)
        };
        let scale = scale(numel(&only(self.shape(), &reduced)));
        let from = self.shape().to_vec();
        record(
            op,
            &[self],
            |_| reduce(op, Kind::Sum, self, &reduced, scale, (&shape, self.dtype())),
            move |_, dy| {
                let dy = dy.reshape(&as_one)?;
                let dy = if scale == 1.0 {
                    dy
                } else {
                    dy.mul_scalar(scale)?
                };
                Ok(vec![Some(dy.expand(&from)?)])
            },
        )
    }

    /// Sums over `dims` (negative ones count from the back; none named means all). A reduced side is
    /// left out, or kept as 1 with `keepdim`. f16 is summed in f32 and rounded once; integers wrap.
    pub fn sum(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.add_up("sum", dims, keepdim, |_| 1.0)
    }

    /// The mean over `dims`, named as in [`Tensor::sum`]. Refuses integers and empty dimensions.
    pub fn mean(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::op(
                "mean",
                format!("{} has no mean; cast it to f32 first", self.dtype()),
            ));
        }
        if self.numel() == 0 {
            return Err(none_to_reduce("mean", self));
        }
        self.add_up("mean", dims, keepdim, |n| 1.0 / n as f32)
    }

    /// The sum of all elements, of shape `[]`.
    pub fn sum_all(&self) -> Result<Tensor> {
        self.sum(&[], false)
    }

    /// The mean of all elements, of shape `[]`.
    pub fn mean_all(&self) -> Result<Tensor> {
        self.mean(&[], false)
    }

    /// The largest over `dims`, named as in [`Tensor::sum`]. Equal largest elements share the gradient
    /// equally, as in PyTorch's `amax`. NaN if one of them is NaN.
    pub fn max(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.extreme("max", Kind::Max, dims, keepdim)
    }

    /// The smallest over `dims`, as [`Tensor::max`].
    pub fn min(&self, dims: &[isize], keepdim: bool) -> Result<Tensor> {
        self.extreme("min", Kind::Min, dims, keepdim)
    }

    fn extreme(
        &self,
        op: &'static str,
        kind: Kind,
        dims: &[isize],
        keepdim: bool,
    ) -> Result<Tensor> {
        let reduced = chosen(op, self, dims)?;
        if self.numel() == 0 {
            return Err(none_to_reduce(op, self));
        }
        let as_one = kept_as_one(self.shape(), &reduced);
        let shape = if keepdim {
            as_one.clone()
        } else {
            without(self.shape(), &reduced)
        };
        let gone = reduced.clone();
        record(
            op,
            &[self],
            |ctx| {
                let y = reduce(op, kind, self, &reduced, 1.0, (&shape, self.dtype()))?;
                ctx.save(self);
                ctx.save(&y);
                Ok(y)
            },
            move |ctx, dy| {
                let (x, y) = (ctx.saved(0)?, ctx.saved(1)?);
                // The number of equal elements may be beyond f16.
                let equal = x.eq(&y.reshape(&as_one)?)?.cast(DType::F32)?;
                let count = reduce(op, Kind::Sum, &equal, &gone, 1.0, (&as_one, DType::F32))?;
                let share = dy.reshape(&as_one)?.cast(DType::F32)?.div(&count)?;
                Ok(vec![Some(equal.mul(&share)?.cast(dy.dtype())?)])
            },
        )
    }

    /// Sums the dimensions that broadcasting repeated, down to `shape`: the transpose of `expand`.
    pub fn sum_to(&self, shape: &[usize]) -> Result<Tensor> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        let Some(lead) = self.rank().checked_sub(shape.len()) else {
            return Err(does_not_sum(self, shape));
        };
        let mut reduced = vec![true; lead];
        for (from, to) in self.shape()[lead..].iter().zip(shape) {
            if from != to && *to != 1 {
                return Err(does_not_sum(self, shape));
            }
            reduced.push(from != to);
        }
        let from = self.shape().to_vec();
        let to = (shape, self.dtype());
        record(
            "sum_to",
            &[self],
            |_| reduce("sum_to", Kind::Sum, self, &reduced, 1.0, to),
            move |_, dy| Ok(vec![Some(dy.expand(&from)?)]),
        )
    }
}

fn none_to_reduce(op: &'static str, x: &Tensor) -> Error {
    Error::op(op, format!("shape {:?} has no elements", x.shape()))
}

fn does_not_sum(x: &Tensor, shape: &[usize]) -> Error {
    Error::op(
        "sum_to",
        format!(
            "{:?} does not sum to {shape:?}: from the right, sides must be equal or 1 in the target",
            x.shape()
        ),
    )
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::{Device, DeviceOptions};

    use super::*;

    #[test]
    fn millions_of_elements_reduce_to_one() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let x = Tensor::ones(&device, &[30_522, 768], DType::F32).unwrap();
        // Whole numbers below 2^25 whose halves are whole: exact in f32.
        assert_eq!(x.sum_all().unwrap().item().unwrap(), 23_440_896.0);
        assert_eq!(x.mean_all().unwrap().item().unwrap(), 1.0);
        let columns = x.sum(&[0], false).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(columns, vec![30_522.0; 768]);
    }
}
