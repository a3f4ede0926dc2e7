// Where texel `i` of a tensor lies in the texture that it is bound as: rows of 1024 texels.
fn at_texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i & 1023u, i >> 10u);
}
