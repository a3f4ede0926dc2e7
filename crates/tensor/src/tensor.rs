//! The tensor: a view of device memory, and its place in the graph.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use wgrad_runtime::{Buffer, Device, Watch};

use crate::autograd::Node;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{self, contiguous_strides, numel};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A tensor on a device: shape, strides and element type over a buffer, checked at run time. Cheap to
/// clone; clones are the same tensor. Views share the buffer.
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    id: u64,
    device: Device,
    /// Watched while the tensor wants a gradient.
    buffer: Buffer,
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    dtype: DType,
    requires_grad: Watch,
    node: Option<Node>,
    /// Computed by a backward pass, or from what one computed: no gradient flows back through it.
    is_gradient: bool,
}

/// A handle to a tensor that does not keep it.
pub(crate) struct Observer(Weak<Inner>);

impl Observer {
    /// Whether only one node of the graph will read the tensor's memory: the node that has it as its
    /// input and holds `kept` more buffer handles. The tensor is the result of an op.
    pub(crate) fn is_last_use(&self, kept: usize) -> bool {
        let Some(tensor) = self.0.upgrade() else {
            return false;
        };
        // The node's handle, and the one just made.
        if Arc::strong_count(&tensor) != 2 {
            return false;
        }
        let mut at = &tensor;
        let mut handles = 1 + kept;
        // The tensor that it is a reshaped view of has no other use either.
        while let Some(source) = at.node.as_ref().and_then(Node::reshaped) {
            if Arc::strong_count(&source.0) != 1 {
                return false;
            }
            at = &source.0;
            handles += 1;
        }
        at.node.is_some() && at.buffer.handles() == Some(handles)
    }
}

/// What an adapter lacks that refuses f16 tensors.
pub(crate) const NO_F16: &str = "has no shader-f16";

impl Tensor {
    /// Contiguous memory with unspecified contents, for an op to fill.
    pub fn empty(device: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
        if dtype == DType::F16 && !device.has_f16() {
            return Err(Error::op(
                "empty",
                format!(
                    "{} {NO_F16}, so f16 tensors cannot be used on it; use f32",
                    device.adapter().name
                ),
            ));
        }
        let elements = shape
            .iter()
            .try_fold(1usize, |n, side| n.checked_mul(*side))
            .filter(|n| u32::try_from(*n).is_ok())
            .ok_or_else(|| {
                Error::op(
                    "empty",
                    format!("shape {shape:?} has more elements than 32 bits count"),
                )
            })?;
        let buffer = device.alloc((elements * dtype.size()) as u64)?;
        Ok(Tensor::new(
            device,
            buffer,
            (shape.to_vec(), contiguous_strides(shape), 0),
            dtype,
        ))
    }

    /// All zeros.
    pub fn zeros(device: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let out = Tensor::empty(device, shape, dtype)?;
        device.zero(out.buffer())?;
        Ok(out)
    }

    /// A leaf that wants no gradient: shape, strides and offset over a buffer.
    fn new(
        device: &Device,
        buffer: Buffer,
        (shape, strides, offset): (Vec<usize>, Vec<usize>, usize),
        dtype: DType,
    ) -> Tensor {
        let requires_grad = Watch::new(false);
        Tensor(Arc::new(Inner {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            device: device.clone(),
            buffer: buffer.watched(Some(requires_grad.clone())),
            shape,
            strides,
            offset,
            dtype,
            requires_grad,
            node: None,
            is_gradient: false,
        }))
    }

    /// The same memory seen with another shape; outside the graph (view ops record themselves).
    pub(crate) fn view(&self, shape: Vec<usize>, strides: Vec<usize>, offset: usize) -> Tensor {
        let buffer = self.buffer().clone();
        Tensor::new(
            self.device(),
            buffer,
            (shape, strides, offset),
            self.dtype(),
        )
    }

    /// The same elements over `buffer`, a part of this one's memory that the first element lies in at `offset`; outside
    /// the graph.
    pub(crate) fn within(&self, buffer: Buffer, offset: usize) -> Tensor {
        let (shape, strides) = (self.shape().to_vec(), self.strides().to_vec());
        Tensor::new(
            self.device(),
            buffer,
            (shape, strides, offset),
            self.dtype(),
        )
    }

    /// The same memory as a tensor of its own, changed by `change`.
    fn again(&self, change: impl FnOnce(&mut Inner)) -> Tensor {
        let mut tensor = self.detach();
        // There is no other handle yet.
        if let Some(inner) = Arc::get_mut(&mut tensor.0) {
            change(inner);
        }
        tensor
    }

    /// Moves the memory of `tensors` side by side, in their order, so that ops which take all of them at once
    /// ([`Tensor::linear_stacked`]) need no copy. They stay the tensors they are. Those whose bytes are no
    /// multiple of 256 get gaps between them, and are copied by such ops as before.
    pub fn pack(tensors: &[&Tensor]) -> Result<()> {
        crate::autograd::same_device("pack", tensors)?;
        if let Some(first) = tensors.first() {
            let buffers: Vec<&Buffer> = tensors.iter().map(|t| t.buffer()).collect();
            first.device().pack(&buffers)?;
        }
        Ok(())
    }

    /// `tensors` one behind the other along their first dimension, as a view, if their memory lies so;
    /// outside the graph.
    pub(crate) fn side_by_side(tensors: &[&Tensor]) -> Result<Option<Tensor>> {
        let Some(first) = tensors.first() else {
            return Ok(None);
        };
        let (outer, start) = first.place();
        let mut end = start;
        let mut rows = 0;
        for tensor in tensors {
            let (found, at) = tensor.place();
            let fits = tensor.rank() > 0
                && tensor.rank() == first.rank()
                && tensor.shape()[1..] == first.shape()[1..]
                && tensor.dtype() == first.dtype()
                && tensor.is_contiguous();
            if !fits || !found.same(&outer) || at != end || !start.is_multiple_of(256) {
                return Ok(None);
            }
            end += (tensor.numel() * tensor.dtype().size()) as u64;
            rows += tensor.shape()[0];
        }
        let mut shape = first.shape().to_vec();
        shape[0] = rows;
        let strides = contiguous_strides(&shape);
        Ok(Some(Tensor::new(
            first.device(),
            outer.part(start, end - start)?,
            (shape, strides, 0),
            first.dtype(),
        )))
    }

    /// The outermost buffer it lies in, and the byte there of its first element.
    fn place(&self) -> (Buffer, u64) {
        let (outer, at) = self.buffer().outermost();
        (outer, at + (self.offset() * self.dtype().size()) as u64)
    }

    /// The same memory as a non-leaf of the graph.
    pub(crate) fn with_node(self, node: Node) -> Tensor {
        self.again(|inner| {
            inner.requires_grad.set(true);
            inner.node = Some(node);
        })
    }

    /// The same values marked as those of a gradient: building a graph on them is refused.
    pub(crate) fn as_gradient(&self) -> Tensor {
        self.again(|inner| inner.is_gradient = true)
    }

    /// Whether a backward pass computed it, or it was computed from such tensors.
    pub(crate) fn is_gradient(&self) -> bool {
        self.0.is_gradient
    }

    /// Says that the values were overwritten in place, on all tensors that share the memory: graphs that used the
    /// old values refuse to go backward. Call it after launching a kernel that overwrites them.
    pub fn mark_written(&self) {
        self.buffer().mark_written();
    }

    /// The same values outside the graph: no gradient flows back through the result.
    pub fn detach(&self) -> Tensor {
        self.view(
            self.shape().to_vec(),
            self.strides().to_vec(),
            self.offset(),
        )
    }

    /// Marks a leaf as wanting a gradient, or (frozen) not. Graphs built earlier do not change.
    ///
    /// Errors for integer tensors and for results of ops, as PyTorch's `requires_grad_` does.
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        if on && !self.dtype().is_float() {
            return Err(Error::op(
                "set_requires_grad",
                format!("a tensor of {} has no gradient", self.dtype()),
            ));
        }
        if self.0.node.is_some() {
            return Err(Error::op(
                "set_requires_grad",
                "this is the result of an op; call detach() first",
            ));
        }
        if on && self.is_gradient() {
            return Err(Error::op(
                "set_requires_grad",
                "this was computed from a gradient that `backward` returned; call detach() first",
            ));
        }
        self.0.requires_grad.set(on);
        Ok(())
    }

    /// Whether a gradient would flow to this tensor.
    pub fn requires_grad(&self) -> bool {
        self.0.requires_grad.is_on()
    }

    /// The number that the next tensor of this process gets, or one before it.
    pub(crate) fn next_id() -> u64 {
        NEXT_ID.load(Ordering::Relaxed)
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }
    /// Its memory, for kernels.
    pub fn buffer(&self) -> &Buffer {
        &self.0.buffer
    }
    /// Sides, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    /// Steps between neighbours, in elements.
    pub fn strides(&self) -> &[usize] {
        &self.0.strides
    }
    /// The first element's place in the buffer, in elements.
    pub fn offset(&self) -> usize {
        self.0.offset
    }
    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.shape.len()
    }
    /// The number of elements.
    pub fn numel(&self) -> usize {
        numel(&self.0.shape)
    }
    pub(crate) fn node(&self) -> Option<&Node> {
        self.0.node.as_ref()
    }
    /// Whether both are views of one buffer.
    pub fn shares_memory(&self, other: &Tensor) -> bool {
        self.buffer().same(other.buffer())
    }
    /// A handle that does not keep it.
    pub(crate) fn observe(&self) -> Observer {
        Observer(Arc::downgrade(&self.0))
    }
    /// Its node, if this was the last handle to it.
    pub(crate) fn into_node(self) -> Option<Node> {
        Arc::into_inner(self.0).and_then(|inner| inner.node)
    }
    /// Whether the elements lie row-major without gaps (at any offset).
    pub fn is_contiguous(&self) -> bool {
        shape::is_contiguous(self.shape(), self.strides())
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tensor({} {:?} on {})",
            self.dtype(),
            self.shape(),
            self.device().adapter().name
        )
    }
}
