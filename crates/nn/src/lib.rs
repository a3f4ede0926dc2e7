//! Neural networks over tensors: layers, initialisers, freezing, optimizers, learning-rate schedules.
//!
//! A layer is a struct of public tensors and sub-layers with a `forward`; it lists its parameters under
//! the names that PyTorch gives them. There is no module trait: a model is a struct of layers that calls
//! them.

mod embedding;
mod feed_forward;
mod freeze;
mod init;
mod linear;
mod mode;

pub mod optim;
pub mod schedule;

pub use embedding::Embedding;
pub use feed_forward::{Activation, FeedForward};
pub use freeze::{freeze, name_matches, unfreeze};
pub use init::Init;
pub use linear::Linear;
pub use mode::{Dropout, Mode};

use wgrad_tensor::Tensor;

/// Parameters with their full names, in the order of the model.
pub type Parameters = Vec<(String, Tensor)>;

/// The name of `name` inside of `prefix`: joined by a dot, or `name` itself without a prefix.
pub fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}
