// The common part of a stable radix sort. A pass sorts by one digit of 5 bits. A workgroup of 64 lanes takes a block of
// 64 PER positions; a lane takes PER neighbours one after another, so that equal digits stay in order without a search.
// Ids beyond the table count as its last row, as in embedding; padding_idx sorts behind all rows.
// A kernel says what it sorts: `fn key_of(i: u32) -> u32`.

struct Params {
    n: u32, // N
    blocks: u32,
    // Bits below the digit.
    shift: u32,
    rows: u32, // V
    padding_idx: u32, // V or more if there is none
    offset: u32, // of what is sorted
    passes: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

const BUCKETS: u32 = 32u;
const BLOCK: u32 = 64u * PER;

// For each digit and lane: how often it occurs, then where the next one goes.
var<workgroup> wg_lanes: array<u32, 2048>;

fn key_of_id(id: u32) -> u32 {
    let row = min(id, params.rows - 1u);
    return select(row, params.rows, row == params.padding_idx);
}

fn digit_of(key: u32, shift: u32) -> u32 {
    return (key >> shift) & (BUCKETS - 1u);
}

// Counts the digits of a lane's positions, which begin at `first`.
fn count_digits(first: u32, shift: u32, lane: u32) {
    for (var d = 0u; d < BUCKETS; d++) {
        wg_lanes[d * 64u + lane] = 0u;
    }
    for (var c = 0u; c < PER; c++) {
        if (first + c < params.n) {
            wg_lanes[digit_of(key_of(first + c), shift) * 64u + lane] += 1u;
        }
    }
    workgroupBarrier();
}

// Turns the counts of digit `d` into places from `start` on; returns the first place behind them.
fn place_digit(d: u32, start: u32) -> u32 {
    var next = start;
    for (var lane = 0u; lane < 64u; lane++) {
        let count = wg_lanes[d * 64u + lane];
        wg_lanes[d * 64u + lane] = next;
        next += count;
    }
    return next;
}

// The place of a lane's next position with this digit.
fn take_place(digit: u32, lane: u32) -> u32 {
    let to = wg_lanes[digit * 64u + lane];
    wg_lanes[digit * 64u + lane] = to + 1u;
    return to;
}
