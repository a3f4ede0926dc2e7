// Sine and cosine of any f32. A driver's own may be off by 2^-11 inside -pi..pi and by anything outside (WGSL
// promises no more); these are within 2^-23, and within 4 units in the last place, also next to their zeros and for
// arguments up to 3.4e38. The reduction is in integers, which no compiler may reorder or round.

// The sine and the cosine of an angle of at most an eighth of a turn: the polynomials of Cephes' sinf and cosf.
fn sin_part(a: f32) -> f32 {
    let z = a * a;
    return a + a * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
}

fn cos_part(a: f32) -> f32 {
    let z = a * a;
    return 1.0 - 0.5 * z + z * z * (4.166664568e-2 + z * (-1.388731625e-3 + z * 2.443315711e-5));
}

// Word `i` of 1 / (2 pi) in binary; word 0 ends at the point.
fn inverse_turn(i: u32) -> u32 {
    switch i {
        case 0u: { return 0u; }
        case 1u: { return 0x28be60dbu; }
        case 2u: { return 0x9391054au; }
        case 3u: { return 0x7f09d5f4u; }
        case 4u: { return 0x7d4d3770u; }
        case 5u: { return 0x36d8a566u; }
        case 6u: { return 0x4f10e410u; }
        default: { return 0u; }
    }
}

// The upper 32 bits of a * b.
fn multiply_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let first = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let second = (a & 0xffffu) * (b >> 16u) + (first & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (first >> 16u) + (second >> 16u);
}

// Of two words, the 32 bits from bit `by` on, 0 to 31.
fn window(high: u32, low: u32, by: u32) -> u32 {
    return (high << by) | ((low >> 1u) >> (31u - by));
}

struct Angle {
    // Radians in -pi/4..pi/4, and the quarter turns to add, 0 to 3.
    rest: f32,
    quarters: u32,
}

// |x| as an angle (Payne and Hanek): |x| / (2 pi) modulo 1 as a fraction of 64 bits, from the 96 bits of 1 / (2 pi)
// that count for the exponent of x.
fn reduced(x: f32) -> Angle {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    if (bits < 0x3f490fdbu) {
        return Angle(abs(x), 0u);
    }
    let exponent = (bits >> 23u) - 126u;
    let m = (bits << 8u) | 0x80000000u;
    let at = exponent >> 5u;
    let by = exponent & 31u;
    let w1 = inverse_turn(at + 1u);
    let w2 = inverse_turn(at + 2u);
    let middle = window(w1, w2, by);
    let product = m * middle;
    var low = product + multiply_high(m, window(w2, inverse_turn(at + 3u), by));
    var high = m * window(inverse_turn(at), w1, by) + multiply_high(m, middle) + select(0u, 1u, low < product);
    let quarters = (high + 0x20000000u) >> 30u;
    high -= quarters << 30u;
    let negative = (high >> 31u) == 1u;
    if (negative) {
        high = ~high + select(0u, 1u, low == 0u);
        low = ~low + 1u;
    }
    // The leading 24 bits, rounded: an angle next to a zero keeps its digits.
    let deep = high == 0u;
    let leading = select(high, low, deep);
    let zeros = countLeadingZeros(leading | 1u);
    let top = window(leading, select(low, 0u, deep), zeros);
    let digits = f32((top >> 8u) + ((top >> 7u) & 1u)) * 3.7450703e-7;
    let rest = digits * bitcast<f32>((127u - zeros - select(0u, 32u, deep)) << 23u);
    return Angle(select(rest, -rest, negative), quarters);
}

// Infinities and NaN have no angle: NaN.
fn or_nan(y: f32, x: f32) -> f32 {
    let bits = bitcast<u32>(x) & 0x7fffffffu;
    return select(y, bitcast<f32>(bits | 0x7fc00000u), bits >= 0x7f800000u);
}

fn precise_sin(x: f32) -> f32 {
    let angle = reduced(x);
    let y = select(sin_part(angle.rest), cos_part(angle.rest), (angle.quarters & 1u) == 1u);
    return or_nan(select(y, -y, (angle.quarters >= 2u) != (bitcast<u32>(x) >> 31u == 1u)), x);
}

fn precise_cos(x: f32) -> f32 {
    let angle = reduced(x);
    let y = select(cos_part(angle.rest), sin_part(angle.rest), (angle.quarters & 1u) == 1u);
    return or_nan(select(y, -y, angle.quarters == 1u || angle.quarters == 2u), x);
}
