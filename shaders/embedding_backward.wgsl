// Sums the gradients of positions with the same id. Sorting has put these positions side by side.
// math: without ACROSS, for the first place s of each id in a block of BLOCK: y[s] = x[position[s]] + ... + x[position[e]],
//   e the last of that id there; with ACROSS, for the first place s of each id: y[key[s] - first] = x[s] + the sums of
//   the blocks behind that begin with the id
// shapes: x and y (N, C) contiguous; with ACROSS y is the window of `count` rows from `first` of dw
// launch: one invocation for LANES channels of a place; most invocations have no work
// numerics: f32 sums in order of position (by block), rounded once; overwrites; rows of y without an id are not written;
//   keys from V on are padding
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/index

struct Params {
    n: u32, // N
    columns: u32, // C / LANES
    x_offset: u32,
    rows: u32, // V
#ifdef ACROSS
    first: u32,
    count: u32,
    y_offset: u32,
#endif
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (N, C)
@group(0) @binding(2) var<storage, read> sorted: array<u32>; // (2, N) keys, positions
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (N, C), with ACROSS (count, C)

@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params.n;
    let i = linear_id(group, groups, local, 256u);
    if (i >= n * params.columns) {
        return;
    }
    let s = i / params.columns;
    let c = i - s * params.columns;
    let key = sorted[s];
    if (key >= params.rows) {
        return;
    }
#ifdef ACROSS
    if (key - params.first >= params.count) {
        return;
    }
    if (s > 0u && sorted[max(s, 1u) - 1u] == key) {
        return;
    }
    var sum = x[i + params.x_offset];
    for (var q = (s / BLOCK + 1u) * BLOCK; q < n; q += BLOCK) {
        if (sorted[q] != key) {
            break;
        }
        sum += x[q * params.columns + c + params.x_offset];
    }
    y[(key - params.first) * params.columns + c + params.y_offset] = T(sum);
#else
    if (s % BLOCK != 0u && sorted[max(s, 1u) - 1u] == key) {
        return;
    }
    let end = min((s / BLOCK + 1u) * BLOCK, n);
    var sum = T(x[sorted[n + s] * params.columns + c + params.x_offset]);
    for (var q = s + 1u; q < end; q++) {
        if (sorted[q] != key) {
            break;
        }
        sum += T(x[sorted[n + q] * params.columns + c + params.x_offset]);
    }
    y[i] = sum;
#endif
}
