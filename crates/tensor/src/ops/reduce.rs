//! Reductions over dimensions: sum, mean, largest and smallest.

use wgrad_runtime::Defines;

use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Walk, dim, numel};
use crate::tape::record;
use crate::tensor::Tensor;

/// Elements one invocation combines at most: short of the loop limit of Mesa's software adapter, and
/// few enough for f32 sums to stay exact to the last digits.
const SERIAL: usize = 1024;
/// Elements each lane of a workgroup combines at most where one workgroup makes one value.
const TREE_SERIAL: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Max,
    Min,
}

impl Kind {
    fn combine(self) -> &'static str {
        match self {
            Kind::Sum => "a + b",
            Kind::Max => "max(a, b)",
            Kind::Min => "min(a, b)",
        }
    }

    fn across(self) -> &'static str {
        match self {
            Kind::Sum => "row_sum(v, lane)",
            Kind::Max => "row_max(v, lane)",
            Kind::Min => "-row_max(-v, lane)",
        }
    }

    fn identity(self, compute: DType) -> &'static str {
        match (self, compute) {
            (Kind::Sum, _) => "0",
            (Kind::Max, DType::U32) => "0",
            (Kind::Max, DType::I32) => "-2147483648",
            (Kind::Min, DType::U32) => "4294967295",
            (Kind::Min, DType::I32) => "2147483647",
            (Kind::Max, _) => "-3.4028234e38",
            (Kind::Min, _) => "3.4028234e38",
        }
    }
}

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

/// The reduction of `x` over the marked dimensions as a contiguous tensor of `shape` and `dtype`;
/// outside the graph.
fn reduce(
    op: &'static str,
    kind: Kind,
    x: &Tensor,
    reduced: &[bool],
    scale: f32,
    (shape, dtype): (&[usize], DType),
) -> Result<Tensor> {
    let device = x.device();
    let length = numel(&only(x.shape(), reduced));
    if length == 0 && kind == Kind::Sum {
        return Tensor::zeros(device, shape, dtype);
    }
    let compute = if x.dtype().is_float() {
        DType::F32
    } else {
        x.dtype()
    };
    let kept_shape = without(x.shape(), reduced);
    let outputs = numel(&kept_shape);
    let kept = Walk::new(op, &kept_shape, &[&without(x.strides(), reduced)])?;
    let walk = Walk::new(
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
    // A subgroup of 8 is Mesa's software adapter: few lanes, and workgroup memory slower than work.
    let few_lanes = device.subgroup_size() == Some(8);
    let tree = !columns && !few_lanes && length > 32 && compute == DType::F32;
    let (width, most, wanted) = match (tree, few_lanes) {
        (false, true) => (64, SERIAL, 256),
        (false, false) => (64, SERIAL, 65_536),
        (true, _) if length <= 1024 => (64, 64 * TREE_SERIAL, 512),
        (true, _) => (256, 256 * TREE_SERIAL, 512),
    };
    let least = if tree { 4 * width } else { 16 };
    let chunks = (wanted / outputs.max(1))
        .min(length / least)
        .max(length.div_ceil(most))
        .max(1);
    let last = chunks == 1;
    let y = match (last, columns) {
        (true, _) => Tensor::empty(device, shape, dtype)?,
        (false, true) => Tensor::empty(device, &[chunks, outputs], compute)?,
        (false, false) => Tensor::empty(device, &[outputs, chunks], compute)?,
    };
    let c = compute.wgsl();
    let defines = Defines::new()
        .constant("WIDTH", width as u32)
        .alias("S", x.dtype().wgsl())
        .alias("T", y.dtype().wgsl())
        .alias("COMPUTE", c)
        .code(
            "IDENTITY",
            &format!("const IDENTITY: {c} = {};", kind.identity(compute)),
        )
        .code(
            "combine",
            &format!(
                "fn combine(a: {c}, b: {c}) -> {c} {{ return {}; }}",
                kind.combine()
            ),
        )
        .flag_if(columns, "COLUMNS")
        .flag_if(walk.rank <= 1, "LINEAR")
        .flag_if(last && scale != 1.0, "SCALED");
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
        .u32("outputs", outputs)
        .u32("chunks", chunks)
        .u32("length", length)
        .u32("offset", x.offset())
        .f32("scale", scale)
        .words("kept_shape", &kept.shape)
        .words("kept_strides", &kept.strides[0])
        .words("shape", &walk.shape)
        .words("strides", &walk.strides[0])
        .bind(x.buffer())
        .bind(y.buffer());
    let values = (outputs * chunks) as u64;
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
        let y = reduce(op, Kind::Sum, self, &reduced, scale, (&shape, self.dtype()))?;
        let from = self.shape().to_vec();
        Ok(record(op, y, &[self], move |dy, _| {
            let dy = dy.reshape(&as_one)?;
            let dy = if scale == 1.0 {
                dy
            } else {
                dy.mul_scalar(scale)?
            };
            Ok(vec![Some(dy.expand(&from)?)])
        }))
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
    /// equally, as in PyTorch's `amax`. NaNs may be passed over.
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
        let y = reduce(op, kind, self, &reduced, 1.0, (&shape, self.dtype()))?;
        let (x, kept) = (self.detach(), y.clone());
        Ok(record(op, y, &[self], move |dy, _| {
            let equal = x.eq(&kept.reshape(&as_one)?)?;
            // The number of equal elements may be beyond f16.
            let equal = equal.cast(DType::F32)?;
            let count = reduce(op, Kind::Sum, &equal, &reduced, 1.0, (&as_one, DType::F32))?;
            let share = dy.reshape(&as_one)?.cast(DType::F32)?.div(&count)?;
            Ok(vec![Some(equal.mul(&share)?.cast(dy.dtype())?)])
        }))
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
        let y = reduce(
            "sum_to",
            Kind::Sum,
            self,
            &reduced,
            1.0,
            (shape, self.dtype()),
        )?;
        let from = self.shape().to_vec();
        Ok(record("sum_to", y, &[self], move |dy, _| {
            Ok(vec![Some(dy.expand(&from)?)])
        }))
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

/// The float64 reference: `f` folded over the reduced dimensions.
fn fold(x: &HostArray, reduced: &[bool], start: f64, f: fn(f64, f64) -> f64) -> HostArray {
    let mut out = HostArray::zeros(&kept_as_one(&x.shape, reduced));
    out.data.fill(start);
    let places = HostArray {
        shape: out.shape.clone(),
        data: (0..out.data.len()).map(|i| i as f64).collect(),
    };
    let places = places.broadcast_to(&x.shape);
    for (place, value) in places.data.iter().zip(&x.data) {
        let slot = &mut out.data[*place as usize];
        *slot = f(*slot, *value);
    }
    out
}

struct Row {
    name: &'static str,
    torch: &'static str,
    run: fn(&Tensor, &[isize], bool) -> Result<Tensor>,
    start: f64,
    fold: fn(f64, f64) -> f64,
}

const ROWS: [Row; 4] = [
    Row {
        name: "sum",
        torch: "torch.sum",
        run: Tensor::sum,
        start: 0.0,
        fold: |a, b| a + b,
    },
    Row {
        name: "mean",
        torch: "torch.mean",
        run: Tensor::mean,
        start: 0.0,
        fold: |a, b| a + b,
    },
    Row {
        name: "max",
        torch: "torch.amax",
        run: Tensor::max,
        start: f64::MIN,
        fold: f64::max,
    },
    Row {
        name: "min",
        torch: "torch.amin",
        run: Tensor::min,
        start: f64::MAX,
        fold: f64::min,
    },
];

fn case(row: &'static Row, input: Input, dims: &[isize], keepdim: bool) -> Case {
    let rank = input.shape.len();
    let mut reduced = vec![dims.is_empty(); rank];
    for d in dims {
        reduced[if *d < 0 { rank as isize + d } else { *d } as usize] = true;
    }
    let named: Vec<String> = (0..rank)
        .filter(|d| reduced[*d])
        .map(|d| format!("{d},"))
        .collect();
    let torch = format!(
        "{}(x0, dim=({}){})",
        row.torch,
        named.concat(),
        if keepdim { ", keepdim=True" } else { "" }
    );
    let count = numel(&only(&input.shape, &reduced)) as f64;
    let scale = if row.name == "mean" { 1.0 / count } else { 1.0 };
    let dims = dims.to_vec();
    Case::new(
        row.name,
        &torch,
        vec![input],
        move |x| (row.run)(&x[0], &dims, keepdim),
        move |x: &[HostArray]| {
            let mut y = fold(&x[0], &reduced, row.start, row.fold).map(|v| v * scale);
            if !keepdim {
                y.shape = without(&y.shape, &reduced);
            }
            y
        },
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for row in &ROWS {
        let picks = matches!(row.name, "max" | "min");
        // Finite differences are no gradient where their step reorders elements, or where more than
        // two are equal.
        let picked = |input: Input| match picks {
            true if input.layout == Expanded || numel(&input.shape) > 4000 => input.frozen(),
            true => input.steps(20_000),
            false => input,
        };
        for dtype in [DType::F32, DType::F16] {
            for (shape, layout) in shapes::rows() {
                let input = picked(Input::new(&shape, dtype).layout(layout));
                out.push(case(row, input.clone(), &[-1], false));
                out.push(case(row, input.clone(), &[0], true));
                out.push(case(row, input, &[], false));
            }
            for (shape, layout, dims) in [
                (vec![], Contiguous, vec![]),
                (vec![1], Contiguous, vec![0]),
                (vec![4, 3, 5, 6], Contiguous, vec![0, 2]),
                (vec![4, 3, 5, 6], Transposed, vec![1, -1]),
                (vec![4, 3, 5, 6], Sliced, vec![1, 2]),
                (vec![4, 3, 5, 6], Expanded, vec![0, 3]),
                (vec![2, 1025, 3], Contiguous, vec![1]),
                (vec![17, 33, 2], Transposed, vec![0, 1]),
                (vec![2100, 70], Contiguous, vec![0]),
            ] {
                let input = picked(Input::new(&shape, dtype).layout(layout));
                out.push(case(row, input.clone(), &dims, false));
                out.push(case(row, input, &dims, true));
            }
        }
        let float = |shape: &[usize]| Input::new(shape, DType::F32);
        // Several passes; more than 65,535 rows; more than 65,535 workgroups.
        out.push(case(row, picked(float(&[70_001])), &[], false));
        out.push(case(row, picked(float(&[2, 70_000])), &[1], false));
        out.push(case(row, picked(float(&[70_000, 3])), &[1], false));
        out.push(case(row, picked(float(&[70_000, 3])), &[0], false));
        out.push(case(row, float(&[66_000, 33]).frozen(), &[1], false));
        if row.name == "sum" {
            out.push(case(row, float(&[2, 0]), &[1], false));
        }
        if row.name == "mean" {
            out.push(Case::rejects(
                "mean",
                vec![Input::new(&[3], DType::U32).index(5)],
                |x| x[0].mean(&[], false),
                "cast it to f32 first",
            ));
        } else {
            for dtype in [DType::U32, DType::I32] {
                for (shape, layout, dims) in [
                    (vec![257], Contiguous, vec![]),
                    (vec![40, 7], Transposed, vec![0]),
                    (vec![40, 70], Sliced, vec![1]),
                ] {
                    let input = Input::new(&shape, dtype).layout(layout).index(1000);
                    out.push(case(row, input, &dims, false));
                }
            }
        }
        if row.name != "sum" {
            let run = row.run;
            out.push(Case::rejects(
                row.name,
                vec![float(&[2, 0])],
                move |x| run(&x[0], &[1], false),
                "has no elements",
            ));
        }
        if picks {
            // Two equal elements, where finite differences too give each half.
            let ties = float(&[300, 2]).steps(2);
            out.push(case(row, ties, &[1], false).note("ties"));
        }
        let run = row.run;
        out.push(Case::rejects(
            row.name,
            vec![float(&[2, 3])],
            move |x| run(&x[0], &[2], false),
            "dim 2 is out of range",
        ));
        out.push(Case::rejects(
            row.name,
            vec![float(&[2, 3])],
            move |x| run(&x[0], &[1, -1], false),
            "named twice",
        ));
    }
    sum_to_cases(out);
}

fn sum_to_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for (from, layout, to) in [
            (vec![5], Contiguous, vec![]),
            (vec![5], Contiguous, vec![1]),
            (vec![4, 5], Contiguous, vec![5]),
            (vec![4, 5], Contiguous, vec![4, 1]),
            (vec![4, 5], Transposed, vec![1, 1]),
            (vec![4, 5], Contiguous, vec![4, 5]),
            (vec![2, 3, 4], Sliced, vec![3, 1]),
            (vec![2, 3, 4], Expanded, vec![1, 3, 4]),
            (vec![2, 3, 4], Contiguous, vec![]),
            (vec![3, 257, 2], Contiguous, vec![1, 1, 2]),
            (vec![1030, 64], Contiguous, vec![64]),
            (vec![2, 3, 2, 5], Transposed, vec![2, 1, 2, 1]),
        ] {
            let target = to.clone();
            let torch = format!("x0.sum_to_size({to:?})");
            out.push(Case::new(
                "sum_to",
                &torch,
                vec![Input::new(&from, dtype).layout(layout)],
                move |x| x[0].sum_to(&target),
                move |x: &[HostArray]| {
                    let lead = x[0].shape.len() - to.len();
                    let reduced: Vec<bool> = (0..x[0].shape.len())
                        .map(|d| d < lead || x[0].shape[d] != to[d - lead])
                        .collect();
                    let mut y = fold(&x[0], &reduced, 0.0, |a, b| a + b);
                    y.shape = to.clone();
                    y
                },
            ));
        }
    }
    for target in [vec![3, 4], vec![2, 2], vec![1, 2, 3]] {
        out.push(Case::rejects(
            "sum_to",
            vec![Input::new(&[2, 3], DType::F32)],
            move |x| x[0].sum_to(&target),
            "does not sum to",
        ));
    }
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
