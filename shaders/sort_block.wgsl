// A whole radix sort of few ids, by one workgroup.
// math: sorted[0] the keys in order, sorted[1] the position of each; equal keys as they were
// shapes: ids (N), N at most BLOCK; sorted (4, N): the last two rows are what every other pass writes
// launch: one workgroup of 64
// numerics: integers; stable
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/sort

@group(0) @binding(1) var<storage, read> ids: array<u32>; // (N)
@group(0) @binding(2) var<storage, read_write> sorted: array<u32>; // (4, N)

// Whether the pass reads the ids, else where in sorted it reads.
var<private> first_pass: bool;
var<private> source: u32;
// How often each digit occurs.
var<workgroup> wg_digits: array<u32, BUCKETS>;

fn key_of(i: u32) -> u32 {
    if (first_pass) {
        return key_of_id(ids[i + params.offset]);
    }
    return sorted[source + i];
}

@compute @workgroup_size(64)
fn sort_block(@builtin(local_invocation_index) lane: u32) {
    let first = lane * PER;
    for (var round = 0u; round < params.passes; round++) {
        first_pass = round == 0u;
        // The last pass writes the first two rows.
        let written = 2u * params.n * ((params.passes - 1u - round) & 1u);
        source = 2u * params.n - written;
        let shift = 5u * round;
        count_digits(first, shift, lane);
        if (lane < BUCKETS) {
            wg_digits[lane] = place_digit(lane, 0u);
        }
        workgroupBarrier();
        for (var i = first; i < min(first + PER, params.n); i++) {
            let key = key_of(i);
            let digit = digit_of(key, shift);
            var to = take_place(digit, lane);
            for (var d = 0u; d < digit; d++) {
                to += wg_digits[d];
            }
            var position = i;
            if (!first_pass) {
                position = sorted[source + params.n + i];
            }
            sorted[written + to] = key;
            sorted[written + params.n + to] = position;
        }
        storageBarrier();
        workgroupBarrier();
    }
}
