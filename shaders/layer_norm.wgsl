// Normalises rows to mean 0 and variance 1, or with RMS divides them by their root mean square.
// math: y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean((x - mean)^2) + eps); with RMS mean is 0
// shapes: x and y (R, C), rows contiguous; statistics (2, R): means, then rstds
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, less the row's first element before anything is summed, the variance in a second pass;
//   lanes keep KEPT values each, without KEEP the row is read three times
// backward: layer_norm_backward, layer_norm_backward_weight
// reference: ops/layer_norm.rs
#import common/index
#import common/reduce

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    weight_offset: u32,
    weight_stride: u32,
    bias_offset: u32,
    bias_stride: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (R, C)
@group(0) @binding(2) var<storage, read> weight: array<S>; // (C) strided; unused without WEIGHT
@group(0) @binding(3) var<storage, read> bias: array<S>; // (C) strided; unused without BIAS
@group(0) @binding(4) var<storage, read_write> y: array<S>; // (R, C)
@group(0) @binding(5) var<storage, read_write> statistics: array<f32>; // (2, R)

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
#ifdef RMS
    let first = 0.0;
#else
    let first = f32(x[base + params.offset]);
#endif
    var total = 0.0;
    var squares = 0.0;
#ifdef KEEP
    var kept: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            kept[k] = f32(x[base + j + params.offset]) - first;
            total += kept[k];
        }
    }
#else
#ifndef RMS
    for (var j = lane; j < params.length; j += WIDTH) {
        total += f32(x[base + j + params.offset]) - first;
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
        let d = f32(x[base + j + params.offset]) - first - mean;
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
        store(base + j, j, (f32(x[base + j + params.offset]) - first - mean) * rstd);
    }
#endif
    if (lane == 0u) {
        statistics[row] = first + mean;
        statistics[row + params.rows] = rstd;
    }
}
