//! WGSL's built-in functions, in f32 and rounded to the kind of the argument.

use half::f16;
use naga::MathFunction as M;

use crate::arithmetic::float;
use crate::types::Kind;
use crate::value::Value;
use crate::{Fault, Result};

pub(crate) fn math(fun: M, kind: Kind, arguments: &[&Value]) -> Result<Value> {
    let known = match kind {
        Kind::F32 | Kind::F16 => of_floats(fun, kind, arguments),
        _ => of_integers(fun, kind, arguments),
    };
    known.ok_or_else(|| Fault::new(format!("the function {fun:?} of {kind:?} is not emulated")))
}

fn of_floats(fun: M, kind: Kind, arguments: &[&Value]) -> Option<Value> {
    let f = f32::from_bits;
    let one = |g: fn(f32) -> f32| Some(arguments[0].map(|x| float(kind, g(f(x)))));
    let two = |g: fn(f32, f32) -> f32| {
        Some(arguments[0].zip(arguments[1], |x, y| float(kind, g(f(x), f(y)))))
    };
    let three = |g: fn(f32, f32, f32) -> f32| {
        Some(arguments[0].zip3(arguments[1], arguments[2], |x, y, z| {
            float(kind, g(f(x), f(y), f(z)))
        }))
    };
    match fun {
        M::Abs => one(f32::abs),
        M::Saturate => one(|x| x.clamp(0.0, 1.0)),
        M::Cos => one(f32::cos),
        M::Cosh => one(f32::cosh),
        M::Sin => one(f32::sin),
        M::Sinh => one(f32::sinh),
        M::Tan => one(f32::tan),
        M::Tanh => one(f32::tanh),
        M::Acos => one(f32::acos),
        M::Asin => one(f32::asin),
        M::Atan => one(f32::atan),
        M::Asinh => one(f32::asinh),
        M::Acosh => one(f32::acosh),
        M::Atanh => one(f32::atanh),
        M::Radians => one(f32::to_radians),
        M::Degrees => one(f32::to_degrees),
        M::Ceil => one(f32::ceil),
        M::Floor => one(f32::floor),
        M::Round => one(f32::round_ties_even),
        M::Fract => one(|x| x - x.floor()),
        M::Trunc => one(f32::trunc),
        M::Exp => one(f32::exp),
        M::Exp2 => one(f32::exp2),
        M::Log => one(f32::ln),
        M::Log2 => one(f32::log2),
        M::Sqrt => one(f32::sqrt),
        M::InverseSqrt => one(|x| 1.0 / x.sqrt()),
        M::Sign => one(|x| if x == 0.0 { 0.0 } else { x.signum() }),
        M::QuantizeToF16 => one(|x| f16::from_f32(x).to_f32()),
        M::Min => two(f32::min),
        M::Max => two(f32::max),
        M::Atan2 => two(f32::atan2),
        M::Pow => two(f32::powf),
        M::Step => two(|edge, x| if x < edge { 0.0 } else { 1.0 }),
        M::Clamp => three(|x, low, high| x.max(low).min(high)),
        M::Fma => three(f32::mul_add),
        M::Mix => three(|x, y, t| x * (1.0 - t) + y * t),
        M::SmoothStep => three(|low, high, x| {
            let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
            t * t * (3.0 - 2.0 * t)
        }),
        M::Ldexp => Some(arguments[0].zip(arguments[1], |x, e| {
            float(kind, f(x) * (e as i32 as f32).exp2())
        })),
        M::Dot => Some(dot(kind, arguments[0], arguments[1])),
        M::Length => Some(root(kind, &dot(kind, arguments[0], arguments[0]))),
        M::Distance => {
            let between = arguments[0].zip(arguments[1], |x, y| float(kind, f(x) - f(y)));
            Some(root(kind, &dot(kind, &between, &between)))
        }
        M::Normalize => {
            let length = root(kind, &dot(kind, arguments[0], arguments[0]));
            Some(arguments[0].zip(&length, |x, l| float(kind, f(x) / f(l))))
        }
        M::Cross => {
            let (a, b) = (arguments[0], arguments[1]);
            let turned = |v: &Value, by: usize| v.pick((0..3).map(move |i| (i + by) % 3));
            let product = |x: u32, y: u32| float(kind, f(x) * f(y));
            let plus = turned(a, 1).zip(&turned(b, 2), product);
            let minus = turned(a, 2).zip(&turned(b, 1), product);
            Some(plus.zip(&minus, |x, y| float(kind, f(x) - f(y))))
        }
        M::Pack2x16float => {
            let half = |x: u32| u32::from(f16::from_f32(f(x)).to_bits());
            let second = arguments[0].pick(std::iter::once(1));
            Some(
                arguments[0]
                    .pick(std::iter::once(0))
                    .zip(&second, |x, y| half(x) | half(y) << 16),
            )
        }
        M::Pack4x8snorm => Some(pack(arguments[0], 8, |x| {
            (f(x).clamp(-1.0, 1.0) * 127.0).round() as i32 as u32
        })),
        M::Pack4x8unorm => Some(pack(arguments[0], 8, |x| {
            (f(x).clamp(0.0, 1.0) * 255.0).round() as u32
        })),
        M::Pack2x16snorm => Some(pack(arguments[0], 16, |x| {
            (f(x).clamp(-1.0, 1.0) * 32767.0).round() as i32 as u32
        })),
        M::Pack2x16unorm => Some(pack(arguments[0], 16, |x| {
            (f(x).clamp(0.0, 1.0) * 65535.0).round() as u32
        })),
        _ => None,
    }
}

fn dot(kind: Kind, a: &Value, b: &Value) -> Value {
    let f = f32::from_bits;
    let products = a.zip(b, |x, y| float(kind, f(x) * f(y)));
    let first = products.pick(std::iter::once(0));
    (1..products.slots()).fold(first, |sum, i| {
        sum.zip(&products.pick(std::iter::once(i)), |x, y| {
            float(kind, f(x) + f(y))
        })
    })
}

fn root(kind: Kind, value: &Value) -> Value {
    value.map(|x| float(kind, f32::from_bits(x).sqrt()))
}

/// The low bits of all components side by side.
fn pack(value: &Value, bits: u32, part: impl Fn(u32) -> u32) -> Value {
    let low = |x: u32| part(x) & ((1 << bits) - 1);
    let first = value.pick(std::iter::once(0)).map(low);
    (1..value.slots()).fold(first, |all, i| {
        all.zip(&value.pick(std::iter::once(i)), |all, x| {
            all | low(x) << (i as u32 * bits)
        })
    })
}

/// A word's parts of so many bits, each as `f` sees it.
fn unpack(value: &Value, bits: u32, f: impl Fn(u32) -> u32) -> Value {
    let part = |i: u32| value.map(|x| f(x >> (i * bits) & (((1_u64 << bits) - 1) as u32)));
    let parts: Vec<Value> = (0..32 / bits).map(part).collect();
    Value::join(parts.iter())
}

fn of_integers(fun: M, kind: Kind, arguments: &[&Value]) -> Option<Value> {
    let a = arguments[0];
    let i = |x: u32| x as i32;
    let signed = kind == Kind::I32;
    let two = |of_i: fn(i32, i32) -> i32, of_u: fn(u32, u32) -> u32| {
        let pick = |x: u32, y: u32| {
            if signed {
                of_i(i(x), i(y)) as u32
            } else {
                of_u(x, y)
            }
        };
        Some(a.zip(arguments[1], pick))
    };
    let byte = |x: u32| x as u8 as i8 as f32;
    match fun {
        M::Abs if signed => Some(a.map(|x| i(x).wrapping_abs() as u32)),
        M::Abs => Some(a.clone()),
        M::Sign => Some(a.map(|x| i(x).signum() as u32)),
        M::Min => two(Ord::min, Ord::min),
        M::Max => two(Ord::max, Ord::max),
        M::Clamp => Some(
            a.zip3(arguments[1], arguments[2], |x, low, high| match signed {
                true => i(x).max(i(low)).min(i(high)) as u32,
                false => x.max(low).min(high),
            }),
        ),
        M::Dot => {
            let products = a.zip(arguments[1], u32::wrapping_mul);
            let first = products.pick(std::iter::once(0));
            let add =
                |sum: Value, i| sum.zip(&products.pick(std::iter::once(i)), u32::wrapping_add);
            Some((1..products.slots()).fold(first, add))
        }
        M::Dot4U8Packed | M::Dot4I8Packed => Some(a.zip(arguments[1], |x, y| {
            let term = |n: u32| {
                let (x, y) = (x >> (8 * n) & 255, y >> (8 * n) & 255);
                match fun {
                    M::Dot4U8Packed => x * y,
                    _ => (i32::from(x as u8 as i8) * i32::from(y as u8 as i8)) as u32,
                }
            };
            (0..4).map(term).fold(0, u32::wrapping_add)
        })),
        M::CountTrailingZeros => Some(a.map(u32::trailing_zeros)),
        M::CountLeadingZeros => Some(a.map(u32::leading_zeros)),
        M::CountOneBits => Some(a.map(u32::count_ones)),
        M::ReverseBits => Some(a.map(u32::reverse_bits)),
        M::FirstTrailingBit => Some(a.map(|x| if x == 0 { u32::MAX } else { x.trailing_zeros() })),
        M::FirstLeadingBit => Some(a.map(|x| {
            let x = if signed && i(x) < 0 { !x } else { x };
            if x == 0 {
                u32::MAX
            } else {
                31 - x.leading_zeros()
            }
        })),
        M::ExtractBits => Some(a.zip3(arguments[1], arguments[2], |x, offset, count| {
            let (offset, count) = (offset.min(32), count.min(32 - offset.min(32)));
            if count == 0 {
                return 0;
            }
            let up = x << (32 - offset - count);
            if signed {
                (i(up) >> (32 - count)) as u32
            } else {
                up >> (32 - count)
            }
        })),
        M::InsertBits => {
            let both = a.zip(arguments[1], |_, new| new);
            let places = arguments[2].zip(arguments[3], |offset, count| {
                let offset = offset.min(32);
                let count = count.min(32 - offset);
                (((1_u64 << count) - 1) << offset) as u32
            });
            let moved = both.zip(arguments[2], |new, offset| {
                new.checked_shl(offset).unwrap_or(0)
            });
            Some(a.zip3(&moved, &places, |old, new, places| {
                old & !places | new & places
            }))
        }
        M::Pack4xI8 | M::Pack4xU8 => Some(pack(a, 8, |x| x)),
        M::Pack4xI8Clamp => Some(pack(a, 8, |x| i(x).clamp(-128, 127) as u32)),
        M::Pack4xU8Clamp => Some(pack(a, 8, |x| x.min(255))),
        M::Unpack4xI8 => Some(unpack(a, 8, |x| x as u8 as i8 as i32 as u32)),
        M::Unpack4xU8 => Some(unpack(a, 8, |x| x)),
        M::Unpack2x16float => Some(unpack(a, 16, |x| {
            f16::from_bits(x as u16).to_f32().to_bits()
        })),
        M::Unpack4x8snorm => Some(unpack(a, 8, |x| (byte(x) / 127.0).max(-1.0).to_bits())),
        M::Unpack4x8unorm => Some(unpack(a, 8, |x| (x as f32 / 255.0).to_bits())),
        M::Unpack2x16snorm => Some(unpack(a, 16, |x| {
            (f32::from(x as u16 as i16) / 32767.0).max(-1.0).to_bits()
        })),
        M::Unpack2x16unorm => Some(unpack(a, 16, |x| (x as f32 / 65535.0).to_bits())),
        _ => None,
    }
}
