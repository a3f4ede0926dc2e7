// The gradient of layer_norm with respect to its input x, with DROPOUT also with respect to the input of the dropout.
// math: g = dy * weight, h = (x - mean) * rstd; dx = rstd * (g - mean(g) - h * mean(g * h)); with RMS
//   without mean(g); with DROPOUT dropped = dropout(dx), with forward's mask
// shapes: dy, x and dx (R, C), rows contiguous; statistics (2, R): means, then rstds
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, rounded once; overwrites dx and dropped; without CACHE rows are read twice
// backward: none
// reference: ops/layer_norm/cases.rs
#import common/rows

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    offset: u32,
    weight_offset: u32,
    weight_stride: u32,
    op: u32,
    threshold: u32,
    inv_keep_prob: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_DY) var<storage, read> dy: array<V>; // (R, C)
@group(0) @binding(AT_X) var<storage, read> x: array<V>; // (R, C)
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var<storage, read> weight: array<W>; // (C) strided
#endif
@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<f32>; // (2, R)
@group(0) @binding(AT_DX) var<storage, read_write> dx: array<V>; // (R, C)
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(AT_DROPPED) var<storage, read_write> dropped: array<V>; // (R, C)
#endif

// Where the row begins, and its statistics.
var<private> base: u32;
var<private> mean: f32;
var<private> rstd: f32;

// g and h.
fn load(j: u32) -> E {
    let d = E(dy[base + j + params.dy_offset / LANES]);
#ifdef WEIGHT
    return d * E(weight[j * params.weight_stride + params.weight_offset / LANES]);
#else
    return d;
#endif
}

fn load_second(j: u32) -> E {
    return (E(x[base + j + params.offset / LANES]) - mean) * rstd;
}

fn store(i: u32, d: E) {
    dx[i] = V(d);
#ifdef DROPOUT
    dropped[i] = V(dropout(d, i));
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
    base = row * columns();
    mean = statistics[row];
    rstd = statistics[row + params.rows];
    let count = f32(params.length);
    var sum_g = 0.0;
    var sum_gh = 0.0;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let g = load(j);
            let h = load_second(j);
            cache(k, g);
            cache_second(k, h);
            sum_g += hsum(g);
            sum_gh += hsum(g * h);
        }
    }
#ifdef RMS
    let mean_g = 0.0;
#else
    let mean_g = row_sum(sum_g, lane) / count;
#endif
    let mean_gh = row_sum(sum_gh, lane) / count;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            store(base + j, rstd * (value(k, j) - mean_g - second(k, j) * mean_gh));
        }
    }
}
