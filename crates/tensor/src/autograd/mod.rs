//! Autograd: [`record()`] puts an op into the graph, `backward` walks the graph from the newest node to the oldest.
//!
//! `grad_mode` (is a graph being built on this thread?) ← `sums` (gradients found so far) ← `node` (one op: inputs,
//! saved tensors, rule) ← `record` ← `backward` ← `checkpoint`.

mod backward;
mod checkpoint;
pub(crate) mod draws;
mod grad_mode;
mod node;
mod record;
mod sums;

pub use backward::Gradients;
pub use checkpoint::checkpoint;
pub use grad_mode::{EnableGradGuard, NoGradGuard, enable_grad, is_grad_enabled, no_grad};
pub(crate) use node::Node;
pub use node::{Context, Saved};
pub use record::{record, refuse_grad};
pub(crate) use record::{record_narrow, record_view, record_with, same_device};
