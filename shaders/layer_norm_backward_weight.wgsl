// The gradients of layer_norm with respect to weight and bias, summed over some of the rows.
// math: dw[c, j] = sum of dy * (x - mean) * rstd, db[c, j] = sum of dy, over rows c, c + chunks, ...
// shapes: dy and x (R, C), rows contiguous; statistics (2, R): means, then rstds; partials (G, 2, C): dw, db
// launch: one invocation four columns, a quarter of C apart, and a chunk; neighbours on neighbouring columns
// numerics: f32 in a fixed order; overwrites partials, which reduce then sums
// backward: none
// reference: ops/layer_norm/cases.rs
#import common/index

struct Params {
    rows: u32,
    length: u32,
    chunks: u32,
    dy_offset: u32,
    offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<S>; // (R, C)
@group(0) @binding(2) var<storage, read> x: array<S>; // (R, C)
@group(0) @binding(3) var<storage, read> statistics: array<f32>; // (2, R)
@group(0) @binding(4) var<storage, read_write> partials: array<f32>; // (G, 2, C)

@compute @workgroup_size(64)
fn layer_norm_backward_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = linear_id(group, groups, local, 64u);
    // Four columns share the loads of the statistics.
    let quarter = (params.length + 3u) / 4u;
    if (id >= quarter * params.chunks) {
        return;
    }
    let c = id / quarter;
    let first = id - c * quarter;
    var dw = vec4<f32>();
    var db = vec4<f32>();
    for (var row = c; row < params.rows; row += params.chunks) {
        let mean = statistics[row];
        let rstd = statistics[row + params.rows];
        for (var q = 0u; q < 4u; q++) {
            let j = first + q * quarter;
            if (j < params.length) {
                let at = row * params.length + j;
                let d = f32(dy[at + params.dy_offset]);
                dw[q] += d * (f32(x[at + params.offset]) - mean) * rstd;
                db[q] += d;
            }
        }
    }
    for (var q = 0u; q < 4u; q++) {
        let j = first + q * quarter;
        if (j < params.length) {
            partials[2u * c * params.length + j] = dw[q];
            partials[(2u * c + 1u) * params.length + j] = db[q];
        }
    }
}
