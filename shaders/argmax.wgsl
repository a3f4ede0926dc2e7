// Where the largest (or smallest) element along a dimension lies, or one pass of that.
// math: y[o, c] = the first r of c, c + chunks, ... whose x[o, r] is best, with a line
//   `fn better(a: COMPUTE, b: COMPUTE) -> bool` put in front; with CANDIDATES r is read from a pass before
// shapes: x any strides, kept dimensions as one index o; candidates and y (K, G), or (G, K) with COLUMNS
// launch: one invocation a value of y; with COLUMNS neighbours take neighbouring o
// numerics: exact; of equal elements the first wins; a NaN is better than every number
// backward: none
// reference: ops/argmax.rs
#import common/chunks
#import common/special

struct Params {
    outputs: u32,
    chunks: u32,
    length: u32,
    offset: u32,
    stride: u32,
    kept_shape: array<vec4<u32>, 2>,
    kept_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (K, R) strided
@group(0) @binding(2) var<storage, read> candidates: array<u32>; // (K, L) or (L, K); unused in the first pass
@group(0) @binding(3) var<storage, read_write> y: array<u32>; // (K, G) or (G, K)

fn candidate(o: u32, k: u32) -> u32 {
#ifdef CANDIDATES
#ifdef COLUMNS
    return candidates[k * params.outputs + o];
#else
    return candidates[o * params.length + k];
#endif
#else
    return k;
#endif
}

@compute @workgroup_size(64)
fn argmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = linear_id(group, groups, local, 64u);
    if (id >= params.outputs * params.chunks) {
        return;
    }
    let place = output_chunk(id);
    let o = place.x;
    let c = place.y;
    let base = start_of(o);
    var best = candidate(o, c);
    var value = COMPUTE(x[base + best * params.stride]);
    for (var k = c + params.chunks; k < params.length; k += params.chunks) {
        let r = candidate(o, k);
        let v = COMPUTE(x[base + r * params.stride]);
        if (better(v, value) || (!better(value, v) && r < best)) {
            best = r;
            value = v;
        }
    }
    y[id] = best;
}
