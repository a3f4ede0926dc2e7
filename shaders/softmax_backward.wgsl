// The gradient of softmax along rows.
// math: dx = scale * y * (dy - sum(dy * y)); with LOG dx = dy - exp(y) * sum(dy)
// shapes: all (R, C), rows contiguous
// launch: one workgroup of WIDTH lanes a row
// numerics: f32, rounded once; overwrites dx; without CACHE rows are read twice
// backward: none
// reference: ops/softmax.rs
#import common/rows

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<V>; // (R, C)
@group(0) @binding(2) var<storage, read> y: array<V>; // (R, C)
@group(0) @binding(3) var<storage, read_write> dx: array<V>; // (R, C)

// Where the row begins in y.
var<private> base: u32;

fn load(j: u32) -> E {
    return E(dy[base + j + params.dy_offset / LANES]);
}

fn load_second(j: u32) -> E {
    return E(y[base + j]);
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
    base = row * columns();
    var total = 0.0;
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let d = load(j);
            let v = load_second(j);
            cache(k, d);
            cache_second(k, v);
#ifdef LOG
            total += hsum(d);
#else
            total += hsum(d * v);
#endif
        }
    }
    total = row_sum(total, lane);
    for (var k = 0u; k < rounds(); k++) {
        let j = k * WIDTH + lane;
        if (j < columns()) {
            let d = value(k, j);
            let v = second(k, j);
#ifdef LOG
            dx[base + j] = V(d - exponential(v) * total);
#else
            dx[base + j] = V(params.scale * v * (d - total));
#endif
        }
    }
}
