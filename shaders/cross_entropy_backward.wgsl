// The gradient of cross_entropy with respect to the logits.
// math: dx = g * (softmax(x) - (1 - smoothing) * [j = target] - smoothing / C), g = scale * dy, with COUNT
//   g = dy / count; 0 in rows whose target is the ignored one
// shapes: x and dx (R, C), rows contiguous; dy (R) strided; statistics (2, R): max(x), then lse(x) - max(x)
// launch: one workgroup of WIDTH lanes a row; with VECTORS they take four columns at a time
// numerics: f32, rounded once; overwrites dx, with IN_PLACE x; a target beyond C counts as C - 1
// backward: none
// reference: ops/cross_entropy.rs
#import common/elements
#import common/index

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    dy_stride: u32,
    offset: u32,
    target_offset: u32,
    target_stride: u32,
    ignored: u32,
    smoothing: f32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>; // (R) strided
#ifdef IN_PLACE
@group(0) @binding(2) var<storage, read_write> x: array<V>; // (R, C)
#else
@group(0) @binding(2) var<storage, read> x: array<V>; // (R, C)
#endif
@group(0) @binding(3) var<storage, read> targets: array<u32>; // (R) strided
@group(0) @binding(4) var<storage, read> statistics: array<f32>; // (2, R)
@group(0) @binding(5) var<storage, read> count: array<f32>; // (1); unused without COUNT
#ifndef IN_PLACE
@group(0) @binding(6) var<storage, read_write> dx: array<V>; // (R, C)
#endif

fn store(at: u32, d: V) {
#ifdef IN_PLACE
    x[at + params.offset / LANES] = d;
#else
    dx[at] = d;
#endif
}

@compute @workgroup_size(WIDTH)
fn cross_entropy_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let base = row * params.length;
    let top = statistics[row];
    let log_total = statistics[params.rows + row];
    let label = targets[row * params.target_stride + params.target_offset];
    let at_target = min(label, params.length - 1u);
    var g = dy[row * params.dy_stride + params.dy_offset];
#ifdef COUNT
    g = g / count[0];
#else
    g = g * params.scale;
#endif
#ifdef IGNORE
    g = select(g, 0.0, label == params.ignored);
#endif
    let even = params.smoothing / f32(params.length);
#ifdef VECTORS
    for (var j = lane; j < columns(); j += WIDTH) {
        let v = vec4<f32>(x[(base + params.offset) / 4u + j]) - top - log_total;
        let p = exponential(v);
        let hit = vec4<u32>(4u * j) + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(at_target);
        store(base / 4u + j, V(g * (p - even - select(vec4<f32>(), vec4<f32>(1.0 - params.smoothing), hit))));
    }
#else
    for (var j = lane; j < params.length; j += WIDTH) {
        let p = exp_nonpositive(f32(x[base + j + params.offset]) - top - log_total);
        store(base + j, V(g * (p - even - select(0.0, 1.0 - params.smoothing, j == at_target))));
    }
#endif
}
