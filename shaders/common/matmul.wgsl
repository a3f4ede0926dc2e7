// What all matrix products share: parameters, tensors, batches and the epilogue. The bindings move up by
// one where there is a bias; the input of GELU is kept for the backward pass.
#import common/math

struct Params {
    m: u32,
    n: u32,
    k: u32,
    alpha: f32,
    a_offset: u32,
    a_row: u32,
    a_col: u32,
    b_offset: u32,
    b_row: u32,
    b_col: u32,
    bias_offset: u32,
    batch: vec4<u32>,
    a_batch: vec4<u32>,
    b_batch: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXTURE
@group(0) @binding(1) var a: texture_2d<f32>; // (batch, M, K) or (batch, K, M), flat
@group(0) @binding(2) var b: texture_2d<f32>; // (batch, K, N) or (batch, N, K), flat
#else
@group(0) @binding(1) var<storage, read> a: array<S>; // (batch, M, K) strided
@group(0) @binding(2) var<storage, read> b: array<S>; // (batch, K, N) strided
#endif
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<S>; // (N)
@group(0) @binding(4) var<storage, read_write> y: array<T>; // (batch, M, N)
#ifdef GELU
@group(0) @binding(5) var<storage, read_write> pre: array<T>; // (batch, M, N)
#endif
#else
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (batch, M, N)
#endif

// The start of batch `i` in a tensor with these batch strides.
fn batch_start(i: u32, strides: vec4<u32>) -> u32 {
    let i2 = i / params.batch.w;
    let i1 = i2 / params.batch.z;
    let i0 = i1 / params.batch.y;
    return (i - i2 * params.batch.w) * strides.w + (i2 - i1 * params.batch.z) * strides.z
        + (i1 - i0 * params.batch.y) * strides.y + i0 * strides.x;
}
