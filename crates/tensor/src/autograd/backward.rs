//! The backward walk over the graph, and its gradients.

use std::collections::{BTreeMap, HashMap};

use super::grad_mode::no_grad;
use super::sums::{Flow, Sums};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The gradients of one backward pass, by tensor.
#[derive(Clone, Default)]
pub struct Gradients(pub(super) HashMap<u64, Tensor>);

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

    /// The gradients of named parameters, in their order; parameters without one are left out.
    pub fn named<'a>(
        &'a self,
        parameters: &'a [(String, Tensor)],
    ) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        parameters
            .iter()
            .filter_map(|(name, tensor)| Some((name.as_str(), self.get(tensor)?)))
    }

    /// Adds another pass's gradients to these: gradient accumulation.
    pub fn accumulate(&mut self, other: Gradients) -> Result<()> {
        for (id, gradient) in other.0 {
            let sum = match self.0.remove(&id) {
                Some(earlier) => earlier.add(&gradient)?,
                None => gradient,
            };
            self.0.insert(id, sum);
        }
        Ok(())
    }

    /// Multiplies every gradient by `factor`.
    pub fn scale(&mut self, factor: f32) -> Result<()> {
        for gradient in self.0.values_mut() {
            *gradient = no_grad(|| gradient.mul_scalar(factor))?;
        }
        Ok(())
    }
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
        let mut gradients = no_grad(|| walk(self, dy, Reach::Leaves))?;
        for gradient in gradients.0.values_mut() {
            *gradient = gradient.as_gradient();
        }
        Ok(gradients)
    }
}

/// How far a walk goes.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    /// To the leaves.
    Leaves,
    /// To the leaves, and to tensors that are older than this one; their gradients are kept.
    Since(u64),
}

pub(super) fn walk(root: &Tensor, dy: &Tensor, reach: Reach) -> Result<Gradients> {
    let mut gradients = Sums::default();
    // Ids grow as tensors are made, so the largest id has no user left that was not visited.
    let mut pending: BTreeMap<u64, Tensor> = BTreeMap::new();
    gradients.add(root, Flow::Whole(dy.clone()))?;
    pending.insert(root.id(), root.clone());
    while let Some((id, tensor)) = pending.pop_last() {
        if let Reach::Since(first) = reach
            && id < first
        {
            break;
        }
        let Some(node) = tensor.node() else { continue };
        let Some(dy) = gradients.remove(id) else {
            continue;
        };
        for (input, flow) in node.backward(&dy)? {
            gradients.add(input, flow)?;
            pending.insert(input.id(), input.clone());
        }
    }
    Ok(Gradients(gradients.into_gradients()))
}
