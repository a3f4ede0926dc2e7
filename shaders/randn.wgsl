// Normal random numbers, mean 0 and variance 1 (Box and Muller).
// math: for even i, with u = ((word(i) >> 8) + 1) / 2^24 and v = (word(i + 1) >> 8) / 2^24:
//   y[i] = sqrt(-2 log u) cos(2 pi v), y[i + 1] = sqrt(-2 log u) sin(2 pi v); word as in dropout
// shapes: y contiguous
// launch: one invocation for 4 elements
// numerics: f32 with our own logarithm, sine and cosine: the same on every adapter to within rounding;
//   |y| is at most 5.8
// backward: none
// reference: the formula with random::word, in ops/rand.rs
#import common/index
#import common/math
#import common/random
#import common/trig

struct Params {
    n: u32,
    y_offset: u32,
    op: u32,
    // The number of the first block of 4.
    first: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N)

// Cosine and sine of `turns` in 0..1 of a full turn: the quadrant is exact.
fn cos_sin(turns: f32) -> vec2<f32> {
    let quadrant = round(turns * 4.0);
    let a = (turns * 4.0 - quadrant) * 1.57079633;
    let q = u32(quadrant) & 3u;
    let swapped = select(vec2<f32>(cos_part(a), sin_part(a)), vec2<f32>(sin_part(a), cos_part(a)), (q & 1u) == 1u);
    return swapped * vec2<f32>(select(1.0, -1.0, q == 1u || q == 2u), select(1.0, -1.0, q >= 2u));
}

fn normal_pair(a: u32, b: u32) -> vec2<f32> {
    let u = (f32(a >> 8u) + 1.0) * 5.9604644775390625e-8;
    return sqrt(max(-2.0 * precise_log(u), 0.0)) * cos_sin(unit(b));
}

@compute @workgroup_size(256)
fn randn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = linear_id(group, groups, local, 256u);
    if (block * 4u >= params.n) {
        return;
    }
    let words = words_of(block + params.first);
    let values = vec4<f32>(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
    for (var k = 0u; k < 4u; k++) {
        let i = block * 4u + k;
        if (i < params.n) {
            y[i + params.y_offset] = values[k];
        }
    }
}
