// Tiles of 32 x 32 for 64 invocations: invocation (tx, ty) holds rows ty + 8 i and columns tx + 8 j, i, j < 4,
// of a product of two tiles in workgroup memory. D is taken in DC pieces of 8 vectors.
#import common/attention

@group(0) @binding(AT_Q) var<storage, read> q: array<T>; // (B, Tq, H, DV) strided
#ifndef PACKED
@group(0) @binding(AT_K) var<storage, read> k: array<T>; // (B, Tk, Hk, DV) strided
@group(0) @binding(AT_V) var<storage, read> v: array<T>; // (B, Tk, Hk, DV) strided
#endif

// Rows are 9 vectors apart, so that neighbours lie in different banks.
const ROW: u32 = 9u;
var<workgroup> wg_a: array<vec4<f32>, 288>;
var<workgroup> wg_b: array<vec4<f32>, 288>;
// Weights: row, then tx; the component is j.
var<workgroup> wg_p: array<vec4<f32>, 288>;
var<workgroup> wg_row: array<f32, 256>;

fn load_q(b: u32, t: u32, h: u32, c: u32) -> vec4<f32> {
    if (t < params.queries && c < DV) {
        return vec4<f32>(q[place(params.q, b, t, h) / 4u + c]);
    }
    return vec4<f32>();
}

fn load_k(b: u32, t: u32, h: u32, c: u32) -> vec4<f32> {
    if (t < params.keys && c < DV) {
#ifdef PACKED
        return vec4<f32>(q[place(params.k, b, t, h) / 4u + c]);
#else
        return vec4<f32>(k[place(params.k, b, t, h) / 4u + c]);
#endif
    }
    return vec4<f32>();
}

fn load_v(b: u32, t: u32, h: u32, c: u32) -> vec4<f32> {
    if (t < params.keys && c < DV) {
#ifdef PACKED
        return vec4<f32>(q[place(params.v, b, t, h) / 4u + c]);
#else
        return vec4<f32>(v[place(params.v, b, t, h) / 4u + c]);
#endif
    }
    return vec4<f32>();
}

// wg_a wg_b^T over one piece of D; x[i][j].
fn product(tx: u32, ty: u32) -> array<vec4<f32>, 4> {
    var x: array<vec4<f32>, 4>;
    for (var c = 0u; c < 8u; c++) {
        let b0 = wg_b[tx * ROW + c];
        let b1 = wg_b[(tx + 8u) * ROW + c];
        let b2 = wg_b[(tx + 16u) * ROW + c];
        let b3 = wg_b[(tx + 24u) * ROW + c];
        for (var i = 0u; i < 4u; i++) {
            let a = wg_a[(ty + 8u * i) * ROW + c];
            x[i] += vec4<f32>(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
        }
    }
    return x;
}

// wg_p wg_b: for each of the rows 4 columns of the piece of D that wg_b holds.
fn weighted(tx: u32, ty: u32) -> array<vec4<f32>, 4> {
    var x: array<vec4<f32>, 4>;
    for (var p = 0u; p < 8u; p++) {
        let b0 = wg_b[p * ROW + tx];
        let b1 = wg_b[(p + 8u) * ROW + tx];
        let b2 = wg_b[(p + 16u) * ROW + tx];
        let b3 = wg_b[(p + 24u) * ROW + tx];
        for (var i = 0u; i < 4u; i++) {
            let w = wg_p[(ty + 8u * i) * ROW + p];
            x[i] += w.x * b0 + w.y * b1 + w.z * b2 + w.w * b3;
        }
    }
    return x;
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
    for (var e = local; e < 128u; e += 64u) {
        wg_bits[e] = keep_bits(seed, row + e / 4u, k0 + 8u * (e % 4u));
    }
}

// The factor of query i and key j of the tile.
fn factor(i: u32, j: u32) -> f32 {
    return kept(wg_bits[i * 4u + j / 8u], j % 8u);
}
#endif
