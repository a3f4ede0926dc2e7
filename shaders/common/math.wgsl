// Elementary functions to about one unit in the last place of f32 on every adapter. Drivers may be off
// by 1e-2 near a root (log near 1, tanh near 0) and differ from each other; these functions do not. NaN and
// infinities give what they give in C.
#import common/special

// 2^k as a float, for k in -126..=127.
fn exp2_int(k: i32) -> f32 {
    return bitcast<f32>(u32(k + 127) << 23u);
}

// exp(z) / 2^k for k = round(z / ln 2): Cody and Waite's reduction, then the polynomial of Cephes' expf.
fn exp_reduced(z: f32, k: f32) -> f32 {
    let r = (z - k * 0.693359375) + k * 2.12194440e-4;
    var p = 1.9875691500e-4;
    p = p * r + 1.3981999507e-3;
    p = p * r + 8.3334519073e-3;
    p = p * r + 4.1665795894e-2;
    p = p * r + 1.6666665459e-1;
    p = p * r + 5.0000001201e-1;
    return p * r * r + r + 1.0;
}

// Below -87.3 it is 0, from 88.73 on infinity.
fn precise_exp(x: f32) -> f32 {
    let z = clamp(x, -87.3, 89.0);
    let k = round(z * 1.44269504);
    // 2^128 is no float, 2^127 is.
    let half = min(i32(k), 127);
    let y = exp_reduced(z, k) * exp2_int(half) * exp2_int(i32(k) - half);
    return select(select(y, 0.0, x < -87.3), x, is_nan(x));
}

// The same for x that is 0 or less, also by a rounding more: what is left of a row less its maximum.
fn exp_nonpositive(x: f32) -> f32 {
    let z = max(x, -87.3);
    let k = round(z * 1.44269504);
    let y = exp_reduced(z, k) * exp2_int(i32(k));
    return select(select(y, 0.0, x < -87.3), x, is_nan(x));
}

// 1 - exp(x) for x <= 0, without loss near 0.
fn one_minus_exp(x: f32) -> f32 {
    if (x < -0.5) {
        return 1.0 - precise_exp(x);
    }
    var p = 1.0 + x * 0.1111111111;
    p = 1.0 + x * 0.125 * p;
    p = 1.0 + x * 0.1428571429 * p;
    p = 1.0 + x * 0.1666666667 * p;
    p = 1.0 + x * 0.2 * p;
    p = 1.0 + x * 0.25 * p;
    p = 1.0 + x * 0.3333333333 * p;
    p = 1.0 + x * 0.5 * p;
    return -x * p;
}

// Cephes' logf.
fn precise_log(x: f32) -> f32 {
    let given = bitcast<u32>(x);
    // A denormal is a whole number of steps of 2^-149, and as a whole number it is normal.
    let denormal = given < 0x00800000u;
    let bits = select(given, bitcast<u32>(f32(given)), denormal);
    var e = f32(i32(bits >> 23u) - select(126, 275, denormal));
    var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f000000u);
    if (m < 0.707106781) {
        e = e - 1.0;
        m = m + m - 1.0;
    } else {
        m = m - 1.0;
    }
    let z = m * m;
    var p = 7.0376836292e-2;
    p = p * m - 1.1514610310e-1;
    p = p * m + 1.1676998740e-1;
    p = p * m - 1.2420140846e-1;
    p = p * m + 1.4249322787e-1;
    p = p * m - 1.6668057665e-1;
    p = p * m + 2.0000714765e-1;
    p = p * m - 2.4999993993e-1;
    p = p * m + 3.3333331174e-1;
    var y = m * z * p;
    y = y - 2.12194440e-4 * e;
    y = y - 0.5 * z;
    let normal = (m + y) + 0.693359375 * e;
    return select(normal, log_special(x), given - 1u >= 0x7f7fffffu);
}

// log(1 + x) for x > -1, without loss near 0 (Kahan's correction).
fn precise_log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let safe = select(u - 1.0, 1.0, u == 1.0);
    return select(precise_log(u) * (x / safe), x, u == 1.0);
}

// x^a as C's pow: negative x for whole a only; NaN to the power 0 and 1 to the power NaN are 1.
fn precise_pow(x: f32, a: f32) -> f32 {
    if (a == 0.0 || x == 1.0) {
        return 1.0;
    }
    // Small whole powers by multiplication: exact where exp(a log x) would lose digits.
    if (abs(a) <= 16.0 && a == trunc(a)) {
        var y = 1.0;
        var base = x;
        var n = u32(abs(a));
        for (var i = 0u; i < 5u; i++) {
            if ((n & 1u) == 1u) {
                y = y * base;
            }
            base = base * base;
            n = n >> 1u;
        }
        return select(y, reciprocal(y), a < 0.0);
    }
    if (is_nan(x) || is_nan(a)) {
        return select(x, a, is_nan(a));
    }
    let whole = a == trunc(a);
    let odd = whole && abs(a * 0.5 - trunc(a * 0.5)) > 0.25;
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    var y = precise_exp(a * precise_log(abs(x)));
    if (abs(x) == 1.0) {
        // Also for infinite a, where 0 times infinity would be NaN.
        y = 1.0;
    }
    if (x < 0.0 && !whole && size != 0x7f800000u) {
        return from_bits(bits | 0x7fc00000u);
    }
    return select(y, -y, bits > 0x7fffffffu && odd);
}

// Rational minimax approximations as used by Eigen and XLA; no exponential.
fn precise_tanh(v: f32) -> f32 {
    let x = clamp(v, -7.90531111, 7.90531111);
    let z = x * x;
    var p = -2.76076847742355e-16;
    p = p * z + 2.00018790482477e-13;
    p = p * z - 8.60467152213735e-11;
    p = p * z + 5.12229709037114e-08;
    p = p * z + 1.48572235717979e-05;
    p = p * z + 6.37261928875436e-04;
    p = p * z + 4.89352455891786e-03;
    var q = 1.19825839466702e-06;
    q = q * z + 1.18534705686654e-04;
    q = q * z + 2.26843463243900e-03;
    q = q * z + 4.89352518554385e-03;
    return select(x * p / q, v, abs(v) < 4e-4 || is_nan(v));
}

fn precise_erf(v: f32) -> f32 {
    let x = clamp(v, -4.0, 4.0);
    let z = x * x;
    var p = -2.72614225801306e-10;
    p = p * z + 2.77068142495902e-08;
    p = p * z - 2.10102402082508e-06;
    p = p * z - 5.69250639462346e-05;
    p = p * z - 7.34990630326855e-04;
    p = p * z - 2.95459980854025e-03;
    p = p * z - 1.60960333262415e-02;
    var q = -1.45660718464996e-05;
    q = q * z - 2.13374055278905e-04;
    q = q * z - 1.68282697438203e-03;
    q = q * z - 7.37332916720468e-03;
    q = q * z - 1.42647390514189e-02;
    return x * p / q;
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + precise_exp(-x));
}

// x * Phi(x), the exact GELU (Hendrycks and Gimpel, arXiv:1606.08415).
fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + precise_erf(x * 0.70710678));
}

fn gelu_derivative(x: f32) -> f32 {
    return 0.5 * (1.0 + precise_erf(x * 0.70710678)) + x * 0.39894228 * precise_exp(-0.5 * x * x);
}

// The tanh approximation of the same paper.
fn gelu_tanh(x: f32) -> f32 {
    return 0.5 * x * (1.0 + precise_tanh(0.79788456 * (x + 0.044715 * x * x * x)));
}

fn gelu_tanh_derivative(x: f32) -> f32 {
    let t = precise_tanh(0.79788456 * (x + 0.044715 * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.79788456 * (1.0 + 0.134145 * x * x);
}
