//! Operations across a subgroup. Only active invocations take part; values read from an inactive one are garbage.

use naga::{
    CollectiveOperation, Direction, Expression, GatherMode, Handle, SubgroupOperation as S,
};

use crate::Result;
use crate::arithmetic::float;
use crate::group::Group;
use crate::types::Kind;
use crate::value::Value;

/// What an invocation gets from one that is not there: not a number, and no small integer.
const GARBAGE: u32 = 0xFFC0_DEAD;

impl Group<'_, '_> {
    fn subgroup(&self) -> usize {
        self.program.machine.subgroup_size as usize
    }

    pub fn ballot(
        &mut self,
        result: Handle<Expression>,
        predicate: Option<Handle<Expression>>,
        mask: &[bool],
    ) -> Result<()> {
        let size = self.subgroup();
        let says = match predicate {
            Some(handle) => self.value(handle)?.clone(),
            None => Value::uniform(vec![1]),
        };
        let value = Value::from_fn(4, self.lanes, |word, lane| {
            let first = lane / size * size;
            let bits = (word * 32..(word + 1) * 32).filter(|bit| {
                let other = first + bit;
                *bit < size && other < mask.len() && mask[other] && says.at(0, other) != 0
            });
            bits.map(|bit| 1 << (bit % 32)).sum()
        });
        self.set(result, value);
        Ok(())
    }

    pub fn gather(
        &mut self,
        mode: &GatherMode,
        argument: Handle<Expression>,
        result: Handle<Expression>,
        mask: &[bool],
    ) -> Result<()> {
        let size = self.subgroup();
        let given = self.value(argument)?.clone();
        let by = match mode {
            GatherMode::Broadcast(by)
            | GatherMode::Shuffle(by)
            | GatherMode::ShuffleDown(by)
            | GatherMode::ShuffleUp(by)
            | GatherMode::ShuffleXor(by)
            | GatherMode::QuadBroadcast(by) => self.value(*by)?.clone(),
            GatherMode::BroadcastFirst | GatherMode::QuadSwap(_) => Value::uniform(vec![0]),
        };
        // The invocation of the subgroup that each takes from, where there is such a one.
        let source = |lane: usize| {
            let (first, own) = (lane / size * size, lane % size);
            let by = by.at(0, lane) as usize;
            let from = match mode {
                GatherMode::BroadcastFirst => {
                    (0..size).find(|i| mask.get(first + i) == Some(&true))
                }
                GatherMode::Broadcast(_) | GatherMode::Shuffle(_) => Some(by),
                GatherMode::ShuffleDown(_) => own.checked_add(by),
                GatherMode::ShuffleUp(_) => own.checked_sub(by),
                GatherMode::ShuffleXor(_) => Some(own ^ by),
                GatherMode::QuadBroadcast(_) => Some(own / 4 * 4 + by % 4),
                GatherMode::QuadSwap(Direction::X) => Some(own ^ 1),
                GatherMode::QuadSwap(Direction::Y) => Some(own ^ 2),
                GatherMode::QuadSwap(Direction::Diagonal) => Some(own ^ 3),
            };
            let from = from.filter(|from| *from < size).map(|from| first + from);
            from.filter(|from| mask.get(*from) == Some(&true))
        };
        let sources: Vec<Option<usize>> = (0..self.lanes).map(source).collect();
        let value = Value::from_fn(given.slots(), self.lanes, |slot, lane| {
            sources[lane].map_or(GARBAGE, |from| given.at(slot, from))
        });
        self.set(result, value);
        Ok(())
    }

    pub fn collective(
        &mut self,
        op: S,
        collective: CollectiveOperation,
        argument: Handle<Expression>,
        result: Handle<Expression>,
        mask: &[bool],
    ) -> Result<()> {
        let size = self.subgroup();
        let kind = self.kind(argument)?;
        let given = self.value(argument)?.clone();
        let lanes = self.lanes;
        let mut value = Value::zeros(given.slots(), lanes);
        for slot in 0..given.slots() {
            for first in (0..lanes).step_by(size) {
                let here = first..(first + size).min(lanes);
                let mut sum = neutral(op, kind);
                for lane in here.clone().filter(|lane| mask[*lane]) {
                    let before = sum;
                    sum = combine(op, kind, sum, given.at(slot, lane));
                    value.words[slot * lanes + lane] = match collective {
                        CollectiveOperation::ExclusiveScan => before,
                        _ => sum,
                    };
                }
                if collective == CollectiveOperation::Reduce {
                    value.words[slot * lanes + here.start..slot * lanes + here.end].fill(sum);
                }
            }
        }
        self.set(result, value);
        Ok(())
    }
}

fn neutral(op: S, kind: Kind) -> u32 {
    let is_float = matches!(kind, Kind::F32 | Kind::F16);
    match op {
        S::All => 1,
        S::Any | S::Or | S::Xor => 0,
        S::And => u32::MAX,
        S::Add => 0,
        S::Mul if is_float => 1_f32.to_bits(),
        S::Mul => 1,
        S::Min if is_float => f32::INFINITY.to_bits(),
        S::Max if is_float => f32::NEG_INFINITY.to_bits(),
        S::Min if kind == Kind::I32 => i32::MAX as u32,
        S::Max if kind == Kind::I32 => i32::MIN as u32,
        S::Min => u32::MAX,
        S::Max => 0,
    }
}

fn combine(op: S, kind: Kind, a: u32, b: u32) -> u32 {
    let f = f32::from_bits;
    let is_float = matches!(kind, Kind::F32 | Kind::F16);
    match op {
        S::All | S::And => a & b,
        S::Any | S::Or => a | b,
        S::Xor => a ^ b,
        S::Add if is_float => float(kind, f(a) + f(b)),
        S::Mul if is_float => float(kind, f(a) * f(b)),
        S::Min if is_float => f(a).min(f(b)).to_bits(),
        S::Max if is_float => f(a).max(f(b)).to_bits(),
        S::Add => a.wrapping_add(b),
        S::Mul => a.wrapping_mul(b),
        S::Min if kind == Kind::I32 => (a as i32).min(b as i32) as u32,
        S::Max if kind == Kind::I32 => (a as i32).max(b as i32) as u32,
        S::Min => a.min(b),
        S::Max => a.max(b),
    }
}
