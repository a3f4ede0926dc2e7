// Rows of a table.
// math: y[p, c] = w[ids[p], c], for the ids among rows first .. first + count
// shapes: w (V, C) contiguous, bound from row `first` on; ids (N) and y (N, C) contiguous
// launch: one invocation for LANES channels of y, once for each window of w
// numerics: exact: values are copied; ids beyond the table read its last row
// backward: embedding_backward
// reference: the formula, in ops/embedding.rs
#import common/index

struct Params {
    n: u32, // N * C / LANES
    channels: u32, // C / LANES
    rows: u32, // V
    first: u32,
    count: u32,
    w_offset: u32, // in LANES
    ids_offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<T>; // (count, C)
@group(0) @binding(2) var<storage, read> ids: array<u32>; // (N)
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (N, C)

@compute @workgroup_size(256)
fn embedding(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let p = i / params.channels;
    let row = min(ids[p + params.ids_offset], params.rows - 1u);
    // Rows before the window wrap around to large numbers.
    if (row - params.first >= params.count) {
        return;
    }
    y[i] = w[(row - params.first) * params.channels + i - p * params.channels + params.w_offset];
}
