//! Operators and conversions, by WGSL's rules: integers wrap, a division by zero gives the dividend, f16
//! rounds after every operation.

use half::f16;
use naga::{AtomicFunction, BinaryOperator as B, UnaryOperator};

use crate::types::Kind;
use crate::value::Value;
use crate::{Fault, Result};

/// A float of this kind: rounded to half precision where it is an `f16`.
pub(crate) fn float(kind: Kind, x: f32) -> u32 {
    match kind {
        Kind::F16 => f16::from_f32(x).to_f32().to_bits(),
        _ => x.to_bits(),
    }
}

fn bit(x: bool) -> u32 {
    u32::from(x)
}

pub(crate) fn unary(op: UnaryOperator, kind: Kind, value: &Value) -> Result<Value> {
    Ok(match (op, kind) {
        (UnaryOperator::Negate, Kind::F32 | Kind::F16) => {
            value.map(|x| (-f32::from_bits(x)).to_bits())
        }
        (UnaryOperator::Negate, _) => value.map(u32::wrapping_neg),
        (UnaryOperator::LogicalNot, _) => value.map(|x| x ^ 1),
        (UnaryOperator::BitwiseNot, _) => value.map(|x| !x),
    })
}

pub(crate) fn binary(op: B, kind: Kind, a: &Value, b: &Value) -> Result<Value> {
    match kind {
        Kind::F32 | Kind::F16 => floats(op, kind, a, b),
        Kind::I32 => signed(op, a, b),
        Kind::U32 | Kind::Bool => words(op, a, b),
    }
}

fn floats(op: B, kind: Kind, a: &Value, b: &Value) -> Result<Value> {
    let f = f32::from_bits;
    Ok(match op {
        B::Add => a.zip(b, |x, y| float(kind, f(x) + f(y))),
        B::Subtract => a.zip(b, |x, y| float(kind, f(x) - f(y))),
        B::Multiply => a.zip(b, |x, y| float(kind, f(x) * f(y))),
        B::Divide => a.zip(b, |x, y| float(kind, f(x) / f(y))),
        B::Modulo => a.zip(b, |x, y| float(kind, f(x) % f(y))),
        B::Equal => a.zip(b, |x, y| bit(f(x) == f(y))),
        B::NotEqual => a.zip(b, |x, y| bit(f(x) != f(y))),
        B::Less => a.zip(b, |x, y| bit(f(x) < f(y))),
        B::LessEqual => a.zip(b, |x, y| bit(f(x) <= f(y))),
        B::Greater => a.zip(b, |x, y| bit(f(x) > f(y))),
        B::GreaterEqual => a.zip(b, |x, y| bit(f(x) >= f(y))),
        other => return Err(Fault::new(format!("{other:?} of floats"))),
    })
}

fn signed(op: B, a: &Value, b: &Value) -> Result<Value> {
    let i = |x: u32| x as i32;
    Ok(match op {
        B::Divide => a.zip(b, |x, y| i(x).checked_div(i(y)).unwrap_or(i(x)) as u32),
        B::Modulo => a.zip(b, |x, y| i(x).checked_rem(i(y)).unwrap_or(0) as u32),
        B::Less => a.zip(b, |x, y| bit(i(x) < i(y))),
        B::LessEqual => a.zip(b, |x, y| bit(i(x) <= i(y))),
        B::Greater => a.zip(b, |x, y| bit(i(x) > i(y))),
        B::GreaterEqual => a.zip(b, |x, y| bit(i(x) >= i(y))),
        B::ShiftRight => a.zip(b, |x, y| i(x).wrapping_shr(y) as u32),
        // Two's complement: the rest is the same as without a sign.
        _ => return words(op, a, b),
    })
}

fn words(op: B, a: &Value, b: &Value) -> Result<Value> {
    Ok(match op {
        B::Add => a.zip(b, u32::wrapping_add),
        B::Subtract => a.zip(b, u32::wrapping_sub),
        B::Multiply => a.zip(b, u32::wrapping_mul),
        B::Divide => a.zip(b, |x, y| x.checked_div(y).unwrap_or(x)),
        B::Modulo => a.zip(b, |x, y| x.checked_rem(y).unwrap_or(0)),
        B::Equal => a.zip(b, |x, y| bit(x == y)),
        B::NotEqual => a.zip(b, |x, y| bit(x != y)),
        B::Less => a.zip(b, |x, y| bit(x < y)),
        B::LessEqual => a.zip(b, |x, y| bit(x <= y)),
        B::Greater => a.zip(b, |x, y| bit(x > y)),
        B::GreaterEqual => a.zip(b, |x, y| bit(x >= y)),
        B::And | B::LogicalAnd => a.zip(b, |x, y| x & y),
        B::InclusiveOr | B::LogicalOr => a.zip(b, |x, y| x | y),
        B::ExclusiveOr => a.zip(b, |x, y| x ^ y),
        B::ShiftLeft => a.zip(b, u32::wrapping_shl),
        B::ShiftRight => a.zip(b, u32::wrapping_shr),
    })
}

/// A conversion, or the same bits seen as another type.
pub(crate) fn cast(from: Kind, to: Kind, convert: bool, value: &Value) -> Result<Value> {
    let f = f32::from_bits;
    if !convert {
        return match (from, to) {
            (Kind::F16, Kind::F16) => Ok(value.clone()),
            (Kind::F16, _) | (_, Kind::F16) => Err(Fault::new("a bitcast of f16 is not emulated")),
            _ => Ok(value.clone()),
        };
    }
    Ok(match (from, to) {
        (Kind::F32, Kind::F16) => value.map(|x| float(Kind::F16, f(x))),
        (Kind::F32 | Kind::F16, Kind::F32 | Kind::F16) => value.clone(),
        (Kind::F32 | Kind::F16, Kind::U32) => value.map(|x| f(x) as u32),
        (Kind::F32 | Kind::F16, Kind::I32) => value.map(|x| f(x) as i32 as u32),
        (Kind::F32 | Kind::F16, Kind::Bool) => value.map(|x| bit(f(x) != 0.0)),
        (Kind::I32, Kind::F32 | Kind::F16) => value.map(|x| float(to, x as i32 as f32)),
        (_, Kind::F32 | Kind::F16) => value.map(|x| float(to, x as f32)),
        (_, Kind::Bool) => value.map(|x| bit(x != 0)),
        _ => value.clone(),
    })
}

/// What an atomic operation leaves behind.
pub(crate) fn atomic_result(
    fun: &AtomicFunction,
    kind: Kind,
    old: u32,
    new: u32,
    compare: Option<u32>,
) -> u32 {
    let (i, f) = (|x: u32| x as i32, f32::from_bits);
    match (fun, kind) {
        (AtomicFunction::Add, Kind::F32) => (f(old) + f(new)).to_bits(),
        (AtomicFunction::Subtract, Kind::F32) => (f(old) - f(new)).to_bits(),
        (AtomicFunction::Add, _) => old.wrapping_add(new),
        (AtomicFunction::Subtract, _) => old.wrapping_sub(new),
        (AtomicFunction::And, _) => old & new,
        (AtomicFunction::ExclusiveOr, _) => old ^ new,
        (AtomicFunction::InclusiveOr, _) => old | new,
        (AtomicFunction::Min, Kind::I32) => i(old).min(i(new)) as u32,
        (AtomicFunction::Max, Kind::I32) => i(old).max(i(new)) as u32,
        (AtomicFunction::Min, _) => old.min(new),
        (AtomicFunction::Max, _) => old.max(new),
        (AtomicFunction::Exchange { .. }, _) => match compare {
            Some(compare) if compare != old => old,
            _ => new,
        },
    }
}
