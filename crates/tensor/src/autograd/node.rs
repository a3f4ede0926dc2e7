//! A node of the graph: one op with its inputs, what its backward rule reads later, and the rule.

use std::sync::Arc;

use super::sums::{Flow, Place};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// From the gradient of the output, the gradient of each input.
type Rule = dyn Fn(&Context, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// How gradients flow back through a node.
enum Backward {
    Rule(Box<Rule>),
    /// The output is a narrowed view of the one input: its gradient is a part of the input's.
    Narrow(Place),
}

/// How a tensor came to be.
#[derive(Clone)]
pub(crate) struct Node(Arc<NodeInner>);

struct NodeInner {
    op: &'static str,
    inputs: Vec<Tensor>,
    needs: Vec<bool>,
    saved: Vec<SavedTensor>,
    /// The output is its one input seen in another shape.
    reshapes: bool,
    backward: Backward,
}

/// A tensor that a backward rule reads, and the version of its memory when it was saved.
struct SavedTensor {
    tensor: Tensor,
    version: u64,
}

impl Node {
    pub(super) fn new(
        op: &'static str,
        inputs: &[&Tensor],
        saved: Saved,
        rule: impl Fn(&Context, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(NodeInner {
            op,
            inputs: inputs.iter().map(|input| (*input).clone()).collect(),
            needs: saved.needs.to_vec(),
            saved: saved.tensors,
            reshapes: false,
            backward: Backward::Rule(Box::new(rule)),
        }))
    }

    /// The node of a view of `input`. `reshapes` says that it holds all elements of a contiguous input in their order.
    pub(super) fn view(
        op: &'static str,
        input: &Tensor,
        reshapes: bool,
        rule: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let rule = move |_: &Context, dy: &Tensor| Ok(vec![Some(rule(dy)?)]);
        Self::of_view(op, input, reshapes, Backward::Rule(Box::new(rule)))
    }

    /// The node of a narrowed view of `input`.
    pub(super) fn narrow(input: &Tensor, place: Place) -> Self {
        Self::of_view("narrow", input, false, Backward::Narrow(place))
    }

    fn of_view(op: &'static str, input: &Tensor, reshapes: bool, backward: Backward) -> Self {
        Self(Arc::new(NodeInner {
            op,
            inputs: vec![input.clone()],
            needs: vec![true],
            saved: Vec::new(),
            reshapes,
            backward,
        }))
    }

    /// The inputs that want gradients.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &Tensor> {
        let inputs = self.0.inputs.iter().zip(&self.0.needs);
        inputs.filter(|(_, need)| **need).map(|(input, _)| input)
    }

    /// The inputs that want gradients, each with what flows to it.
    ///
    /// Errors: a saved tensor was overwritten; the rule's own; gradients that do not fit the inputs.
    pub(super) fn backward(&self, dy: &Tensor) -> Result<Vec<(&Tensor, Flow)>> {
        self.0.backward(dy)
    }

    /// The input, if this node only reshapes it.
    pub(crate) fn reshaped(&self) -> Option<&Tensor> {
        self.0.inputs.first().filter(|_| self.0.reshapes)
    }
}

impl NodeInner {
    fn backward(&self, dy: &Tensor) -> Result<Vec<(&Tensor, Flow)>> {
        let rule = match &self.backward {
            Backward::Rule(rule) => rule,
            Backward::Narrow(place) => {
                let part = |input| (input, Flow::Part(*place, dy.clone()));
                return Ok(self.inputs.iter().map(part).collect());
            }
        };
        for saved in &self.saved {
            saved.check(self.op)?;
        }
        let context = Context {
            op: self.op,
            inputs: &self.inputs,
            saved: &self.saved,
            needs: &self.needs,
        };
        let parts = rule(&context, dy)?;
        if parts.len() != self.inputs.len() {
            return Err(Error::op(
                self.op,
                format!(
                    "its backward rule gives {} gradients for {} inputs; give one for each, None where ctx.needs(i) \
                     is false",
                    parts.len(),
                    self.inputs.len()
                ),
            ));
        }
        let mut out = Vec::new();
        for (i, (input, part)) in self.inputs.iter().zip(parts).enumerate() {
            if !self.needs[i] {
                continue;
            }
            let refuse = |what: String| {
                let message =
                    format!("its backward rule {what} the gradient of input {i}, {input:?}");
                Err(Error::op(self.op, message))
            };
            match part {
                None => return refuse("leaves out".into()),
                Some(part) if part.shape() != input.shape() || part.dtype() != input.dtype() => {
                    return refuse(format!("gives {part:?} as"));
                }
                Some(part) => out.push((input, Flow::Whole(part))),
            }
        }
        Ok(out)
    }
}

impl Drop for NodeInner {
    /// Drops long chains of nodes one by one, because recursion would overflow the stack.
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

impl SavedTensor {
    /// An error if the saved values were overwritten: rules read them in place, as PyTorch's do.
    fn check(&self, op: &'static str) -> Result<()> {
        if self.tensor.buffer().version() == self.version {
            return Ok(());
        }
        Err(Error::op(
            op,
            format!(
                "{:?} was overwritten in place (copy_from_slice, copy_into, an optimizer's step, begin_step of a \
                 generator) after this op used it, so the gradient is lost; call backward before that, or compute the \
                 loss again",
                self.tensor
            ),
        ))
    }
}

/// The tensors that a forward pass saves for its backward rule; see [`record`](super::record()).
pub struct Saved<'a> {
    needs: &'a [bool],
    tensors: Vec<SavedTensor>,
    count: usize,
}

impl<'a> Saved<'a> {
    pub(super) fn new(needs: &'a [bool]) -> Self {
        Self {
            needs,
            tensors: Vec::new(),
            count: 0,
        }
    }

    /// Keeps `tensor` for the backward rule, which gets it from [`Context::saved`] under the number returned here:
    /// the first saved tensor is 0, the next 1. If its memory is overwritten before `backward`, that is an error.
    ///
    /// Keeps nothing where no input wants a gradient.
    pub fn save(&mut self, tensor: &Tensor) -> usize {
        if self.any() {
            self.tensors.push(SavedTensor {
                version: tensor.buffer().version(),
                tensor: tensor.detach(),
            });
        }
        self.count += 1;
        self.count - 1
    }

    /// Whether input `i` requires a gradient. If not, tensors that only its gradient reads need not be saved.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// Whether any input wants a gradient.
    pub fn any(&self) -> bool {
        self.needs.contains(&true)
    }
}

/// The inputs of a backward rule besides the gradient of the output.
pub struct Context<'a> {
    op: &'static str,
    inputs: &'a [Tensor],
    saved: &'a [SavedTensor],
    needs: &'a [bool],
}

impl Context<'_> {
    /// The tensor that was saved as number `i`.
    pub fn saved(&self, i: usize) -> Result<&Tensor> {
        let found = self.saved.get(i).map(|saved| &saved.tensor);
        found.ok_or_else(|| {
            Error::op(
                self.op,
                format!(
                    "its backward rule asks for saved tensor {i}, {} were saved",
                    self.saved.len()
                ),
            )
        })
    }

    /// Whether input `i` wants a gradient. The rule may give `None` for the others.
    pub fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// The inputs, with the graph that leads to them.
    pub(super) fn inputs(&self) -> &[Tensor] {
        self.inputs
    }

    /// Whether each input wants a gradient.
    pub(crate) fn all_needs(&self) -> &[bool] {
        self.needs
    }
}
