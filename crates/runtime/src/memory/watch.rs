//! Buffers that a higher layer watches: commands may use them only through that layer.
//!
//! Autograd watches the memory of tensors that require gradients. A kernel launched on them outside of the graph would
//! cut their gradients silently.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A mark on a buffer handle, shared with the layer that switches it on and off.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<AtomicBool>);

impl Watch {
    /// A mark that is on or off.
    pub fn new(on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(on)))
    }

    /// Switches the mark.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Whether the mark is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The access of a thread's commands to watched buffers.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Nothing.
    #[default]
    Refused,
    /// Use buffers with these marks.
    Only(Vec<Watch>),
    /// Use all of them.
    Allowed,
}

thread_local! {
    static ACCESS: RefCell<Access> = const { RefCell::new(Access::Refused) };
}

impl Access {
    /// Makes this the access of this thread, and returns the one before.
    pub fn replace(self) -> Access {
        ACCESS.replace(self)
    }

    /// Whether this thread may use no watched buffer.
    pub fn is_refused() -> bool {
        ACCESS.with_borrow(|access| matches!(access, Access::Refused))
    }

    /// Why a command on this thread may not use a buffer with this mark, if it may not.
    pub(crate) fn refusal(watch: &Watch) -> Option<&'static str> {
        if !watch.is_on() {
            return None;
        }
        ACCESS.with_borrow(|access| match access {
            Access::Allowed => None,
            Access::Only(known) if known.iter().any(|w| Arc::ptr_eq(&w.0, &watch.0)) => None,
            Access::Only(_) => Some(
                "wants a gradient and is no input of the op being recorded, so that its gradient would be lost; give \
                 it to `record` among the inputs, or detach() it",
            ),
            Access::Refused => Some(
                "wants a gradient, and the launch is outside of the graph, so that the gradient would be lost; launch \
                 it in the forward closure of `record`, in `no_grad`, or on a detach()ed tensor",
            ),
        })
    }
}
