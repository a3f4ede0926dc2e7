// Puts keys and positions in the order of their digit, equal digits as they were: the last part of a pass of a radix
// sort.
// math: sorted[starts[d, g] + r] = unsorted[i], for i in block g with digit d, r of whose block's earlier ones have it
//   too
// shapes: unsorted (N) ids, or (2, N) keys and positions; starts (BUCKETS, G); sorted (2, N)
// launch: one workgroup a block of 64
// numerics: integers; stable
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/sort

@group(0) @binding(2) var<storage, read> starts: array<u32>; // (BUCKETS, G)
@group(0) @binding(3) var<storage, read_write> sorted: array<u32>; // (2, N)

var<workgroup> wg_digits: array<u32, 64>;

@compute @workgroup_size(64)
fn sort_scatter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = group.x + group.y * groups.x;
    let i = block * 64u + local;
    var key = 0u;
    var digit = 0u;
    if (i < params.n) {
        key = key_of(i);
        digit = digit_of(key);
    }
    wg_digits[local] = digit;
    workgroupBarrier();
    if (i >= params.n) {
        return;
    }
    var rank = 0u;
    for (var j = 0u; j < local; j++) {
        rank += select(0u, 1u, wg_digits[j] == digit);
    }
    let to = starts[digit * params.blocks + block] + rank;
    sorted[to] = key;
#ifdef FIRST
    sorted[params.n + to] = i;
#else
    sorted[params.n + to] = unsorted[params.n + i];
#endif
}
