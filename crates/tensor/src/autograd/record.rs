//! Puts ops into the graph.

use super::grad_mode::{self, is_grad_enabled};
use super::node::{Context, Node, Saved};
use super::sums::Place;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Runs an op and puts its result into the graph, as PyTorch's `autograd.Function` does.
///
/// - `op` names the op in errors.
/// - `inputs` are the tensors that a gradient may flow to. What else the op reads (ids, masks) is captured by
///   `forward`.
/// - `forward` computes the output. It runs as in [`no_grad`](crate::no_grad): kernels may be launched, and ops called in it leave no
///   graph. What the backward rule reads later is handed to [`Saved::save`].
/// - `backward` is given the gradient of the output and returns the gradient of each input, of its shape and type;
///   `None` for inputs that want none ([`Context::needs`]). It reads tensors through [`Context::saved`].
///
/// Saved tensors are kept until the graph goes, and must not be overwritten before `backward`: that is an error which
/// names the op. An op that saves nothing reads nothing. A tensor that `forward` creates may be saved too, the output
/// included.
///
/// ```
/// use wgrad_tensor::autograd::record;
/// use wgrad_tensor::{Device, DeviceOptions, Result, Tensor};
///
/// /// x³, with the derivative written by hand.
/// fn cube(x: &Tensor) -> Result<Tensor> {
///     record(
///         "cube",
///         &[x],
///         |ctx| {
///             ctx.save(x);
///             x.mul(x)?.mul(x)
///         },
///         |ctx, dy| {
///             let x = ctx.saved(0)?;
///             Ok(vec![Some(dy.mul(&x.mul(x)?.mul_scalar(3.0)?)?)])
///         },
///     )
/// }
///
/// let device = Device::open(DeviceOptions::default())?;
/// let x = Tensor::from_slice(&device, &[2.0f32], &[1])?;
/// x.set_requires_grad(true)?;
/// let gradients = cube(&x)?.sum_all()?.backward()?;
/// assert_eq!(gradients.get(&x).map(|dx| dx.item()).transpose()?, Some(12.0));
/// # Ok::<(), wgrad_tensor::Error>(())
/// ```
pub fn record(
    op: &'static str,
    inputs: &[&Tensor],
    forward: impl FnOnce(&mut Saved) -> Result<Tensor>,
    backward: impl Fn(&Context, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    record_with(
        op,
        inputs,
        |saved| Ok((forward(saved)?, ())),
        move |(), context, dy| backward(context, dy),
    )
}

/// [`record`] for a forward pass that also leaves `state` to the rule. Tensors in the state must be saved too.
pub(crate) fn record_with<S: Send + Sync + 'static>(
    op: &'static str,
    inputs: &[&Tensor],
    forward: impl FnOnce(&mut Saved) -> Result<(Tensor, S)>,
    backward: impl Fn(&S, &Context, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    same_device(op, inputs)?;
    let recording = is_grad_enabled();
    let needs: Vec<bool> = inputs
        .iter()
        .map(|input| recording && input.requires_grad())
        .collect();
    let of_gradients = recording && inputs.iter().any(|input| input.is_gradient());
    let mut saved = Saved::new(&needs);
    if of_gradients && saved.any() {
        return Err(twice(op));
    }
    let (output, state) =
        grad_mode::forward(inputs, || forward(&mut saved)).map_err(|error| error.called(op))?;
    if of_gradients {
        return Ok(output.as_gradient());
    }
    if !saved.any() {
        return Ok(output);
    }
    let rule = move |context: &Context, dy: &Tensor| backward(&state, context, dy);
    Ok(output.with_node(Node::new(op, inputs, saved, rule)))
}

/// Puts `output`, another view of the memory of `input`, into the graph. `reshapes` says that it holds all elements of
/// a contiguous input in their order.
pub(crate) fn record_view(
    op: &'static str,
    input: &Tensor,
    output: Tensor,
    reshapes: bool,
    backward: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Tensor {
    seen(input, output, || Node::view(op, input, reshapes, backward))
}

/// Puts `output`, the elements of dimension `dim` of `input` from `start` on, into the graph.
pub(crate) fn record_narrow(input: &Tensor, output: Tensor, dim: usize, start: usize) -> Tensor {
    seen(input, output, || Node::narrow(input, Place { dim, start }))
}

/// `output`, a view of `input`, with its node where one is needed.
fn seen(input: &Tensor, output: Tensor, node: impl FnOnce() -> Node) -> Tensor {
    if !is_grad_enabled() {
        return output;
    }
    if input.is_gradient() {
        return output.as_gradient();
    }
    if !input.requires_grad() {
        return output;
    }
    output.with_node(node())
}

/// Refuses tensors of several devices.
pub(crate) fn same_device(op: &'static str, inputs: &[&Tensor]) -> Result<()> {
    let Some((first, others)) = inputs.split_first() else {
        return Ok(());
    };
    match others.iter().find(|x| x.device() != first.device()) {
        None => Ok(()),
        Some(other) => Err(Error::op(
            op,
            format!(
                "{first:?} lies on {:?} and {other:?} on {:?}; copy the values over: to_vec there, from_slice here",
                first.device(),
                other.device()
            ),
        )),
    }
}

/// The refusal of a gradient of a gradient.
fn twice(op: &'static str) -> Error {
    Error::op(
        op,
        "an input was computed from gradients that `backward` returned, and another wants a gradient: backward passes \
         are not recorded, so a part of the new gradient would be missing; detach() the gradient to use its values as \
         constants",
    )
}

/// Refuses inputs that want a gradient, for an op that has none: so that no gradient is cut silently.
pub fn refuse_grad(op: &'static str, inputs: &[&Tensor]) -> Result<()> {
    same_device(op, inputs)?;
    if is_grad_enabled() && inputs.iter().any(|t| t.requires_grad()) {
        return Err(Error::op(
            op,
            "this op has no gradient, but an input requires one; call detach() on it first",
        ));
    }
    Ok(())
}
