// Queries, keys and values as textures: see matmul_subgroup. PACKED: all three are one tensor.
#import common/attention
#import common/texel

@group(0) @binding(AT_Q) var q: texture_storage_2d<rgba32float, read>; // (B, Tq, H, D) strided, flat
#ifndef PACKED
@group(0) @binding(AT_K) var k: texture_storage_2d<rgba32float, read>; // (B, Tk, Hk, D) strided, flat
@group(0) @binding(AT_V) var v: texture_storage_2d<rgba32float, read>; // (B, Tk, Hk, D) strided, flat
#endif
#ifdef BACKWARD
@group(0) @binding(AT_DY) var dy: texture_storage_2d<rgba32float, read>; // (B, Tq, H, D) strided, flat
#endif

fn texel_q(i: u32) -> vec4<f32> {
    return textureLoad(q, at_texel(i));
}

fn texel_k(i: u32) -> vec4<f32> {
#ifdef PACKED
    return texel_q(i);
#else
    return textureLoad(k, at_texel(i));
#endif
}

fn texel_v(i: u32) -> vec4<f32> {
#ifdef PACKED
    return texel_q(i);
#else
    return textureLoad(v, at_texel(i));
#endif
}

#ifdef BACKWARD
fn texel_dy(i: u32) -> vec4<f32> {
    return textureLoad(dy, at_texel(i));
}
#endif

// A row of D, in vectors.
alias Row = array<vec4<f32>, DV>;

// A lane's one of 8 keys and its value; k_head and v_head are where those of the head begin.
fn load_key(key: ptr<function, Row>, value: ptr<function, Row>, k_head: u32, v_head: u32, t: u32) {
    let mine = min(t, params.keys - 1u);
    let k_at = (k_head + mine * params.k.z) / 4u;
    let v_at = (v_head + mine * params.v.z) / 4u;
    for (var c = 0u; c < DV; c++) {
        (*key)[c] = texel_k(k_at + c);
        (*value)[c] = texel_v(v_at + c);
    }
}

#ifdef DROPOUT
// Which probabilities of a lane's rows row, row + 8, ... and 8 keys are kept.
fn choose(bits: ptr<function, array<u32, R>>, seed: vec4<u32>, row: u32, k0: u32) {
    for (var r = 0u; r < R; r++) {
        (*bits)[r] = mask_bits(seed, row + 8u * r, k0);
    }
}
#endif
