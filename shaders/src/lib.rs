//! The WGSL kernels of wgrad, embedded
