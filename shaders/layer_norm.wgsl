// Normalises rows to mean 0 and variance 1, or with RMS divides them by their root mean square; with RESIDUAL
// those of a sum.
// math: y = (v - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean((v - mean)^2) + eps); with RMS mean is 0;
//   v = x, with RESIDUAL v = total = residual + x, with DROPOUT v = total = residual + dropout(x)
// shapes: x, residual, total and y (R, C), rows contiguous; statistics (2, R): means, then rstds
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, less the row's first element before anything is summed, the variance in a second pass;
//   lanes keep KEPT values each, without KEEP the row is read three times
// backward: layer_norm_backward, layer_norm_backward_weight
// reference: ops/layer_norm/cases.rs
#import common/index
#import common/reduce
#ifdef DROPOUT
#import common/philox
#endif

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    weight_offset: u32,
    weight_stride: u32,
    bias_offset: u32,
    bias_stride: u32,
    eps: f32,
    residual_offset: u32,
    op: u32,
    threshold: u32,
    keep: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_X) var<storage, read> x: array<S>; // (R, C)
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var<storage, read> weight: array<S>; // (C) strided
#endif
#ifdef BIAS
@group(0) @binding(AT_BIAS) var<storage, read> bias: array<S>; // (C) strided
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<S>; // (R, C)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<f32>; // (2, R)
#ifdef RESIDUAL
@group(0) @binding(AT_RESIDUAL) var<storage, read> residual: array<S>; // (R, C)
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_TOTAL) var<storage, read_write> total: array<S>; // (R, C)
#endif

// Element i of what is normalised. Each is read by one lane only.
fn load(i: u32) -> f32 {
#ifdef RESIDUAL
    return f32(total[i]);
#else
    return f32(x[i + params.offset]);
#endif
}

#ifdef RESIDUAL
fn add_residual(i: u32) {
    var v = f32(x[i + params.offset]);
#ifdef DROPOUT
    let words = random_words(vec4<u32>(state[0], state[1], state[2], state[3]), params.op, i / 4u);
    v = v * select(0.0, params.keep, words[i & 3u] >= params.threshold);
#endif
    total[i] = S(v + f32(residual[i + params.residual_offset]));
}
#endif

fn store(at: u32, j: u32, normal: f32) {
    var v = normal;
#ifdef WEIGHT
    v = v * f32(weight[j * params.weight_stride + params.weight_offset]);
#endif
#ifdef BIAS
    v = v + f32(bias[j * params.bias_stride + params.bias_offset]);
#endif
    y[at] = S(v);
}

@compute @workgroup_size(WIDTH)
fn layer_norm(
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
#ifdef RESIDUAL
    for (var j = lane; j < params.length; j += WIDTH) {
        add_residual(base + j);
    }
#endif
#ifdef RMS
    let first = 0.0;
#else
    // Every lane needs the same number to take away: the first, without what lies on it.
#ifdef RESIDUAL
    let first = f32(residual[base + params.residual_offset]);
#else
    let first = f32(x[base + params.offset]);
#endif
#endif
    var total = 0.0;
    var squares = 0.0;
#ifdef KEEP
    var kept: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            kept[k] = load(base + j) - first;
            total += kept[k];
        }
    }
#else
#ifndef RMS
    for (var j = lane; j < params.length; j += WIDTH) {
        total += load(base + j) - first;
    }
#endif
#endif
#ifdef RMS
    let mean = 0.0;
#else
    let mean = row_sum(total, lane) / count;
#endif
#ifdef KEEP
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            kept[k] = kept[k] - mean;
            squares += kept[k] * kept[k];
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        let d = load(base + j) - first - mean;
        squares += d * d;
    }
#endif
    let rstd = 1.0 / sqrt(row_sum(squares, lane) / count + params.eps);
#ifdef KEEP
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            store(base + j, j, kept[k] * rstd);
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        store(base + j, j, (load(base + j) - first - mean) * rstd);
    }
#endif
    if (lane == 0u) {
        statistics[row] = first + mean;
        statistics[row + params.rows] = rstd;
    }
}
