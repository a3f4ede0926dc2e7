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

#[cfg(test)]
mod testing {
    //! Folders and error texts for this crate's tests.
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A fresh folder under the system's temporary folder, removed when dropped.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("wgrad-nn-test-{}-{next}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// The error's text, which must be one line.
    pub(crate) fn error_line<T>(result: wgrad_tensor::Result<T>) -> String {
        let text = result.err().expect("an error").to_string();
        assert!(!text.contains('\n'), "more than one line: {text}");
        text
    }
}
