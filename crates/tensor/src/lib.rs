//! Tensors, autograd and ops
