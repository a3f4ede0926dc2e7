//! Autograd: every op that sees a tensor with a gradient leaves a node; `backward` walks the nodes
//! from the newest to the oldest.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// An op's backward rule: from the gradient of its output, the gradient of each input. `needs[i]` says
/// whether input `i` wants one; a rule computes no others.
type Backward = dyn Fn(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// How a tensor came to be.
#[derive(Clone)]
pub(crate) struct Node(Arc<NodeInner>);

struct NodeInner {
    op: &'static str,
    inputs: Vec<Tensor>,
    needs: Vec<bool>,
    /// Of the inputs' values and, last, of the output's.
    versions: Vec<u64>,
    backward: Box<Backward>,
}

impl Drop for NodeInner {
    /// Takes long chains of nodes apart one by one: dropping them through recursion would overflow
    /// the stack.
    fn drop(&mut self) {
        let mut stack = std::mem::take(&mut self.inputs);
        while let Some(tensor) = stack.pop() {
            if let Some(mut node) = tensor.into_node()
                && let Some(inner) = Arc::get_mut(&mut node.0)
            {
                stack.append(&mut inner.inputs);
            }
        }
    }
}

/// Ops whose backward rule reads no values: theirs may be overwritten.
const READ_NO_VALUES: &[&str] = &[
    "reshape",
    "permute",
    "expand",
    "narrow",
    "unsqueeze",
    "slice",
    "contiguous",
    "concat",
    "embedding",
    "cast",
    "add",
    "sub",
    "sum",
    "mean",
    "sum_to",
];

impl NodeInner {
    /// Refuses a gradient of values that are there no more: rules read them where they lie, as PyTorch's do.
    fn check_versions(&self, output: &Tensor) -> Result<()> {
        if READ_NO_VALUES.contains(&self.op) {
            return Ok(());
        }
        let tensors = self.inputs.iter().chain([output]);
        for (tensor, version) in tensors.zip(&self.versions) {
            if tensor.buffer().version() != *version {
                return Err(Error::op(
                    self.op,
                    format!(
                        "{tensor:?} was overwritten in place (copy_from_slice, copy_into, an optimizer's step) after \
                         this op used it, so its gradient is lost; call backward before that, or compute the loss again"
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Node {
    /// The tensor that this node sees in another shape, if that is all it does.
    pub(crate) fn reshaped(&self) -> Option<&Tensor> {
        let view = self.0.op == "reshape";
        self.0.inputs.first().filter(|_| view)
    }
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Runs `f` without recording gradients on this thread, as PyTorch's `no_grad`.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
    f()
}

/// Puts `output`, just computed by `op` from `inputs`, into the graph if a gradient is wanted.
/// `backward` may hold on to detached tensors and to `output` itself (which is outside the graph).
pub(crate) fn record(
    op: &'static str,
    output: Tensor,
    inputs: &[&Tensor],
    backward: impl Fn(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Tensor {
    let needs: Vec<bool> = inputs.iter().map(|t| t.requires_grad()).collect();
    if !RECORDING.get() || !needs.contains(&true) {
        return output;
    }
    let versions = inputs.iter().copied().chain([&output]);
    let versions = versions.map(|t| t.buffer().version()).collect();
    output.with_node(Node(Arc::new(NodeInner {
        op,
        versions,
        inputs: inputs.iter().map(|t| (*t).clone()).collect(),
        needs,
        backward: Box::new(backward),
    })))
}

/// Refuses inputs with a gradient for an op that has none, so that nothing is cut silently.
pub(crate) fn refuse_grad(op: &'static str, inputs: &[&Tensor]) -> Result<()> {
    if RECORDING.get() && inputs.iter().any(|t| t.requires_grad()) {
        return Err(Error::op(
            op,
            "this op has no gradient, but an input requires one; call detach() on it first",
        ));
    }
    Ok(())
}

/// The gradients of one backward pass, by tensor.
#[derive(Clone, Default)]
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    /// The gradient of `tensor`, if one flowed to it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.0.get(&tensor.id())
    }

    /// The number of gradients held.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no gradient is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets or replaces the gradient of `tensor`.
    pub fn insert(&mut self, tensor: &Tensor, gradient: Tensor) {
        self.0.insert(tensor.id(), gradient);
    }

    /// Adds another pass's gradients to these: gradient accumulation.
    pub fn accumulate(&mut self, other: Gradients) -> Result<()> {
        for (id, gradient) in other.0 {
            add_to(&mut self.0, id, gradient)?;
        }
        Ok(())
    }
}

fn add_to(map: &mut HashMap<u64, Tensor>, id: u64, gradient: Tensor) -> Result<()> {
    let sum = match map.remove(&id) {
        Some(earlier) => earlier.add(&gradient)?,
        None => gradient,
    };
    map.insert(id, sum);
    Ok(())
}

impl Tensor {
    /// The gradients of this one-element tensor with respect to every leaf that requires one.
    pub fn backward(&self) -> Result<Gradients> {
        if self.numel() != 1 {
            return Err(Error::op(
                "backward",
                format!(
                    "shape {:?} is not one value; reduce it with sum or mean, or use backward_with",
                    self.shape()
                ),
            ));
        }
        let one = no_grad(|| Tensor::full(self.device(), self.shape(), 1.0, self.dtype()))?;
        self.backward_with(&one)
    }

    /// The same from a given gradient of this tensor: a vector-Jacobian product.
    pub fn backward_with(&self, dy: &Tensor) -> Result<Gradients> {
        if !self.requires_grad() {
            return Err(Error::op(
                "backward",
                "no gradient can flow from here: no tensor it was computed from requires one",
            ));
        }
        if dy.shape() != self.shape() || dy.dtype() != self.dtype() {
            return Err(Error::op(
                "backward",
                format!("the gradient {dy:?} does not have the shape and type of {self:?}"),
            ));
        }
        no_grad(|| walk(self, dy))
    }
}

fn walk(root: &Tensor, dy: &Tensor) -> Result<Gradients> {
    let mut gradients: HashMap<u64, Tensor> = HashMap::new();
    // Ids grow as tensors are made, so the largest id has no user left that was not visited.
    let mut pending: BTreeMap<u64, Tensor> = BTreeMap::new();
    gradients.insert(root.id(), dy.clone());
    pending.insert(root.id(), root.clone());
    while let Some((id, tensor)) = pending.pop_last() {
        let Some(node) = tensor.node() else { continue };
        let Some(dy) = gradients.remove(&id) else {
            continue;
        };
        let node = &node.0;
        node.check_versions(&tensor)?;
        let parts = (node.backward)(&dy, &node.needs)?;
        if parts.len() != node.inputs.len() {
            return Err(Error::op(
                node.op,
                "its backward rule gives a wrong number of gradients",
            ));
        }
        for ((input, need), part) in node.inputs.iter().zip(&node.needs).zip(parts) {
            match part {
                Some(part) if *need => {
                    check(node.op, input, &part)?;
                    add_to(&mut gradients, input.id(), part)?;
                    pending.insert(input.id(), input.clone());
                }
                None if *need => {
                    return Err(Error::op(node.op, "its backward rule left a gradient out"));
                }
                _ => {}
            }
        }
    }
    Ok(Gradients(gradients))
}

fn check(op: &'static str, input: &Tensor, part: &Tensor) -> Result<()> {
    if part.shape() != input.shape() || part.dtype() != input.dtype() {
        return Err(Error::op(
            op,
            format!("its backward rule gives {part:?} for an input {input:?}"),
        ));
    }
    debug_assert!(part.dtype() == DType::F32 || part.dtype() == DType::F16);
    Ok(())
}
