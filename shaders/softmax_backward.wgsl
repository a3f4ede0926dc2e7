// The gradient of softmax along rows.
// math: dx = scale * y * (dy - sum(dy * y)); with LOG dx = dy - exp(y) * sum(dy)
// shapes: all (R, C), rows contiguous
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, rounded once; overwrites dx; without KEEP rows are read twice
// backward: none
// reference: ops/softmax.rs
#import common/index
#import common/math
#import common/reduce

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<S>; // (R, C)
@group(0) @binding(2) var<storage, read> y: array<S>; // (R, C)
@group(0) @binding(3) var<storage, read_write> dx: array<S>; // (R, C)

// What is summed over the row.
fn term(d: f32, v: f32) -> f32 {
#ifdef LOG
    return d;
#else
    return d * v;
#endif
}

fn gradient(d: f32, v: f32, total: f32) -> f32 {
#ifdef LOG
    return d - precise_exp(v) * total;
#else
    return params.scale * v * (d - total);
#endif
}

@compute @workgroup_size(WIDTH)
fn softmax_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.length;
    var total = 0.0;
#ifdef KEEP
    var d: array<f32, KEPT>;
    var v: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            d[k] = f32(dy[base + j + params.dy_offset]);
            v[k] = f32(y[base + j]);
            total += term(d[k], v[k]);
        }
    }
    total = row_sum(total, lane);
    for (var k = 0u; k < KEPT; k++) {
        let j = k * WIDTH + lane;
        if (j < params.length) {
            dx[base + j] = S(gradient(d[k], v[k], total));
        }
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        total += term(f32(dy[base + j + params.dy_offset]), f32(y[base + j]));
    }
    total = row_sum(total, lane);
    for (var j = lane; j < params.length; j += WIDTH) {
        dx[base + j] = S(gradient(f32(dy[base + j + params.dy_offset]), f32(y[base + j]), total));
    }
#endif
}
