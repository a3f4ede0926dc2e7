//! Neural networks over tensors: layers, initialisers, freezing, optimizers, learning-rate schedules.
//!
//! A model is a struct of layers with `#[derive(Module)]`, a constructor that takes a [`VarBuilder`], and a
//! `forward` of its own. [`Module`] gives its parameters by PyTorch's names; [`VarBuilder`] makes them, fresh or
//! from a file.
//!
//! ```no_run
//! use wgrad_nn::optim::{AdamW, AdamWConfig, Optimizer, no_decay};
//! use wgrad_nn::{Linear, Module, VarBuilder};
//! use wgrad_tensor::{Generator, Result, Tensor};
//!
//! fn fit(x: &Tensor, y: &Tensor) -> Result<f32> {
//!     let generator = Generator::new(x.device(), 0)?;
//!     let layer = Linear::new(4, 1, &VarBuilder::fresh(x.device(), &generator))?;
//!     let groups = no_decay(layer.named_parameters(), 0.01);
//!     let config = AdamWConfig { lr: 1e-2, ..Default::default() };
//!     let mut optimizer = AdamW::new(groups, config)?;
//!     for _ in 0..100 {
//!         let error = layer.forward(x)?.sub(y)?;
//!         let loss = error.mul(&error)?.mean_all()?;
//!         optimizer.step(&loss.backward()?, Some(1.0))?;
//!     }
//!     let error = layer.forward(x)?.sub(y)?;
//!     error.mul(&error)?.mean_all()?.item()
//! }
//! ```

// The code that `#[derive(Module)]` writes names this crate by its full name, in here too.
extern crate self as wgrad_nn;

mod attention;
#[cfg(test)]
mod common_tests;
mod embedding;
mod feed_forward;
mod freeze;
mod grouped_query;
mod init;
mod kv_cache;
mod linear;
pub mod lora;
mod mode;
mod module;
mod norm;
pub mod optim;
mod rotary;
pub mod safetensors;
pub mod schedule;
mod state;
mod var_builder;

pub use attention::{AttentionNames, MultiHeadAttention};
pub use embedding::Embedding;
pub use feed_forward::{FeedForward, SwiGlu};
pub use freeze::{freeze, name_matches, unfreeze};
pub use grouped_query::{GroupedQueryAttention, GroupedQueryCall, GroupedQueryConfig};
pub use init::Init;
pub use kv_cache::KvCache;
pub use linear::{Linear, LinearCall};
pub use mode::{Dropout, Mode};
pub use module::{Kind, Module, Parameters, Visitor, join};
pub use norm::{LayerNorm, RMSNorm};
pub use rotary::{RotaryEmbedding, RotaryPairs};
pub use safetensors::{load, save, save_tensors};
pub use state::{LoadReport, load_from, load_state_dict};
pub use var_builder::{TensorSource, VarBuilder};
pub use wgrad_derive::Module;
pub use wgrad_tensor::Activation;
