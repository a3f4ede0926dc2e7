// Uniform random numbers.
// math: y[i] = low + (high - low) * (word(i) >> 8) / 2^24, word as in dropout
// shapes: y contiguous
// launch: one invocation for 4 elements
// numerics: exact for low 0 and high 1; else rounded twice
// backward: none
// reference: the formula with random::word, in ops/rand.rs
#import common/index
#import common/random

struct Params {
    n: u32,
    y_offset: u32,
    op: u32,
    // The number of the first block of 4.
    first: u32,
    low: f32,
    width: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N)

@compute @workgroup_size(256)
fn rand(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = linear_id(group, groups, local, 256u);
    if (block * 4u >= params.n) {
        return;
    }
    let words = words_of(block + params.first);
    for (var k = 0u; k < 4u; k++) {
        let i = block * 4u + k;
        if (i < params.n) {
            y[i + params.y_offset] = params.low + params.width * unit(words[k]);
        }
    }
}
