//! Device, buffers, kernels, recording and readback
