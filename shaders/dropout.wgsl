// Zeros elements at random and scales the rest.
// math: y[i] = x[i] * inv_keep_prob if word(i) >= threshold, else 0, where word(i) is word i % 4 of Philox at
//   counter (i / 4, op, step, micro-batch) and key seed
// shapes: x any strides; y that shape, contiguous
// launch: one invocation for 4 elements
// numerics: computed in f32, rounded once; which elements are kept is the same on every adapter
// backward: dropout of dy with the same state and op: the mask is made again, never stored
// reference: the formula with random::word, in ops/dropout.rs
#import common/index
#import common/random

struct Params {
    n: u32,
    offset: u32,
    y_offset: u32,
    // The number of the first block of 4.
    first: u32,
    op: u32,
    threshold: u32,
    inv_keep_prob: f32,
    shape: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (N) strided
@group(0) @binding(2) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(3) var<storage, read_write> y: array<S>; // (N)

@compute @workgroup_size(256)
fn dropout(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = linear_id(group, groups, local, 256u);
    if (block * 4u >= params.n) {
        return;
    }
    let words = words_of(block + params.first);
    let factors = select(vec4<f32>(0.0), vec4<f32>(params.inv_keep_prob), words >= vec4<u32>(params.threshold));
#ifdef VECTORS
    y[block + params.y_offset / 4u] = S(vec4<f32>(x[block + params.offset / 4u]) * factors);
#else
    for (var k = 0u; k < 4u; k++) {
        let i = block * 4u + k;
        if (i < params.n) {
#ifdef CONTIGUOUS
            let at = i + params.offset;
#else
            let at = walk8(i, params.shape[0], params.shape[1], params.strides[0], params.strides[1]) + params.offset;
#endif
            y[i + params.y_offset] = S(f32(x[at]) * factors[k]);
        }
    }
#endif
}
