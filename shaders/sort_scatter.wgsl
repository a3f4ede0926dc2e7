// Puts keys and positions in the order of their digit, equal digits as they were: the last part of a pass of a radix
// sort.
// math: sorted[starts[d, g] + r] = unsorted[i], for i in block g with digit d, r of whose block's earlier ones have it
//   too
// shapes: unsorted (N) ids, or (2, N) keys and positions; starts (BUCKETS, G); sorted (2, N)
// launch: one workgroup of 64 a block
// numerics: integers; stable
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/sort

@group(0) @binding(1) var<storage, read> unsorted: array<u32>; // (N) ids, or (2, N) keys, positions
@group(0) @binding(2) var<storage, read> starts: array<u32>; // (BUCKETS, G)
@group(0) @binding(3) var<storage, read_write> sorted: array<u32>; // (2, N)

fn key_of(i: u32) -> u32 {
#ifdef FIRST
    return key_of_id(unsorted[i + params.offset]);
#else
    return unsorted[i];
#endif
}

@compute @workgroup_size(64)
fn sort_scatter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group.x + group.y * groups.x;
    let first = block * BLOCK + lane * PER;
    count_digits(first, params.shift, lane);
    if (lane < BUCKETS && block < params.blocks) {
        place_digit(lane, starts[lane * params.blocks + block]);
    }
    workgroupBarrier();
    for (var i = first; i < min(first + PER, params.n); i++) {
        let key = key_of(i);
        let to = take_place(digit_of(key, params.shift), lane);
        sorted[to] = key;
#ifdef FIRST
        sorted[params.n + to] = i;
#else
        sorted[params.n + to] = unsorted[params.n + i];
#endif
    }
}
