// Sums the gradients of positions with the same id along the lists of embedding_backward_link.
// math: without ACROSS, for the first p of each id in a block: y[p] = x[p] + x[within[p]] + ...
//   with ACROSS, for the first p of each id: y[ids[p] - first] = x[p] + x[across[p]] + ...
// shapes: x and y (N, C) contiguous; with ACROSS y is the window of `count` rows from `first` of dw
// launch: one invocation an element of x, most of which have nothing to do
// numerics: f32 sums in order of position (by block), rounded once; overwrites; rows of y that no list
//   belongs to are not touched
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/index

struct Params {
    n: u32, // N
    channels: u32,
    x_offset: u32,
#ifdef ACROSS
    rows: u32, // V
    first: u32,
    count: u32,
    ids_offset: u32,
    y_offset: u32,
#endif
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (N, C)
@group(0) @binding(2) var<storage, read> links: array<u32>; // (3, N)
#ifdef ACROSS
@group(0) @binding(3) var<storage, read> ids: array<u32>; // (N)
@group(0) @binding(4) var<storage, read_write> y: array<T>; // (count, C)
#else
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (N, C)
#endif

@compute @workgroup_size(256)
fn embedding_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params.n;
    let i = linear_id(group, groups, local, 256u);
    if (i >= n * params.channels) {
        return;
    }
    let head = i / params.channels;
    let c = i - head * params.channels;
    if (links[n + head] > n) {
        return;
    }
#ifdef ACROSS
    if (links[2u * n + head] != 0u) {
        return;
    }
    let row = min(ids[head + params.ids_offset], params.rows - 1u) - params.first;
    if (row >= params.count) {
        return;
    }
    let y_at = row * params.channels + c + params.y_offset;
    let list = n;
#else
    let y_at = i;
    let list = 0u;
#endif
    var sum = 0.0;
    for (var p = head; p < n; p = links[list + p]) {
        sum = sum + f32(x[p * params.channels + c + params.x_offset]);
    }
    y[y_at] = T(sum);
}
