// NaN and infinities. WGSL lets a driver assume that there are none, and its `max` and `min` may drop a NaN; so they
// are found by their bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// A float by its bits, for those that WGSL has no literal of.
fn from_bits(bits: u32) -> f32 {
    var b = bits;
    return bitcast<f32>(b);
}

// The larger and the smaller of two; NaN if one is NaN.
fn maximum(a: f32, b: f32) -> f32 {
    return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}

fn minimum(a: f32, b: f32) -> f32 {
    return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}

fn maximum4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(max(a, b), b, is_nan4(b)), a, is_nan4(a));
}

fn minimum4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(min(a, b), b, is_nan4(b)), a, is_nan4(a));
}

// 1 / x, also of 0.
fn reciprocal(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return select(1.0 / x, from_bits(bits | 0x7f800000u), (bits & 0x7fffffffu) == 0u);
}

// The logarithm of 0 (minus infinity), of negative values (NaN), of infinity and of NaN.
fn log_special(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let positive = select(bits, 0xff800000u, size == 0u);
    return from_bits(select(positive, size | 0x7fc00000u, bits > 0x80000000u));
}
