//! Picking elements or whole slices by index along a dimension.

mod cases;

use wgrad_runtime::Defines;

pub use cases::cases;

use crate::autograd::record;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::check_indices::check_indices;
use crate::ops::embedding;
use crate::ops::scatter::scatter_add;
use crate::shape::{Walk, contiguous_strides, dim, numel};
use crate::tensor::Tensor;

/// Entries of the index that one launch of the backward kernel walks: some drivers cut loops off at
/// 65,535 rounds.
const SPAN: usize = 32_768;
/// Up to this many entries, or positions of x along the dimension, the backward pass searches all entries for each
/// position. Beyond both, sorting is less work.
const FEW_ENTRIES: usize = 4;
const FEW_PLACES: usize = 256;

impl Tensor {
    /// `y[i][j][k] = self[i][index[i][j][k]][k]` for dimension 1 of 3, PyTorch's `gather`. `index` (u32)
    /// has the rank of `self` and is no larger except along `at`.
    ///
    /// Indices beyond the dimension read its last element, and their gradient goes there: the host cannot
    /// check them without waiting for the device. A device with `DeviceOptions::check_indices` waits, and refuses them.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// let index = Tensor::from_slice(&device, &[1u32, 0], &[2, 1])?;
    /// assert_eq!(x.gather(-1, &index)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// let rows = Tensor::from_slice(&device, &[1u32, 1], &[2])?;
    /// assert_eq!(x.index_select(0, &rows)?.to_vec::<f32>()?, [3.0, 4.0, 3.0, 4.0]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
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
        check_indices("gather", "index", index, self.shape()[at], None)?;
        let shape = self.shape().to_vec();
        record(
            "gather",
            &[self],
            |ctx| {
                ctx.save(index);
                forward(self, at, index)
            },
            move |ctx, dy| Ok(vec![Some(backward(dy, at, ctx.saved(0)?, &shape)?)]),
        )
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
        check_indices("index_select", "index", index, self.shape()[at], None)?;
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
    if index.shape()[at] > FEW_ENTRIES && shape[at] > FEW_PLACES {
        return backward_sorted(dy, at, index, shape);
    }
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

/// The gradient by sorting the entries, for many entries and positions.
fn backward_sorted(dy: &Tensor, at: usize, index: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let device = dy.device();
    let places = Tensor::empty(device, index.shape(), DType::U32)?;
    let strides = contiguous_strides(shape);
    let walk = Walk::new(
        "gather",
        index.shape(),
        &[&without(&strides, at), index.strides()],
    )?;
    let kernel = device.kernel("gather_places", &Defines::new())?;
    device
        .launch(&kernel)
        .u32("n", places.numel())
        .u32("index_offset", index.offset())
        .u32("side", shape[at])
        .u32("stride", strides[at])
        .u32s("shape", &walk.shape)
        .u32s("x_strides", &walk.strides[0])
        .u32s("index_strides", &walk.strides[1])
        .bind(index.buffer())
        .bind(places.buffer())
        .invocations(places.numel() as u64)?;
    let dx = Tensor::zeros(device, &[numel(shape), 1], dy.dtype())?;
    let most = device.max_binding_bytes();
    scatter_add(&dy.reshape(&[dy.numel(), 1])?, &places, None, &dx, most)?;
    dx.reshape(shape)
}
