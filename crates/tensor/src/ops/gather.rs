//! Picking elements or whole slices by index along a dimension.

use wgrad_runtime::Defines;

use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::embedding;
use crate::shape::{Walk, contiguous_strides, dim, numel};
use crate::tape::record;
use crate::tensor::Tensor;

/// Entries of the index that one launch of the backward kernel walks: some drivers cut loops off at
/// 65,535 rounds.
const SPAN: usize = 32_768;

impl Tensor {
    /// `y[i][j][k] = self[i][index[i][j][k]][k]` for dimension 1 of 3, PyTorch's `gather`. `index` (u32)
    /// has the rank of `self` and is no larger except along `at`.
    ///
    /// Indices beyond the dimension cannot be seen from the host without waiting for the device: they
    /// read its last element, and their gradient goes there.
    pub fn gather(&self, at: isize, index: &Tensor) -> Result<Tensor> {
        let at = dim("gather", at, self.rank())?;
        check_index("gather", index)?;
        let fits = self.rank() == index.rank()
            && self.rank() > 0
            && (0..self.rank()).all(|d| d == at || index.shape()[d] <= self.shape()[d]);
        if !fits {
            return Err(Error::op(
                "gather",
                format!(
                    "an index of shape {:?} does not fit {:?}: the ranks must be equal (1 or more), and no side but that of dimension {at} may be larger",
                    index.shape(),
                    self.shape()
                ),
            ));
        }
        check_side("gather", self, at, index)?;
        let y = forward(self, at, index)?;
        let (shape, index) = (self.shape().to_vec(), index.detach());
        Ok(record("gather", y, &[self], move |dy, _| {
            Ok(vec![Some(backward(dy, at, &index, &shape)?)])
        }))
    }

    /// The slices of dimension `at` that `index` (u32, one dimension) names, in its order. Indices
    /// beyond the dimension read its last slice, as in [`Tensor::gather`].
    pub fn index_select(&self, at: isize, index: &Tensor) -> Result<Tensor> {
        let at = dim("index_select", at, self.rank())?;
        check_index("index_select", index)?;
        if self.rank() == 0 || index.rank() != 1 {
            return Err(Error::op(
                "index_select",
                format!(
                    "a tensor with dimensions and an index with one are needed, {:?} and {:?} were given",
                    self.shape(),
                    index.shape()
                ),
            ));
        }
        check_side("index_select", self, at, index)?;
        // Rows of a table: the backward pass of embedding does not slow down with the table's size.
        let front = self.transpose(0, at as isize)?;
        let mut shape = front.shape().to_vec();
        let row = numel(&shape[1..]);
        let table = front.reshape(&[shape[0], row])?;
        shape[0] = index.numel();
        embedding::embedding(&table, index, None)?
            .reshape(&shape)?
            .transpose(0, at as isize)
    }
}

fn check_index(op: &'static str, index: &Tensor) -> Result<()> {
    if index.dtype() == DType::U32 {
        return Ok(());
    }
    Err(Error::op(
        op,
        format!("the index is {index:?}, u32 is needed; cast it"),
    ))
}

fn check_side(op: &'static str, x: &Tensor, at: usize, index: &Tensor) -> Result<()> {
    if x.shape()[at] > 0 || index.numel() == 0 {
        return Ok(());
    }
    Err(Error::op(
        op,
        format!("dimension {at} of {:?} has nothing to pick", x.shape()),
    ))
}

/// `strides` with 0 along `at`.
fn without(strides: &[usize], at: usize) -> Vec<usize> {
    let mut strides = strides.to_vec();
    strides[at] = 0;
    strides
}

fn forward(x: &Tensor, at: usize, index: &Tensor) -> Result<Tensor> {
    let device = x.device();
    let y = Tensor::empty(device, index.shape(), x.dtype())?;
    let walk = Walk::new(
        "gather",
        index.shape(),
        &[&without(x.strides(), at), index.strides()],
    )?;
    let defines = Defines::new().alias("T", x.dtype().wgsl());
    let kernel = device.kernel("gather", &defines)?;
    device
        .launch(&kernel)
        .u32("n", y.numel())
        .u32("x_offset", x.offset())
        .u32("index_offset", index.offset())
        .u32("side", x.shape()[at])
        .u32("stride", x.strides()[at])
        .u32s("shape", &walk.shape)
        .u32s("x_strides", &walk.strides[0])
        .u32s("index_strides", &walk.strides[1])
        .bind(x.buffer())
        .bind(index.buffer())
        .bind(y.buffer())
        .invocations(y.numel() as u64)?;
    Ok(y)
}

fn backward(dy: &Tensor, at: usize, index: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let device = dy.device();
    // What the index can reach; the rest of dx is zero.
    let mut region = index.shape().to_vec();
    region[at] = shape[at];
    let entries = index.shape()[at];
    let dx = if region == shape && entries > 0 {
        Tensor::empty(device, shape, dy.dtype())?
    } else {
        Tensor::zeros(device, shape, dy.dtype())?
    };
    let mut place = vec![0; region.len()];
    place[at] = 1;
    let walk = Walk::new(
        "gather",
        &region,
        &[
            &contiguous_strides(shape),
            &without(dy.strides(), at),
            &without(index.strides(), at),
            &place,
        ],
    )?;
    let kernel = device.kernel(
        "gather_backward",
        &Defines::new().alias("S", dy.dtype().wgsl()),
    )?;
    for first in (0..entries).step_by(SPAN) {
        device
            .launch(&kernel)
            .u32("n", numel(&region))
            .u32("dy_offset", dy.offset())
            .u32("index_offset", index.offset())
            .u32("side", shape[at])
            .u32("dy_stride", dy.strides()[at])
            .u32("index_stride", index.strides()[at])
            .u32("first", first)
            .u32("last", (first + SPAN).min(entries))
            .u32s("shape", &walk.shape)
            .u32s("dx_strides", &walk.strides[0])
            .u32s("dy_strides", &walk.strides[1])
            .u32s("index_strides", &walk.strides[2])
            .u32s("place_strides", &walk.strides[3])
            .bind(dy.buffer())
            .bind(index.buffer())
            .bind(dx.buffer())
            .invocations(numel(&region) as u64)?;
    }
    Ok(dx)
}

fn gather_reference(x: &HostArray, at: usize, index: &HostArray) -> HostArray {
    HostArray::from_fn(&index.shape, |i| {
        let mut from = i.to_vec();
        from[at] = (index.get(i) as usize).min(x.shape[at] - 1);
        x.get(&from)
    })
}

fn select_reference(x: &HostArray, at: usize, index: &HostArray) -> HostArray {
    let mut shape = x.shape.clone();
    shape[at] = index.data.len();
    HostArray::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        i[at] = (index.data[i[at]] as usize).min(x.shape[at] - 1);
        x.get(&i)
    })
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    gather_cases(out);
    select_cases(out);
    rejections(out);
}

fn gather_case(
    (shape, layout): (&[usize], Layout),
    dtype: DType,
    at: isize,
    (index, index_layout): (&[usize], Layout),
) -> Case {
    let place = if at < 0 {
        at + shape.len() as isize
    } else {
        at
    } as usize;
    let x = Input::new(shape, dtype).layout(layout);
    Case::new(
        "gather",
        &format!("torch.gather(x0, {at}, x1.long())"),
        vec![
            if dtype.is_float() { x } else { x.index(1000) },
            Input::new(index, DType::U32)
                .index(shape[place] as u32)
                .layout(index_layout),
        ],
        move |x| x[0].gather(at, &x[1]),
        move |x: &[HostArray]| gather_reference(&x[0], place, &x[1]),
    )
}

fn gather_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for layout in [Contiguous, Transposed, Sliced] {
            for (shape, at, index) in [
                (vec![1], 0isize, vec![1]),
                (vec![5], 0, vec![257]),
                (vec![4, 7], 0, vec![3, 7]),
                (vec![4, 7], 1, vec![4, 1]),
                (vec![4, 7], -1, vec![2, 9]),
                (vec![3, 5, 4], 1, vec![2, 6, 3]),
                (vec![300, 3], 1, vec![300, 2]),
            ] {
                for index_layout in [Contiguous, Sliced] {
                    out.push(gather_case(
                        (&shape, layout),
                        dtype,
                        at,
                        (&index, index_layout),
                    ));
                }
            }
        }
        out.push(gather_case(
            (&[4, 3, 10], Expanded),
            dtype,
            2,
            (&[4, 3, 5], Expanded),
        ));
        // More entries than one launch of the backward kernel walks.
        out.push(gather_case(
            (&[3], Contiguous),
            dtype,
            0,
            (&[SPAN + 700], Contiguous),
        ));
        out.push(gather_case(
            (&[3, 4], Contiguous),
            dtype,
            1,
            (&[3, 0], Contiguous),
        ));
        // Indices beyond the dimension take its last element, forward and backward.
        out.push(Case::new(
            "gather",
            "torch.gather(x0, 1, x1.clamp(max=4).long())",
            vec![
                Input::new(&[6, 5], dtype),
                Input::new(&[6, 9], DType::U32).index(4_000_000_000),
            ],
            |x| x[0].gather(1, &x[1]),
            |x: &[HostArray]| gather_reference(&x[0], 1, &x[1]),
        ));
    }
    for dtype in [DType::U32, DType::I32] {
        out.push(gather_case(
            (&[6, 5], Transposed),
            dtype,
            1,
            (&[6, 2], Contiguous),
        ));
    }
}

fn select_cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for dtype in [DType::F32, DType::F16] {
        for layout in [Contiguous, Transposed, Sliced, Expanded] {
            for (shape, at, index) in [
                (vec![5], 0isize, 3),
                (vec![5, 7], 0, 1),
                (vec![5, 7], 1, 9),
                (vec![2, 6, 3], -2, 70),
                (vec![257, 3], 0, 33),
            ] {
                let place = if at < 0 {
                    at + shape.len() as isize
                } else {
                    at
                } as usize;
                out.push(Case::new(
                    "index_select",
                    &format!("torch.index_select(x0, {at}, x1.long())"),
                    vec![
                        Input::new(&shape, dtype).layout(layout),
                        Input::new(&[index], DType::U32).index(shape[place] as u32),
                    ],
                    move |x| x[0].index_select(at, &x[1]),
                    move |x: &[HostArray]| select_reference(&x[0], place, &x[1]),
                ));
            }
        }
    }
}

fn rejections(out: &mut Vec<Case>) {
    let inputs = |x: &[usize], index: &[usize], dtype| {
        vec![
            Input::new(x, DType::F32),
            Input::new(index, dtype).range(0.0, 2.0).frozen(),
        ]
    };
    let gather = |at| move |x: &[Tensor]| x[0].gather(at, &x[1]);
    let select = |at| move |x: &[Tensor]| x[0].index_select(at, &x[1]);
    let (u, f) = (DType::U32, DType::F32);
    out.extend([
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4, 1], f),
            gather(1),
            "u32 is needed",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4], u),
            gather(1),
            "does not fit",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[5, 1], u),
            gather(1),
            "does not fit",
        ),
        Case::rejects("gather", inputs(&[], &[], u), gather(0), "does not fit"),
        Case::rejects(
            "gather",
            inputs(&[4, 3], &[4, 1], u),
            gather(2),
            "out of range",
        ),
        Case::rejects(
            "gather",
            inputs(&[4, 0], &[4, 1], u),
            gather(1),
            "nothing to pick",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2], f),
            select(1),
            "u32 is needed",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2, 1], u),
            select(1),
            "an index with one",
        ),
        Case::rejects(
            "index_select",
            inputs(&[], &[1], u),
            select(0),
            "with dimensions",
        ),
        Case::rejects(
            "index_select",
            inputs(&[4, 3], &[2], u),
            select(2),
            "out of range",
        ),
        Case::rejects(
            "index_select",
            inputs(&[0, 3], &[2], u),
            select(0),
            "nothing to pick",
        ),
    ]);
}
