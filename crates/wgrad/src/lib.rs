#![doc = include_str!("../../../README.md")]

pub use wgrad_models as models;
pub use wgrad_runtime as runtime;
pub use wgrad_tensor as tensor;
pub use wgrad_train as train;

/// Neural networks: modules, layers, optimizers, schedules.
pub mod nn {
    // The derive names this crate, so that programs need no other dependency. It stands before the one below.
    pub use wgrad_derive::FacadeModule as Module;
    pub use wgrad_nn::*;
}

/// What most programs use.
pub mod prelude {
    pub use crate::nn::{self, Module};
    pub use wgrad_nn::optim::{
        Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, ParamGroup, Sgd, SgdConfig, no_decay,
    };
    pub use wgrad_nn::{
        Activation, Dropout, Embedding, FeedForward, GroupedQueryAttention, Init, LayerNorm,
        Linear, LoadReport, Mode, MultiHeadAttention, Parameters, RMSNorm, RotaryEmbedding, SwiGlu,
        TensorSource, VarBuilder, freeze, unfreeze,
    };
    pub use wgrad_tensor::ops::cross_entropy::CrossEntropy;
    pub use wgrad_tensor::ops::losses::Reduction;
    pub use wgrad_tensor::{
        Attention, DType, Device, DeviceOptions, Generator, Gradients, NoGradGuard, Tensor,
        checkpoint, enable_grad, no_grad, record, scaled_dot_product_attention,
    };
}
