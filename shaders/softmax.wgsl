// Softmax along rows.
// math: y = exp(v - m) / sum(exp(v - m)), v = scale * x, m = max(v); with LOG y = v - m - log(sum(exp(v - m)));
//   where a key is masked y is 0, also in a row with no key left; with CAUSAL query i sees keys 0 to i + C - T
// shapes: rows contiguous; with MASK and CAUSAL a row is (b, h, i) of scores (B, H, T, C), the mask (B, C)
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, precise_exp; without CACHE the row is read three times
// backward: softmax_backward
// reference: ops/softmax.rs
#import common/rows

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
@group(0) @binding(1) var<storage, read> x: array<V>; // (R, C)
@group(0) @binding(2) var<storage, read_write> y: array<V>; // (R, C)
#ifdef MASK
@group(0) @binding(3) var<storage, read> mask: array<u32>; // (B, C)
#endif

// The value of a masked key: below every other, and finite.
const MASKED: f32 = -3.4028234e38;

// Where the row begins in x and in the mask, and its query.
var<private> base: u32;
var<private> mask_base: u32;
var<private> query: u32;

// v, or MASKED where key j is not to be seen.
fn hide(v: f32, j: u32) -> f32 {
#ifdef MASK
    if (mask[mask_base + j] == 0u) {
        return MASKED;
    }
#endif
#ifdef CAUSAL
    if (j + params.queries > query + params.length) {
        return MASKED;
    }
#endif
    return v;
}

// Scaled element j of the row.
fn load(j: u32) -> E {
    let v = E(x[base + j]) * params.scale;
#ifdef HIDES
#ifdef VECTORS
    return E(hide(v.x, 4u * j), hide(v.y, 4u * j + 1u), hide(v.z, 4u * j + 2u), hide(v.w, 4u * j + 3u));
#else
    return hide(v, j);
#endif
#else
    return v;
#endif
}

// exp(v - top), which is nothing for a masked key.
fn weight(v: E, top: f32) -> E {
#ifdef HIDES
    return select(exponential(v - top), E(), v == E(MASKED));
#else
    return exponential(v - top);
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
    base = (row * params.length + params.offset) / LANES;
    mask_base = row / params.rows_per_batch * params.length + params.mask_offset;
    query = row % params.queries;
    var top = MASKED;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let v = load(j);
            cache(k, v);
            top = max(top, hmax(v));
        }
    }
    top = row_max(top, lane);
    var total = 0.0;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let e = weight(value(k, j), top);
            total += hsum(e);
#ifndef LOG
            cache(k, e);
#endif
        }
    }
    total = row_sum(total, lane);
#ifdef LOG
    // Subtract the maximum first: values far from 0 keep their digits.
    let log_total = precise_log(total);
#else
#ifdef HIDES
    let inverse = select(1.0 / total, 0.0, total == 0.0);
#else
    // The sum of a row of minus infinities is 0; 0 times infinity is NaN, as in PyTorch.
    let inverse = reciprocal(total);
#endif
#endif
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
#ifdef LOG
            y[row * columns() + j] = V(value(k, j) - top - log_total);
#else
#ifdef CACHE
            y[row * columns() + j] = V(value(k, j) * inverse);
#else
            y[row * columns() + j] = V(weight(value(k, j), top) * inverse);
#endif
#endif
        }
    }
}
