// Tiles of 32 x 32 for 64 invocations: invocation (tx, ty) holds rows ty + 8 i and columns tx + 8 j, i, j < 4,
// of a product of two tiles in workgroup memory. D is taken in DC pieces of 8 vectors.
#import common/attention_rows
#import common/lanes

alias LOADED = vec4<f32>;

fn column_of(local: u32) -> u32 {
    return lane_x(local % 32u);
}

fn row_of(local: u32) -> u32 {
    return local / 32u * 4u + lane_y(local % 32u);
}

// Rows are 9 vectors apart, so that neighbours lie in different banks.
const ROW: u32 = 9u;
var<workgroup> wg_a: array<vec4<f32>, 288>;
var<workgroup> wg_b: array<vec4<f32>, 288>;
// Weights: row, then tx; the component is j.
var<workgroup> wg_p: array<vec4<f32>, 288>;
var<workgroup> wg_row: array<f32, 256>;

// wg_a wg_b^T over one piece of D; x[i][j]. The sums have names: an index that a compiler does not unroll
// would put them into memory.
fn product(tx: u32, ty: u32) -> array<vec4<f32>, 4> {
    var x0 = vec4<f32>();
    var x1 = vec4<f32>();
    var x2 = vec4<f32>();
    var x3 = vec4<f32>();
    for (var c = 0u; c < 8u; c++) {
        let b0 = wg_b[tx * ROW + c];
        let b1 = wg_b[(tx + 8u) * ROW + c];
        let b2 = wg_b[(tx + 16u) * ROW + c];
        let b3 = wg_b[(tx + 24u) * ROW + c];
        let a0 = wg_a[ty * ROW + c];
        x0 += vec4<f32>(dot(a0, b0), dot(a0, b1), dot(a0, b2), dot(a0, b3));
        let a1 = wg_a[(ty + 8u) * ROW + c];
        x1 += vec4<f32>(dot(a1, b0), dot(a1, b1), dot(a1, b2), dot(a1, b3));
        let a2 = wg_a[(ty + 16u) * ROW + c];
        x2 += vec4<f32>(dot(a2, b0), dot(a2, b1), dot(a2, b2), dot(a2, b3));
        let a3 = wg_a[(ty + 24u) * ROW + c];
        x3 += vec4<f32>(dot(a3, b0), dot(a3, b1), dot(a3, b2), dot(a3, b3));
    }
    return array<vec4<f32>, 4>(x0, x1, x2, x3);
}

// wg_p wg_b: for each of the rows 4 columns of the piece of D that wg_b holds.
fn weighted(tx: u32, ty: u32) -> array<vec4<f32>, 4> {
    var x0 = vec4<f32>();
    var x1 = vec4<f32>();
    var x2 = vec4<f32>();
    var x3 = vec4<f32>();
    for (var p = 0u; p < 8u; p++) {
        let b0 = wg_b[p * ROW + tx];
        let b1 = wg_b[(p + 8u) * ROW + tx];
        let b2 = wg_b[(p + 16u) * ROW + tx];
        let b3 = wg_b[(p + 24u) * ROW + tx];
        let w0 = wg_p[ty * ROW + p];
        x0 += w0.x * b0 + w0.y * b1 + w0.z * b2 + w0.w * b3;
        let w1 = wg_p[(ty + 8u) * ROW + p];
        x1 += w1.x * b0 + w1.y * b1 + w1.z * b2 + w1.w * b3;
        let w2 = wg_p[(ty + 16u) * ROW + p];
        x2 += w2.x * b0 + w2.y * b1 + w2.z * b2 + w2.w * b3;
        let w3 = wg_p[(ty + 24u) * ROW + p];
        x3 += w3.x * b0 + w3.y * b1 + w3.z * b2 + w3.w * b3;
    }
    return array<vec4<f32>, 4>(x0, x1, x2, x3);
}

// scale * rows columns^T over all of D, of two operands; x[i][j].
fn scores(rows: u32, columns: u32, scale: f32, tile: Tile, local: u32) -> array<vec4<f32>, 4> {
    var x: array<vec4<f32>, 4>;
    for (var d = 0u; d < DC; d++) {
        workgroupBarrier();
        for (var e = local; e < 256u; e += 64u) {
            let t = e / 8u;
            let c = e % 8u;
            wg_a[t * ROW + c] = load(rows, tile, t, d * 8u + c) * scale;
            wg_b[t * ROW + c] = load(columns, tile, t, d * 8u + c);
        }
        workgroupBarrier();
        var more = product(column_of(local), row_of(local));
        for (var i = 0u; i < 4u; i++) {
            x[i] += more[i];
        }
    }
    return x;
}

// Adds wg_p times an operand, for all of D.
fn add_weighted(sums: ptr<function, array<vec4<f32>, 4u * DC>>, operand: u32, tile: Tile, local: u32) {
    for (var d = 0u; d < DC; d++) {
        workgroupBarrier();
        for (var e = local; e < 256u; e += 64u) {
            wg_b[e / 8u * ROW + e % 8u] = load(operand, tile, e / 8u, d * 8u + e % 8u);
        }
        workgroupBarrier();
        var more = weighted(column_of(local), row_of(local));
        for (var i = 0u; i < 4u; i++) {
            (*sums)[4u * d + i] += more[i];
        }
    }
}

// The sum, or the largest, of the values of the 8 invocations that share a row; for 4 rows each.
fn row_sums(value: vec4<f32>, tx: u32, ty: u32) -> vec4<f32> {
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        wg_row[(ty + 8u * i) * 8u + tx] = value[i];
    }
    workgroupBarrier();
    var total = vec4<f32>();
    for (var p = 0u; p < 8u; p++) {
        for (var i = 0u; i < 4u; i++) {
            total[i] += wg_row[(ty + 8u * i) * 8u + p];
        }
    }
    return total;
}

fn row_tops(value: vec4<f32>, tx: u32, ty: u32) -> vec4<f32> {
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
        wg_row[(ty + 8u * i) * 8u + tx] = value[i];
    }
    workgroupBarrier();
    var top = vec4<f32>(MASKED);
    for (var p = 0u; p < 8u; p++) {
        for (var i = 0u; i < 4u; i++) {
            top[i] = max(top[i], wg_row[(ty + 8u * i) * 8u + p]);
        }
    }
    return top;
}

#ifdef DROPOUT
// Which probabilities of the tile are kept: 4 words a query, 8 keys each. Read behind a barrier.
var<workgroup> wg_bits: array<u32, 128>;

fn choose(seed: vec4<u32>, row: u32, k0: u32, local: u32) {
    workgroupBarrier();
    for (var e = local; e < 128u; e += 64u) {
        wg_bits[e] = mask_bits(seed, row + e / 4u, k0 + 8u * (e % 4u));
    }
}

// The factor of query i and key j of the tile.
fn factor(i: u32, j: u32) -> f32 {
    return dropout_factor(wg_bits[i * 4u + j / 8u], j % 8u);
}
#endif
