// Cross-entropy of logits and target classes, row by row, without forming the softmax.
// math: loss = lse(x) - (1 - smoothing) * x[target] - smoothing * mean(x), lse(x) = log(sum(exp(x))); 0 where
//   the target is the ignored one
// shapes: x (R, C), rows contiguous; statistics (2, R): max(x), then lse(x) - max(x); with COUNT loss is
//   (2, R): losses, then 1 where the row counts and 0 where it is ignored
// launch: one workgroup of WIDTH lanes a row; with VECTORS they read four columns at a time
// numerics: f32, one pass with an online maximum; a target beyond C counts as C - 1
// backward: cross_entropy_backward
// reference: ops/cross_entropy.rs
#import common/elements
#import common/index
#import common/reduce

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    target_offset: u32,
    target_stride: u32,
    ignored: u32,
    smoothing: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<V>; // (R, C)
@group(0) @binding(2) var<storage, read> targets: array<u32>; // (R) strided
@group(0) @binding(3) var<storage, read_write> loss: array<f32>; // (R), with COUNT (2, R)
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>; // (2, R)

fn logit(i: u32) -> f32 {
#ifdef VECTORS
    return f32(x[i / 4u][i & 3u]);
#else
    return f32(x[i]);
#endif
}

@compute @workgroup_size(WIDTH)
fn cross_entropy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.length + params.offset;
    let first = logit(base);
    var top = -3.4028234e38;
    var total = 0.0;
    var above = 0.0;
    // When a larger value appears, the sum so far is scaled to it.
#ifdef VECTORS
    for (var j = lane; j < columns(); j += WIDTH) {
        let v = vec4<f32>(x[base / 4u + j]);
        let higher = max(top, hmax(v));
        total = total * exp_nonpositive(top - higher) + hsum(exponential(v - higher));
        top = higher;
#ifdef SMOOTH
        above += hsum(v - first);
#endif
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        let v = f32(x[base + j]);
        let e = exp_nonpositive(-abs(v - top));
        total = select(total + e, total * e + 1.0, v > top);
        top = max(v, top);
#ifdef SMOOTH
        above += v - first;
#endif
    }
#endif
    let lane_top = top;
    top = row_max(top, lane);
    total = row_sum(total * exp_nonpositive(lane_top - top), lane);
#ifdef SMOOTH
    above = row_sum(above, lane) / f32(params.length);
#endif
    if (lane > 0u) {
        return;
    }
    let label = targets[row * params.target_stride + params.target_offset];
    let at_target = logit(base + min(label, params.length - 1u));
    let log_total = precise_log(total);
    // Differences before sums: logits far from 0 cost no digits.
    var value = log_total + (1.0 - params.smoothing) * (top - at_target);
#ifdef SMOOTH
    value += params.smoothing * (top - first - above);
#endif
#ifdef IGNORE
    let counts = label != params.ignored;
    value = select(0.0, value, counts);
#ifdef COUNT
    loss[params.rows + row] = select(0.0, 1.0, counts);
#endif
#endif
    loss[row] = value;
    statistics[row] = top;
    statistics[params.rows + row] = log_total;
}
