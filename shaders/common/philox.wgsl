// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter and
// a key become four random words. No state: any word can be made again at any time.

// The upper half of a 64-bit product, from products of 16-bit halves.
fn mul_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low_high = a_low * b_high;
    let high_low = a_high * b_low;
    let middle = ((a_low * b_low) >> 16u) + (low_high & 0xffffu) + (high_low & 0xffffu);
    return a_high * b_high + (low_high >> 16u) + (high_low >> 16u) + (middle >> 16u);
}

fn philox4x32_10(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        c = vec4<u32>(
            mul_high(0xCD9E8D57u, c.z) ^ c.y ^ k.x,
            0xCD9E8D57u * c.z,
            mul_high(0xD2511F53u, c.x) ^ c.w ^ k.y,
            0xD2511F53u * c.x,
        );
        k = k + vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// The words of elements 4 * block to 4 * block + 3 of random op `op`. state: seed low, seed high, step,
// micro-batch, as `Generator` uploads it.
fn random_words(state: vec4<u32>, op: u32, block: u32) -> vec4<u32> {
    return philox4x32_10(vec4<u32>(block, op, state.z, state.w), state.xy);
}

// Uniform in [0, 1): the upper 24 bits, exact on every adapter.
fn unit(word: u32) -> f32 {
    return f32(word >> 8u) * 5.9604644775390625e-8;
}
