//! Whether ops on this thread are put into the graph. While they are, a launch outside of the graph may not use tensors
//! that require gradients; both follow from one state of the thread.

use std::marker::PhantomData;
use std::mem::take;

use wgrad_runtime::{Access, Watch};

use crate::tensor::Tensor;

/// Whether ops on this thread are put into the graph: `true` unless a guard or closure says otherwise.
pub fn is_grad_enabled() -> bool {
    Access::is_refused()
}

/// Sets the mode of this thread and puts the earlier one back when it is dropped.
struct Guard {
    before: Access,
    /// The mode is this thread's: the guard must be dropped here.
    _thread: PhantomData<*const ()>,
}

impl Guard {
    fn new(access: Access) -> Self {
        Self {
            before: access.replace(),
            _thread: PhantomData,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        take(&mut self.before).replace();
    }
}

/// While this lives, ops on this thread leave no graph. Guards are dropped in the reverse order of their making.
///
/// ```
/// use wgrad_tensor::autograd::{NoGradGuard, is_grad_enabled};
///
/// {
///     let _guard = NoGradGuard::new();
///     assert!(!is_grad_enabled());
/// }
/// assert!(is_grad_enabled());
/// ```
#[must_use = "the mode changes back when the guard is dropped"]
pub struct NoGradGuard(#[allow(dead_code, reason = "it acts when it is dropped")] Guard);

impl NoGradGuard {
    /// Stops recording on this thread.
    #[allow(clippy::new_without_default, reason = "making one has an effect")]
    pub fn new() -> Self {
        Self(Guard::new(Access::Allowed))
    }
}

/// While this lives, ops on this thread are recorded, also within a [`no_grad`].
#[must_use = "the mode changes back when the guard is dropped"]
pub struct EnableGradGuard(#[allow(dead_code, reason = "it acts when it is dropped")] Guard);

impl EnableGradGuard {
    /// Starts recording on this thread.
    #[allow(clippy::new_without_default, reason = "making one has an effect")]
    pub fn new() -> Self {
        Self(Guard::new(Access::Refused))
    }
}

/// Runs `f` without building a graph on this thread, as PyTorch's `no_grad`: for evaluation, and for updates of
/// parameters. Results want no gradient.
///
/// ```
/// use wgrad_tensor::{Device, DeviceOptions, Tensor, no_grad};
///
/// let device = Device::open(DeviceOptions::default())?;
/// let weight = Tensor::from_slice(&device, &[2.0f32], &[1])?;
/// weight.set_requires_grad(true)?;
/// let y = no_grad(|| weight.mul(&weight))?;
/// assert!(!y.requires_grad());
/// # Ok::<(), wgrad_tensor::Error>(())
/// ```
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    let _guard = NoGradGuard::new();
    f()
}

/// Runs `f` with recording on, also within a [`no_grad`].
pub fn enable_grad<T>(f: impl FnOnce() -> T) -> T {
    let _guard = EnableGradGuard::new();
    f()
}

/// Runs the forward pass of an op with these inputs: without a graph, on no other tensors that want gradients.
pub(super) fn forward<T>(inputs: &[&Tensor], f: impl FnOnce() -> T) -> T {
    // Within another op's forward pass, the inputs of the outer op count.
    if !is_grad_enabled() {
        return f();
    }
    let differentiable = inputs.iter().filter(|input| input.requires_grad());
    let known: Vec<Watch> = differentiable
        .filter_map(|input| input.buffer().watch().cloned())
        .collect();
    let _guard = Guard::new(Access::Only(known));
    f()
}
