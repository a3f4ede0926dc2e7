// How often each digit occurs in each block: the first part of a pass of a radix sort.
// math: counts[d, g] = number of i in block g whose digit is d
// shapes: unsorted (N) ids, or (2, N) keys and positions; counts (BUCKETS, G)
// launch: one workgroup of 64 a block
// numerics: integers
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/sort

@group(0) @binding(1) var<storage, read> unsorted: array<u32>; // (N) ids, or (2, N) keys, positions
@group(0) @binding(2) var<storage, read_write> counts: array<u32>; // (BUCKETS, G)

fn key_of(i: u32) -> u32 {
#ifdef FIRST
    return key_of_id(unsorted[i + params.offset]);
#else
    return unsorted[i];
#endif
}

@compute @workgroup_size(64)
fn sort_count(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = group.x + group.y * groups.x;
    count_digits(block * BLOCK + lane * PER, params.shift, lane);
    if (lane < BUCKETS && block < params.blocks) {
        counts[lane * params.blocks + block] = place_digit(lane, 0u);
    }
}
