// What this adapter's arithmetic makes of NaN, infinities and denormals, which WGSL leaves to it.
// math: y[i] = an expression of x for each i, given beside its IEEE 754 value in cases/special.rs
// shapes: x, as bits: NaN, infinity, -infinity, 0, 1, the largest f32, the smallest denormal; y as bits
// launch: one invocation
// numerics: the adapter's
// backward: none
// reference: cases/special.rs

@group(0) @binding(1) var<storage, read> x: array<u32>; // (7)
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // (16)

fn put(i: u32, value: f32) {
    y[i] = bitcast<u32>(value);
}

@compute @workgroup_size(1)
fn special_values() {
    let nan = bitcast<f32>(x[0]);
    let infinity = bitcast<f32>(x[1]);
    let negative = bitcast<f32>(x[2]);
    let zero = bitcast<f32>(x[3]);
    let one = bitcast<f32>(x[4]);
    let largest = bitcast<f32>(x[5]);
    let denormal = bitcast<f32>(x[6]);
    put(0u, nan + one);
    put(1u, nan * zero);
    put(2u, max(nan, one));
    put(3u, min(one, nan));
    put(4u, clamp(nan, zero, one));
    put(5u, select(0.0, 1.0, nan != nan));
    put(6u, select(0.0, 1.0, nan < one));
    put(7u, select(0.0, 1.0, !(nan < one)));
    put(8u, infinity + negative);
    put(9u, zero * infinity);
    put(10u, one / zero);
    put(11u, zero / zero);
    put(12u, largest * (one + one));
    put(13u, sqrt(-one));
    put(14u, max(negative, infinity));
    put(15u, denormal * one);
}
