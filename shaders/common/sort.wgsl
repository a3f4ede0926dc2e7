// The common part of the passes of a radix sort. A pass sorts by one digit of BITS bits; blocks of 64 positions, one to a
// workgroup. Ids beyond the table count as its last row, as in embedding; padding_idx sorts behind all rows.

struct Params {
    n: u32, // N
    blocks: u32,
    // Bits below the digit.
    shift: u32,
    rows: u32, // V
    padding_idx: u32, // V or more if there is none
    offset: u32, // of what is sorted
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef FIRST
@group(0) @binding(1) var<storage, read> unsorted: array<u32>; // (N) ids
#else
@group(0) @binding(1) var<storage, read> unsorted: array<u32>; // (2, N) keys, positions
#endif

const BUCKETS: u32 = 1u << BITS;

fn key_of(i: u32) -> u32 {
#ifdef FIRST
    let row = min(unsorted[i + params.offset], params.rows - 1u);
    return select(row, params.rows, row == params.padding_idx);
#else
    return unsorted[i];
#endif
}

fn digit_of(key: u32) -> u32 {
    return (key >> params.shift) & (BUCKETS - 1u);
}
