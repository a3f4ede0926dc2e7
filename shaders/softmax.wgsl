// Softmax along rows.
// math: y = exp(v - m) / sum(exp(v - m)), v = scale * x, m = max(v); with LOG y = v - m - log(sum(exp(v - m)));
//   where a key is masked y is 0, also in a row with no key left
// shapes: rows contiguous; with MASK and CAUSAL a row is (b, h, i) of scores (B, H, T, C), the mask (B, C)
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, precise_exp; lanes keep KEPT values each, without KEEP the row is read twice
// backward: softmax_backward
// reference: ops/softmax.rs
#import common/index
#import common/math
#import common/reduce

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    scale: f32,
    mask_offset: u32,
    queries: u32,
    rows_per_batch: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (R, C)
@group(0) @binding(2) var<storage, read> mask: array<u32>; // (B, C); unused without MASK
@group(0) @binding(3) var<storage, read_write> y: array<S>; // (R, C)

// The value of a masked key: below every other, and finite.
const MASKED: f32 = -3.4028234e38;

// Scaled element j of a row; MASKED where its key is not to be seen.
fn load(base: u32, mask_base: u32, query: u32, j: u32) -> f32 {
    var v = f32(x[base + j + params.offset]) * params.scale;
#ifdef MASK
    if (mask[mask_base + j] == 0u) {
        v = MASKED;
    }
#endif
#ifdef CAUSAL
    if (j > query) {
        v = MASKED;
    }
#endif
    return v;
}

// What an exponential counts: nothing for a masked key.
fn visible(v: f32, e: f32) -> f32 {
#ifdef HIDES
    return select(e, 0.0, v == MASKED);
#else
    return e;
#endif
}

@compute @workgroup_size(WIDTH)
fn softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.length;
    let mask_base = row / params.rows_per_batch * params.length + params.mask_offset;
    let query = row % params.queries;
    var top = MASKED;
    var total = 0.0;
#ifdef KEEP
    var kept: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            kept[k] = load(base, mask_base, query, j);
            top = max(top, kept[k]);
        }
    }
    top = row_max(top, lane);
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            let e = visible(kept[k], precise_exp(kept[k] - top));
            total += e;
#ifndef LOG
            kept[k] = e;
#endif
        }
    }
    total = row_sum(total, lane);
#else
    // One pass: whenever a larger value appears, what was summed so far is scaled to it.
    for (var j = lane; j < params.length; j += WIDTH) {
        let v = load(base, mask_base, query, j);
        let e = precise_exp(-abs(v - top));
        let larger = v > top;
        total = select(total + visible(v, e), total * e + 1.0, larger);
        top = max(v, top);
    }
    let lane_top = top;
    top = row_max(top, lane);
    total = row_sum(total * precise_exp(lane_top - top), lane);
#endif
#ifdef LOG
    // Less the maximum first: values far from 0 keep their digits.
    let log_total = precise_log(total);
#else
    let inverse = select(1.0 / total, 0.0, total == 0.0);
#endif
#ifdef KEEP
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
#ifdef LOG
            y[base + j] = S(kept[k] - top - log_total);
#else
            y[base + j] = S(kept[k] * inverse);
#endif
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
#ifdef LOG
        y[base + j] = S(load(base, mask_base, query, j) - top - log_total);
#else
        let v = load(base, mask_base, query, j);
        y[base + j] = S(visible(v, precise_exp(v - top)) * inverse);
#endif
    }
#endif
}
