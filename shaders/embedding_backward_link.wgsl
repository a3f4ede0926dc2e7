// Lists of the positions that hold the same id, in order, without sorting and without atomics.
// math: positions are in blocks of BLOCK. within[p] = the next position of p's block with p's id, or N.
//   across[p], if p is the first of its id in its block, = the first position behind the block with p's
//   id (which is a first of its block too), or N; else N + 1. taken[q] = 1 if an across[p] is q.
// shapes: ids (N) contiguous; links (3, N): within, across, taken, of which taken is zero before
// launch: one invocation a position, for each range from .. from + SPAN that `across` is looked for in
// numerics: integers; ids beyond the table count as its last row, as in embedding; positions with
//   padding_idx count as no first of a block
// backward: none
// reference: sums by id, in ops/embedding.rs
#import common/index

struct Params {
    n: u32,
    rows: u32, // V
    padding_idx: u32, // V or more if there is none
    ids_offset: u32,
    start: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>; // (N)
@group(0) @binding(2) var<storage, read_write> links: array<u32>; // (3, N)

fn row_of(p: u32) -> u32 {
    return min(ids[min(p, params.n - 1u) + params.ids_offset], params.rows - 1u);
}

@compute @workgroup_size(256)
fn embedding_backward_link(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = params.n;
    let p = linear_id(group, groups, local, 256u);
    if (p >= n) {
        return;
    }
    let row = row_of(p);
    let block = p / BLOCK * BLOCK;
    let behind = min(block + BLOCK, n);
    if (params.start == 0u) {
        var within = n;
        for (var q = p + 1u; q < behind; q++) {
            if (row_of(q) == row) {
                within = q;
                break;
            }
        }
        links[p] = within;
        var first = row != params.padding_idx;
        for (var q = block; q < p; q++) {
            if (row_of(q) == row) {
                first = false;
                break;
            }
        }
        links[n + p] = select(n + 1u, n, first);
        if (!first) {
            return;
        }
    } else if (links[n + p] != n) {
        return;
    }
    let end = min(params.start + SPAN, n);
    // Four at a time: their loads overlap, and loops stay short for drivers that cut long ones off.
    // Positions beyond N repeat the last one, which is then found in front of them.
    for (var q = max(behind, params.start); q < end; q += 4u) {
        let same = vec4<u32>(row_of(q), row_of(q + 1u), row_of(q + 2u), row_of(q + 3u)) == vec4<u32>(row);
        if (any(same)) {
            let found = q + select(select(select(3u, 2u, same.z), 1u, same.y), 0u, same.x);
            links[n + p] = found;
            links[2u * n + found] = 1u;
            break;
        }
    }
}
