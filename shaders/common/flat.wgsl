// The common part of kernels that update many parameters at once. The parameters lie side by side in blocks of 64
// elements; a table gives each block the row of scalars that its parameter uses, or SKIPPED.
// With TEXTURE an invocation takes a whole block, since texel loads need not be neighbours and the table
// is read once; without, neighbours take neighbouring vectors.
#import common/index
#import common/texel

const SKIPPED: u32 = 0xffffffffu;
#ifdef TEXTURE
const LANES: u32 = 64u;
#else
const LANES: u32 = 256u;
#endif
// Vectors of a workgroup: 64 blocks.
const VECTORS: u32 = 1024u;

// The k-th vector of an invocation, counted within the launch.
fn vector_of(group: vec3<u32>, groups: vec3<u32>, lane: u32, k: u32) -> u32 {
#ifdef TEXTURE
    return linear_id(group, groups, 0u, VECTORS) + lane * 16u + k;
#else
    return linear_id(group, groups, 0u, VECTORS) + k * LANES + lane;
#endif
}

// Calls the kernel's `update` for every vector of an invocation whose block is not skipped, with the block's row
// of scalars and the clip coefficient.
fn update_all(group: vec3<u32>, groups: vec3<u32>, lane: u32) {
    let coefficient = clip[1];
    // The gradients were not finite: see grad_norm.
    if (coefficient == 0.0) {
        return;
    }
#ifdef TEXTURE
    let start = vector_of(group, groups, lane, 0u);
    if (start >= params.blocks * 16u) {
        return;
    }
    let row = table[params.first + start / 16u];
    if (row == SKIPPED) {
        return;
    }
    let values = scalars[row];
    for (var k = 0u; k < 16u; k++) {
        update(start + k, values, coefficient);
    }
#else
    for (var k = 0u; k < VECTORS / LANES; k++) {
        let i = vector_of(group, groups, lane, k);
        if (i < params.blocks * 16u) {
            let row = table[params.first + i / 16u];
            if (row != SKIPPED) {
                update(i, scalars[row], coefficient);
            }
        }
    }
#endif
}
