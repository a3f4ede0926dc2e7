// The position of texel `i` of a tensor in its texture, which has rows of 1024 texels.
fn at_texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i & 1023u, i >> 10u);
}
