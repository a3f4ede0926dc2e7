// Tiles for an adapter's matrix units. Each of four subgroups of WIDTH has ROWS rows of one side (queries; keys with
// KEY_ROWS) as factors in registers; the other side is loaded, 32 positions at a time, into workgroup memory that all
// share. Scores leave the units through workgroup memory, because WGSL does not say which invocation holds which
// element: there LANES neighbours share a row, with every LANES-th vector each. All memory is in vectors of 4, for the
// units too, and all subgroups run the same code: their number appears only in addresses.
#import common/attention_rows

alias LOADED = T;

#ifdef KEY_ROWS
const QUERIES: u32 = 32u;
const KEYS: u32 = 4u * ROWS;
#else
const QUERIES: u32 = 4u * ROWS;
const KEYS: u32 = 32u;
#endif
const LANES: u32 = WIDTH / ROWS;
const BY: u32 = 4u * WIDTH / DV;

// Rows are longer than needed, so that neighbours lie in different banks, by whole 16 bytes, as the units want.
const X_ROW: u32 = DV + 2u;
const S_ROW: u32 = 10u;
const P_ROW: u32 = 10u;
// Two operands of the side that goes by, the second behind SECOND.
const SECOND: u32 = 32u * X_ROW;
var<workgroup> wg_x: array<T, 64u * X_ROW>;
// Of each row products in f32, and weights or their gradients for the next product.
var<workgroup> wg_s: array<vec4<f32>, 4u * ROWS * S_ROW>;
var<workgroup> wg_p: array<T, 4u * ROWS * P_ROW>;

// Where column c of position t lies in wg_x, and of row `row` in wg_s and wg_p; columns in fours.
fn x_at(t: u32, c: u32) -> u32 {
    return t * X_ROW + c / 4u;
}

fn s_at(row: u32, c: u32) -> u32 {
    return row * S_ROW + c / 4u;
}

fn p_at(row: u32, c: u32) -> u32 {
    return row * P_ROW + c / 4u;
}

// The r-th row that is staged: of rows of 8 vectors neighbours take every fourth, which lie in different banks.
fn staged(r: u32, rows: u32) -> u32 {
    if (DV == 8u && rows % 8u == 0u) {
        return r / 8u * 8u + r % 2u * 4u + r % 8u / 2u;
    }
    return r;
}

// Brings 32 positions of the side that goes by into workgroup memory, BY at once in STEPS, which are all under way
// before the first is stored.
fn stage(operand: u32, at: u32, tile: Tile, local: u32) {
    let t = staged(local / DV, BY);
    let c = local % DV;
#repeat i STEPS
    let x{i} = load(operand, tile, t + {i}u * BY, c);
#endrepeat
#repeat i STEPS
    if (t < BY && t + {i}u * BY < 32u) {
        wg_x[at + x_at(t + {i}u * BY, 4u * c)] = x{i};
    }
#endrepeat
}

// Brings the i-th SIDE of each subgroup's rows there.
fn stage_rows(operand: u32, i: u32, tile: Tile, local: u32) {
    for (var e = local; e < 4u * SIDE * DV; e += 4u * WIDTH) {
        let r = staged(e / DV, 4u * SIDE);
        wg_x[r * X_ROW + e % DV] = load(operand, tile, r / SIDE * ROWS + i * SIDE + r % SIDE, e % DV);
    }
}

// Added to the scores of key j.
fn hidden(b: u32, j: u32) -> f32 {
    return select(MASKED, 0.0, seen(b, j));
}

// Scores of these queries and keys, of which hidden keys are MASKED already, with bias and causality.
fn biased_four(x: vec4<f32>, tile: Tile, t: vec4<u32>, key: vec4<u32>) -> vec4<f32> {
#ifndef BIAS
#ifdef CAUSAL
    if (tile.k0 + KEYS + params.queries <= tile.q0 + 1u + params.keys) {
        return x;
    }
#else
    return x;
#endif
#endif
    return vec4<f32>(
        biased(x.x, true, tile.b, tile.h, t.x, key.x),
        biased(x.y, true, tile.b, tile.h, t.y, key.y),
        biased(x.z, true, tile.b, tile.h, t.z, key.z),
        biased(x.w, true, tile.b, tile.h, t.w, key.w),
    );
}

#ifndef KEY_ROWS
var<workgroup> wg_hidden: array<vec4<f32>, 8>;

// What is added to the scores of the tile's keys. Read behind a barrier.
fn stage_hidden(tile: Tile, local: u32) {
    if (local < 8u) {
        let key = tile.k0 + 4u * local;
        wg_hidden[local] = vec4<f32>(hidden(tile.b, key), hidden(tile.b, key + 1u), hidden(tile.b, key + 2u),
            hidden(tile.b, key + 3u));
    }
}

// Scores of row `row` and the c-th 4 keys.
fn scores(row: u32, c: u32, tile: Tile) -> vec4<f32> {
    let x = wg_s[row * S_ROW + c] * params.scale + wg_hidden[c];
    return biased_four(x, tile, vec4<u32>(tile.q0 + row), tile.k0 + 4u * c + vec4<u32>(0u, 1u, 2u, 3u));
}
#endif

// The sum, or the largest, of the LANES that share a row.
fn row_sum(value: f32) -> f32 {
    var sum = value;
    for (var m = 1u; m < LANES; m *= 2u) {
        sum += subgroupShuffleXor(sum, m);
    }
    return sum;
}

fn row_top(value: f32) -> f32 {
    var top = value;
    for (var m = 1u; m < LANES; m *= 2u) {
        top = max(top, subgroupShuffleXor(top, m));
    }
    return top;
}

#ifdef DROPOUT
// Which probabilities of the tile are kept: a word for 8 keys of a query. Read behind a barrier.
var<workgroup> wg_bits: array<u32, QUERIES * KEYS / 8u>;

fn choose(seed: vec4<u32>, tile: Tile, local: u32) {
    let row = (tile.b * params.heads + tile.h) * params.queries + tile.q0;
    for (var e = local; e < QUERIES * KEYS / 8u; e += 4u * WIDTH) {
        wg_bits[e] = mask_bits(seed, row + e / (KEYS / 8u), tile.k0 + 8u * (e % (KEYS / 8u)));
    }
}

// The factor of query i and key j of the tile.
fn factor(i: u32, j: u32) -> f32 {
    return dropout_factor(wg_bits[(i * KEYS + j) / 8u], j % 8u);
}
#endif
