// Rows for subgroups of 8 on Mesa's software adapter: one subgroup a row, the row as texels of 4 values.
// Lane l holds texels l, l + 8, ... below COUNT * 8 in registers, so that each is loaded once.
#import common/index
#import common/math
#import common/texel
#ifdef DROPOUT
#import common/dropout_mask
#import common/random
#endif

fn row_sum4(value: vec4<f32>) -> f32 {
    var v = (value.x + value.y) + (value.z + value.w);
    v = v + subgroupShuffleXor(v, 1u);
    v = v + subgroupShuffleXor(v, 2u);
    return v + subgroupShuffleXor(v, 4u);
}

fn row_max4(value: vec4<f32>) -> f32 {
    var v = max(max(value.x, value.y), max(value.z, value.w));
    v = max(v, subgroupShuffleXor(v, 1u));
    v = max(v, subgroupShuffleXor(v, 2u));
    return max(v, subgroupShuffleXor(v, 4u));
}

fn exp_nonpositive4(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(exp_nonpositive(x.x), exp_nonpositive(x.y), exp_nonpositive(x.z), exp_nonpositive(x.w));
}

#ifdef DROPOUT
// Which values of texels block, block + 8, ... of a lane are kept: 4 bits a texel. A loop of its own, which
// is not unrolled: Philox is long, and compiles once only.
fn mask_bits(seed: vec4<u32>, block: u32) -> u32 {
    var bits = 0u;
    for (var i = 0u; i < 8u; i++) {
        bits |= mask_four(seed, block + 8u * i) << (4u * i);
    }
    return bits;
}

// For all of a lane's texels of the row that begins at texel `first`.
fn choose(bits: ptr<function, array<u32, COUNT / 8u + 1u>>, seed: vec4<u32>, first: u32, lane: u32) {
    for (var k = 0u; k < COUNT; k += 8u) {
        (*bits)[k / 8u] = mask_bits(seed, first + 8u * k + lane);
    }
}

// What the bits of texel i stand for: `inv_keep_prob` or 0.
fn factor4(bits: u32, i: u32) -> vec4<f32> {
    let mine = vec4<u32>(bits >> (4u * i)) & vec4<u32>(1u, 2u, 4u, 8u);
    return select(vec4<f32>(), vec4<f32>(params.inv_keep_prob), mine != vec4<u32>(0u));
}
#endif
