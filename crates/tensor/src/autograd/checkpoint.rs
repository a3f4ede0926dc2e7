//! Checkpoints: a part of the graph is computed again in the backward pass, which saves memory.

use std::collections::BTreeMap;

use super::backward::{Reach, walk};
use super::draws::{Draws, replayed, traced};
use super::grad_mode::{enable_grad, is_grad_enabled};
use super::node::{Context, Node, Saved};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

const OP: &str = "checkpoint";

/// `f(inputs)`. The graph keeps only the inputs; the backward pass runs `f` again. The memory of a deep
/// model's activations falls to that of one part, for about a third more time. As PyTorch's
/// `checkpoint(use_reentrant=False)`.
///
/// The second run draws the same random numbers as the first, so that results and gradients are those of `f(inputs)`
/// to the bit. Gradients flow to `inputs`, and to the parameters that `f` captures. Checkpoints may be nested.
///
/// `f` must compute the same both times. It is an error if its inputs, its parameters, or the generator's step changed
/// before `backward`.
///
/// ```
/// use wgrad_tensor::autograd::checkpoint;
/// use wgrad_tensor::{DType, Device, DeviceOptions, Tensor};
///
/// let device = Device::open(DeviceOptions::default())?;
/// let x = Tensor::ones(&device, &[2, 3], DType::F32)?;
/// let weight = Tensor::ones(&device, &[3], DType::F32)?;
/// weight.set_requires_grad(true)?;
/// let captured = weight.clone();
/// let y = checkpoint(move |x| x[0].mul(&captured)?.tanh()?.exp(), &[&x])?;
/// let gradients = y.sum_all()?.backward()?;
/// assert!(gradients.get(&weight).is_some());
/// # Ok::<(), wgrad_tensor::Error>(())
/// ```
pub fn checkpoint(
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    inputs: &[&Tensor],
) -> Result<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|input| (*input).clone()).collect();
    if !is_grad_enabled() {
        return f(&inputs);
    }
    let first = Tensor::next_id();
    let (y, draws) = traced(|| f(&inputs));
    let y = y?;
    if !y.requires_grad() || y.id() < first {
        return Ok(y);
    }
    let leaves = outside(&y, first);
    let leaves: Vec<&Tensor> = leaves.iter().collect();
    let needs = vec![true; leaves.len()];
    let mut saved = Saved::new(&needs);
    for tensor in inputs.iter().chain(leaves.iter().copied()) {
        saved.save(tensor);
    }
    let given = |input: &Tensor| {
        let at = leaves.iter().position(|leaf| leaf.id() == input.id());
        at.map_or_else(|| Given::Constant(input.detach()), Given::Leaf)
    };
    let part = Part {
        inputs: inputs.iter().map(given).collect(),
        draws,
        f,
    };
    let node = Node::new(OP, &leaves, saved, move |ctx, dy| part.backward(ctx, dy));
    Ok(y.detach().with_node(node))
}

/// The tensors that require gradients and are older than tensor `first`, of the graph that leads to `y`.
fn outside(y: &Tensor, first: u64) -> Vec<Tensor> {
    let mut pending = BTreeMap::from([(y.id(), y.clone())]);
    let mut found = Vec::new();
    while let Some((id, tensor)) = pending.pop_last() {
        match tensor.node() {
            Some(node) if id >= first => {
                for input in node.inputs() {
                    pending.insert(input.id(), input.clone());
                }
            }
            _ => found.push(tensor),
        }
    }
    found
}

struct Part<F> {
    inputs: Vec<Given>,
    draws: Draws,
    f: F,
}

/// An input of the function. The graph holds those that gradients flow to.
enum Given {
    Leaf(usize),
    Constant(Tensor),
}

impl<F: Fn(&[Tensor]) -> Result<Tensor>> Part<F> {
    fn backward(&self, ctx: &Context, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let leaves = ctx.inputs();
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|input| match input {
                Given::Leaf(at) => leaves[*at].clone(),
                Given::Constant(tensor) => tensor.clone(),
            })
            .collect();
        let first = Tensor::next_id();
        let y = enable_grad(|| replayed(&self.draws, || (self.f)(&inputs)))?;
        if y.shape() != dy.shape() || y.dtype() != dy.dtype() || !y.requires_grad() {
            return Err(changed(format!("gives {y:?}, for a gradient {dy:?}")));
        }
        let mut gradients = walk(&y, dy, Reach::Since(first))?.0;
        let parts = leaves.iter().map(|leaf| gradients.remove(&leaf.id()));
        let parts = parts.collect();
        if !gradients.is_empty() {
            return Err(changed("reads other parameters".into()));
        }
        Ok(parts)
    }
}

fn changed(what: String) -> Error {
    Error::op(
        OP,
        format!("the second run of the function {what}; it must compute the same both times"),
    )
}
