// The gradient of layer_norm with respect to its input x, with DROPOUT also to what was dropped.
// math: g = dy * weight, h = (x - mean) * rstd; dx = rstd * (g - mean(g) - h * mean(g * h)); with RMS
//   without mean(g); with DROPOUT dropped = dropout(dx), with forward's mask
// shapes: dy, x and dx (R, C), rows contiguous; statistics (2, R): means, then rstds
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, rounded once; overwrites dx and dropped; without KEEP rows are read twice
// backward: none
// reference: ops/layer_norm/cases.rs
#import common/index
#import common/reduce
#ifdef DROPOUT
#import common/philox
#endif

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    offset: u32,
    weight_offset: u32,
    weight_stride: u32,
    op: u32,
    threshold: u32,
    keep: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_DY) var<storage, read> dy: array<S>; // (R, C)
@group(0) @binding(AT_X) var<storage, read> x: array<S>; // (R, C)
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var<storage, read> weight: array<S>; // (C) strided
#endif
@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<f32>; // (2, R)
@group(0) @binding(AT_DX) var<storage, read_write> dx: array<S>; // (R, C)
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(AT_DROPPED) var<storage, read_write> dropped: array<S>; // (R, C)
#endif

fn store(i: u32, d: f32) {
    dx[i] = S(d);
#ifdef DROPOUT
    let words = random_words(vec4<u32>(state[0], state[1], state[2], state[3]), params.op, i / 4u);
    dropped[i] = S(d * select(0.0, params.keep, words[i & 3u] >= params.threshold));
#endif
}

fn weighted(at: u32, j: u32) -> f32 {
    let d = f32(dy[at + params.dy_offset]);
#ifdef WEIGHT
    return d * f32(weight[j * params.weight_stride + params.weight_offset]);
#else
    return d;
#endif
}

@compute @workgroup_size(WIDTH)
fn layer_norm_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.length;
    let count = f32(params.length);
    let mean = statistics[row];
    let rstd = statistics[row + params.rows];
    var sum_g = 0.0;
    var sum_gh = 0.0;
#ifdef KEEP
    var g: array<f32, KEPT>;
    var h: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            g[k] = weighted(base + j, j);
            h[k] = (f32(x[base + j + params.offset]) - mean) * rstd;
            sum_g += g[k];
            sum_gh += g[k] * h[k];
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        let g = weighted(base + j, j);
        sum_g += g;
        sum_gh += g * (f32(x[base + j + params.offset]) - mean) * rstd;
    }
#endif
#ifdef RMS
    let mean_g = 0.0;
#else
    let mean_g = row_sum(sum_g, lane) / count;
#endif
    let mean_gh = row_sum(sum_gh, lane) / count;
#ifdef KEEP
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            store(base + j, rstd * (g[k] - mean_g - h[k] * mean_gh));
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        let h = (f32(x[base + j + params.offset]) - mean) * rstd;
        store(base + j, rstd * (weighted(base + j, j) - mean_g - h * mean_gh));
    }
#endif
}
