// How often each digit occurs in each block: the first part of a pass of a radix sort.
// math: counts[d, g] = number of i in block g whose digit is d
// shapes: unsorted (N) ids, or (2, N) keys and positions; counts (BUCKETS, G)
// launch: one workgroup a block of 64
// numerics: integers; sums of atomics on integers, the same in any order
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/sort

@group(0) @binding(2) var<storage, read_write> counts: array<u32>; // (BUCKETS, G)

var<workgroup> wg_counts: array<atomic<u32>, BUCKETS>;

@compute @workgroup_size(64)
fn sort_count(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = group.x + group.y * groups.x;
    for (var d = local; d < BUCKETS; d += 64u) {
        atomicStore(&wg_counts[d], 0u);
    }
    workgroupBarrier();
    let i = block * 64u + local;
    if (i < params.n) {
        atomicAdd(&wg_counts[digit_of(key_of(i))], 1u);
    }
    workgroupBarrier();
    if (block < params.blocks) {
        for (var d = local; d < BUCKETS; d += 64u) {
            counts[d * params.blocks + block] = atomicLoad(&wg_counts[d]);
        }
    }
}
