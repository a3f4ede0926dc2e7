// Sums of all numbers in front of each: the second part of a pass of a radix sort.
// math: starts[i] = counts[0] + ... + counts[i - 1]
// shapes: counts and starts (M)
// launch: one workgroup of 256, each invocation a range of numbers
// numerics: integers
// backward: none
// reference: sums by id, in ops/embedding.rs

struct Params {
    n: u32, // M
    span: u32, // numbers of an invocation
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counts: array<u32>; // (M)
@group(0) @binding(2) var<storage, read_write> starts: array<u32>; // (M)

var<workgroup> wg_sums: array<u32, 256>;

@compute @workgroup_size(256)
fn sort_scan(@builtin(local_invocation_index) local: u32) {
    let first = local * params.span;
    let end = min(first + params.span, params.n);
    var sum = 0u;
    for (var i = first; i < end; i++) {
        sum += counts[i];
    }
    wg_sums[local] = sum;
    workgroupBarrier();
    for (var step = 1u; step < 256u; step *= 2u) {
        var before = 0u;
        if (local >= step) {
            before = wg_sums[local - step];
        }
        workgroupBarrier();
        wg_sums[local] += before;
        workgroupBarrier();
    }
    // The sum of all numbers before this range.
    sum = wg_sums[local] - sum;
    for (var i = first; i < end; i++) {
        starts[i] = sum;
        sum += counts[i];
    }
}
