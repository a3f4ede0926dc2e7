// Tiles of a product in workgroup memory in the order that matrix units load, and the stores of the units' sums.
#import common/matmul_load

// Its factors' type.
alias F = H;

// Each tile lies in workgroup memory as its operand lies in memory, in rows a little longer than needed:
// neighbouring rows lie in other banks.
#ifdef A_ALONG_M
const A_ROW: u32 = BM + 8u; // (K, M)
const A_SIZE: u32 = BK * A_ROW;
#else
const A_ROW: u32 = BK + 8u; // (M, K)
const A_SIZE: u32 = BM * A_ROW;
#endif
#ifdef B_ALONG_K
const B_ROW: u32 = BK + 8u; // (N, K)
const B_SIZE: u32 = BN * B_ROW;
#else
const B_ROW: u32 = BN + 8u; // (K, N)
const B_SIZE: u32 = BK * B_ROW;
#endif
// With WIDE four factors lie together: one store, where the adapter's language lets units load from vectors.
#ifdef WIDE
const TOGETHER: u32 = 4u;
alias W = vec4<H>;
alias SUM = vec4<f32>;
#else
const TOGETHER: u32 = 1u;
alias W = H;
alias SUM = f32;
#endif
var<workgroup> wg_x: array<W, (A_SIZE + B_SIZE) / TOGETHER>; // a's tile, then b's
#ifdef ROW_SUMS
var<workgroup> wg_r: array<vec4<f32>, THREADS>;
#endif
var<workgroup> wg_c: array<SUM, THREADS / WIDTH * SIDE * SIDE / TOGETHER>; // a matrix of each subgroup

// The e-th four of a tile whose rows have `row` elements: its row, and where in it the four starts. Of rows of 32
// neighbours take every fourth of eight, which lie in different banks.
fn four_at(e: u32, row: u32) -> vec2<u32> {
    let r = e / (row / 4u);
    let turned = r / 8u * 8u + r % 2u * 4u + r % 8u / 2u;
    return vec2<u32>(select(r, turned, row == 32u), e % (row / 4u) * 4u);
}

// Four sums from the i-th on.
fn sums_at(i: u32) -> vec4<f32> {
#ifdef WIDE
    return wg_c[i / 4u];
#else
    return vec4<f32>(wg_c[i], wg_c[i + 1u], wg_c[i + 2u], wg_c[i + 3u]);
#endif
}

// Four factors, from the i-th on.
fn store_tile(i: u32, v: vec4<H>) {
#ifdef WIDE
    wg_x[i / 4u] = v;
#else
#repeat j 4
    wg_x[i + {j}u] = v[{j}];
#endrepeat
#endif
}

// Stores a subgroup's matrix from workgroup memory with what follows the sums.
fn finish(batch: u32, part: u32, lane: u32, row: u32, col: u32) {
    for (var e = lane; e < SIDE * SIDE / 4u; e += WIDTH) {
        let at = four_at(e, SIDE);
        let sums = sums_at((part * SIDE + at.x) * SIDE + at.y);
        put_four(batch, row + at.x, col + at.y, sums, shift_of(col + at.y));
    }
}
