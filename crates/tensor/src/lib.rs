//! Tensors on a device, autograd, and the ops: each op's shape rule, forward, backward, float64
//! reference and test cases stand in one file under `ops/`.
//!
//! Ops take values to be finite. Their kernels neither make nor test for infinities and NaN (a driver may assume
//! that there are none), so results need not preserve them: `exp`, `tanh`, `sigmoid`, `softmax`, `relu` and `clamp`
//! of NaN give some number, and so does `log` of a number that is not positive. Check for them in inputs, losses and
//! the norm of gradients.

pub mod autograd;
pub mod cases;
mod display;
mod dtype;
mod error;
mod host;
pub mod ops;
pub mod random;
pub mod shape;
mod tensor;
pub mod testing;

pub use autograd::{Gradients, NoGradGuard, checkpoint, enable_grad, no_grad, record};
pub use dtype::DType;
pub use error::{Error, Result};
pub use host::Element;
pub use ops::activation::Activation;
pub use ops::attention::{Attention, attention_packed, scaled_dot_product_attention};
pub use ops::layer_norm::Norm;
pub use ops::matmul::LinearOptions;
pub use ops::rope::{Rope, rope_frequencies, rope_table};
pub use random::Generator;
pub use tensor::Tensor;
pub use wgrad_runtime::{self as runtime, Device, DeviceOptions};
