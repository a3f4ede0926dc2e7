// Queries, keys and values as textures: see matmul_subgroup. PACKED: all three are one tensor.
#import common/attention

@group(0) @binding(AT_Q) var q: texture_2d<f32>; // (B, Tq, H, D) strided, flat
#ifndef PACKED
@group(0) @binding(AT_K) var k: texture_2d<f32>; // (B, Tk, Hk, D) strided, flat
@group(0) @binding(AT_V) var v: texture_2d<f32>; // (B, Tk, Hk, D) strided, flat
#endif

fn texel_q(i: u32) -> vec4<f32> {
    return textureLoad(q, vec2<u32>(i & 1023u, i >> 10u), 0);
}

fn texel_k(i: u32) -> vec4<f32> {
#ifdef PACKED
    return texel_q(i);
#else
    return textureLoad(k, vec2<u32>(i & 1023u, i >> 10u), 0);
#endif
}

fn texel_v(i: u32) -> vec4<f32> {
#ifdef PACKED
    return texel_q(i);
#else
    return textureLoad(v, vec2<u32>(i & 1023u, i >> 10u), 0);
#endif
}
