//! Train, fine-tune and run neural networks on any GPU through WebGPU: Vulkan, Metal and DX12.

pub use wgrad_models as models;
pub use wgrad_nn as nn;
pub use wgrad_runtime as runtime;
pub use wgrad_tensor as tensor;
pub use wgrad_train as train;
