//! Neural networks over tensors: layers, initialisers, freezing, optimizers, learning-rate schedules.
//!
//! A layer is a struct of public tensors and sub-layers with a `forward`; it lists its parameters under
//! the names that PyTorch gives them. There is no module trait: a model is a struct of layers that calls
//! them.
//!
//! ```no_run
//! use wgrad_nn::optim::{Adam, Optimizer, no_decay};
//! use wgrad_nn::{Linear, Parameters};
//! use wgrad_tensor::{Generator, Result, Tensor};
//!
//! fn fit(x: &Tensor, y: &Tensor) -> Result<f32> {
//!     let generator = Generator::new(x.device(), 0)?;
//!     let layer = Linear::new(x.device(), 4, 1, &generator)?;
//!     let mut parameters = Parameters::new();
//!     layer.parameters("layer", &mut parameters);
//!     let mut optimizer = Optimizer::adamw(Adam::default(), no_decay(parameters, 0.01), 1e-2)?;
//!     for _ in 0..100 {
//!         let error = layer.forward(x)?.sub(y)?;
//!         let loss = error.mul(&error)?.mean_all()?;
//!         optimizer.step(&loss.backward()?, Some(1.0))?;
//!     }
//!     let error = layer.forward(x)?.sub(y)?;
//!     error.mul(&error)?.mean_all()?.item()
//! }
//! ```

mod attention;
mod embedding;
mod feed_forward;
mod freeze;
mod init;
mod linear;
mod mode;
mod norm;
pub mod optim;
pub mod schedule;

pub use attention::MultiHeadAttention;
pub use embedding::Embedding;
pub use feed_forward::{Activation, FeedForward};
pub use freeze::{freeze, name_matches, unfreeze};
pub use init::Init;
pub use linear::Linear;
pub use mode::{Dropout, Mode};
pub use norm::LayerNorm;

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
