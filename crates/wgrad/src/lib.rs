#![doc = include_str!("../../../README.md")]

pub use wgrad_models as models;
pub use wgrad_nn as nn;
pub use wgrad_runtime as runtime;
pub use wgrad_tensor as tensor;
pub use wgrad_train as train;

/// What most programs use.
pub mod prelude {
    pub use wgrad_nn::optim::{Adam, Optimizer, ParamGroup, Sgd};
    pub use wgrad_nn::{
        Dropout, Embedding, FeedForward, LayerNorm, Linear, Mode, MultiHeadAttention,
    };
    pub use wgrad_tensor::{
        Attention, DType, Device, DeviceOptions, Generator, Gradients, Tensor, no_grad,
        scaled_dot_product_attention,
    };
}
