// The common part of all attention kernels: sizes, positions of rows, masks and the dropout mask. ops/attention sets
// the numbers of the bindings (AT_...), because unused bindings are left out. BACKWARD: the
// kernel is one of a backward pass.
#import common/math
#ifdef DROPOUT
#import common/dropout_mask
#endif

struct Params {
    batch: u32,
    heads: u32,
    // Query heads to a key head.
    group: u32,
    queries: u32,
    keys: u32,
    scale: f32,
    op: u32,
    threshold: u32,
    inv_keep_prob: f32,
    mask_offset: u32,
    bias_offset: u32,
    // (offset; steps of batch, position, head), in elements; rows of D lie together.
    q: vec4<u32>,
    k: vec4<u32>,
    v: vec4<u32>,
    y: vec4<u32>,
    dy: vec4<u32>,
    dq: vec4<u32>,
    dk: vec4<u32>,
    dv: vec4<u32>,
    // Steps of batch, head, query, key.
    bias: vec4<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef MASK
@group(0) @binding(AT_MASK) var<storage, read> mask: array<u32>; // (B, Tk)
#endif
#ifdef BIAS
@group(0) @binding(AT_BIAS) var<storage, read> bias: array<S>; // (B, H, Tq, Tk) strided
#endif

// The score of a key that is not to be seen: below every other, and finite.
const MASKED: f32 = -3.4028234e38;
// The log-sum-exp of a query that sees no key: every exponential less this is 0.
const NOTHING: f32 = 3.0e38;

fn place(steps: vec4<u32>, b: u32, t: u32, h: u32) -> u32 {
    return steps.x + b * steps.y + t * steps.z + h * steps.w;
}

// With CAUSAL the last query sees all keys: query i sees keys 0 to i + Tk - Tq.

// Behind the last key that a query in front of `query` may see.
fn keys_before(query: u32) -> u32 {
#ifdef CAUSAL
    return min(params.keys, max(query + params.keys, params.queries) - params.queries);
#else
    return params.keys;
#endif
}

// The first query that may see key `key`.
fn first_query(key: u32) -> u32 {
#ifdef CAUSAL
    return max(key + params.queries, params.keys) - params.keys;
#else
    return 0u;
#endif
}

// Whether key j of batch b exists and is no padding.
fn seen(b: u32, j: u32) -> bool {
#ifdef MASK
    return j < params.keys && mask[b * params.keys + min(j, params.keys - 1u) + params.mask_offset] != 0u;
#else
    return j < params.keys;
#endif
}

// A score with its bias; MASKED where the key is hidden.
fn biased(x: f32, shown: bool, b: u32, h: u32, i: u32, j: u32) -> f32 {
    var v = x;
#ifdef BIAS
    let at = b * params.bias.x + h * params.bias.y + min(i, params.queries - 1u) * params.bias.z
        + min(j, params.keys - 1u) * params.bias.w;
    v = v + f32(bias[at + params.bias_offset]);
#endif
#ifdef CAUSAL
    return select(MASKED, v, shown && j + params.queries <= i + params.keys);
#else
    return select(MASKED, v, shown);
#endif
}

// exp(v - top), 0 for a hidden key.
fn weight(v: f32, top: f32) -> f32 {
    return select(precise_exp(v - top), 0.0, v == MASKED);
}

#ifdef DROPOUT
// The random state: as given, or as the forward pass left it behind its statistics.
fn random_state() -> vec4<u32> {
#ifdef BACKWARD
    let at = 2u * params.batch * params.heads * params.queries;
    return vec4<u32>(statistics[at], statistics[at + 1u], statistics[at + 2u], statistics[at + 3u]);
#else
    return vec4<u32>(state[0], state[1], state[2], state[3]);
#endif
}

#ifndef BACKWARD
fn leave_state(seed: vec4<u32>) {
    let at = 2u * params.batch * params.heads * params.queries;
    for (var i = 0u; i < 4u; i++) {
        statistics[at + i] = seed[i];
    }
}
#endif

// Bit j: whether probability (row, k0 + j), j < 8, is kept. The words are those of dropout over the
// probabilities as a tensor (B, H, Tq, Tk); with ALIGNED Tk is a multiple of 4.
fn mask_bits(seed: vec4<u32>, row: u32, k0: u32) -> u32 {
    let first = row * params.keys + k0;
#ifdef ALIGNED
    let blocks = 2u;
#else
    let blocks = 3u;
#endif
    var bits = 0u;
    for (var i = 0u; i < blocks; i++) {
        bits |= mask_four(seed, first / 4u + i) << (4u * i);
    }
    return bits >> (first & 3u);
}

// What bit j stands for: 0 or 1 / (1 - p).
fn dropout_factor(bits: u32, j: u32) -> f32 {
    return select(0.0, params.inv_keep_prob, ((bits >> j) & 1u) == 1u);
}
#endif
