// Normalises rows to mean 0 and variance 1, or with RMS divides them by their root mean square; with RESIDUAL
// those of a sum.
// math: y = (v - mean) * rstd * weight + bias, rstd = 1 / sqrt(mean((v - mean)^2) + eps); with RMS mean is 0;
//   v = x, with RESIDUAL v = total = residual + x, with DROPOUT v = total = residual + dropout(x)
// shapes: x, residual, total and y (R, C), rows contiguous; weight and bias (C), of f32 or the type of x;
//   statistics (2, R): means, then rstds
// launch: one workgroup of WIDTH lanes a row
// numerics: f32; the row's first element is subtracted before any sum, the variance takes a second pass;
//   without CACHE the row is read three times
// backward: layer_norm_backward, layer_norm_backward_weight
// reference: ops/layer_norm/cases.rs
#import common/rows

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
    inv_keep_prob: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_X) var<storage, read> x: array<V>; // (R, C)
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var<storage, read> weight: array<W>; // (C) strided
#endif
#ifdef BIAS
@group(0) @binding(AT_BIAS) var<storage, read> bias: array<W>; // (C) strided
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<V>; // (R, C)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<f32>; // (2, R)
#ifdef RESIDUAL
@group(0) @binding(AT_RESIDUAL) var<storage, read> residual: array<V>; // (R, C)
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_TOTAL) var<storage, read_write> total: array<V>; // (R, C)
#endif

// Where the row begins, and a number near its values, taken away before anything is summed.
var<private> base: u32;
var<private> first: f32;

// Element j of what is normalised. Each is read by one lane only.
fn load(j: u32) -> E {
#ifdef RESIDUAL
    return E(total[base + j]) - first;
#else
    return E(x[base + j + params.offset / LANES]) - first;
#endif
}

// The same in the first pass, which with RESIDUAL makes the sum.
fn load_first(j: u32) -> E {
#ifdef RESIDUAL
    let i = base + j;
    var v = E(x[i + params.offset / LANES]);
#ifdef DROPOUT
    v = dropout(v, i);
#endif
    let sum = V(v + E(residual[i + params.residual_offset / LANES]));
    total[i] = sum;
    return E(sum) - first;
#else
    return load(j);
#endif
}

fn store(j: u32, normal: E) {
    var v = normal;
#ifdef WEIGHT
    v = v * E(weight[j * params.weight_stride + params.weight_offset / LANES]);
#endif
#ifdef BIAS
    v = v + E(bias[j * params.bias_stride + params.bias_offset / LANES]);
#endif
    y[base + j] = V(v);
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
    base = row * columns();
    let count = f32(params.length);
#ifndef RMS
    // The first value of the row of x, or with RESIDUAL of the residual; the same for every lane.
#ifdef RESIDUAL
    let near = E(residual[base + params.residual_offset / LANES]);
#else
    let near = E(x[base + params.offset / LANES]);
#endif
#ifdef VECTORS
    first = near.x;
#else
    first = near;
#endif
    var sum = 0.0;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let v = load_first(j);
            cache(k, v);
            sum += hsum(v);
        }
    }
    let mean = row_sum(sum, lane) / count;
#else
    let mean = 0.0;
#endif
    var squares = 0.0;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
#ifdef RMS
            let d = load_first(j);
            cache(k, d);
#else
            let d = value(k, j) - mean;
#endif
            squares += hsum(d * d);
        }
    }
    let rstd = 1.0 / sqrt(row_sum(squares, lane) / count + params.eps);
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            store(j, (value(k, j) - mean) * rstd);
        }
    }
    if (lane == 0u) {
        statistics[row] = first + mean;
        statistics[row + params.rows] = rstd;
    }
}
