// Rows of queries, keys, values and gradients as tiles load them, in the type LOADED.
#import common/attention

@group(0) @binding(AT_Q) var<storage, read> q: array<T>; // (B, Tq, H, DV) strided
#ifndef PACKED
@group(0) @binding(AT_K) var<storage, read> k: array<T>; // (B, Tk, Hk, DV) strided
@group(0) @binding(AT_V) var<storage, read> v: array<T>; // (B, Tk, Hk, DV) strided
#endif
#ifdef BACKWARD
@group(0) @binding(AT_DY) var<storage, read> dy: array<T>; // (B, Tq, H, DV) strided
#endif

// What a tile is loaded from.
const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;
const DY: u32 = 3u;

// Batch, query head, key head, and the first query and key of a tile.
struct Tile {
    b: u32,
    h: u32,
    hk: u32,
    q0: u32,
    k0: u32,
}

// The first query of the n-th tile of `size`. With CAUSAL the last queries, which see the most keys, come first: light
// tiles then fill up a GPU that is nearly done.
fn queries_of(n: u32, size: u32) -> u32 {
#ifdef CAUSAL
    return ((params.queries - 1u) / size - n) * size;
#else
    return n * size;
#endif
}

// Vector c of row t of a tile; zeros beyond the edge. `operand` is a constant wherever this is called.
fn load(operand: u32, tile: Tile, t: u32, c: u32) -> LOADED {
    let of_query = operand == Q || operand == DY;
    let position = select(tile.k0, tile.q0, of_query) + t;
    var value = LOADED();
    if (position < select(params.keys, params.queries, of_query) && c < DV) {
        switch operand {
            case Q: {
                value = LOADED(q[place(params.q, tile.b, position, tile.h) / 4u + c]);
            }
#ifdef BACKWARD
            case DY: {
                value = LOADED(dy[place(params.dy, tile.b, position, tile.h) / 4u + c]);
            }
#endif
            case K: {
#ifdef PACKED
                value = LOADED(q[place(params.k, tile.b, position, tile.hk) / 4u + c]);
#else
                value = LOADED(k[place(params.k, tile.b, position, tile.hk) / 4u + c]);
#endif
            }
            default: {
#ifdef PACKED
                value = LOADED(q[place(params.v, tile.b, position, tile.hk) / 4u + c]);
#else
                value = LOADED(v[place(params.v, tile.b, position, tile.hk) / 4u + c]);
#endif
            }
        }
    }
    return value;
}
