// A row shared out over WIDTH lanes: lane l takes elements l, l + WIDTH, ... below `columns`. With CACHE a lane
// holds its elements between passes, else each pass loads them again. A kernel says how:
// `fn load(j: u32) -> E`, and with TWO tensors also `fn load_second(j: u32) -> E`.
#import common/elements
#import common/index
#import common/reduce
#ifdef DROPOUT
#import common/random
#endif

#ifdef CACHE
var<private> row_cache: array<E, CACHED>;
#ifdef TWO
var<private> row_second: array<E, CACHED>;
#endif

// Rounds of a pass: in round k a lane takes element k * WIDTH + lane, if there is one.
fn rounds() -> u32 {
    return CACHED;
}

fn cache(k: u32, e: E) {
    row_cache[k] = e;
}

fn value(k: u32, j: u32) -> E {
    return row_cache[k];
}
#ifdef TWO
fn cache_second(k: u32, e: E) {
    row_second[k] = e;
}

fn second(k: u32, j: u32) -> E {
    return row_second[k];
}
#endif
#else
fn rounds() -> u32 {
    return (columns() + WIDTH - 1u) / WIDTH;
}

fn cache(k: u32, e: E) {}

fn value(k: u32, j: u32) -> E {
    return load(j);
}
#ifdef TWO
fn cache_second(k: u32, e: E) {}

fn second(k: u32, j: u32) -> E {
    return load_second(j);
}
#endif
#endif

#ifdef DROPOUT
// Dropout of element `i` of a tensor of rows.
fn dropout(e: E, i: u32) -> E {
#ifdef VECTORS
    return e * select(E(), E(params.inv_keep_prob), words_of(i) >= vec4<u32>(params.threshold));
#else
    let words = words_of(i / 4u);
    return e * select(0.0, params.inv_keep_prob, words[i & 3u] >= params.threshold);
#endif
}
#endif
