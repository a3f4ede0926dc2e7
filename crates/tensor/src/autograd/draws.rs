//! Which random ops a function used, so that it can be run again with the same random numbers.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// The generators that a function drew from: their identity, and the number of the first random op.
#[derive(Clone, Default)]
pub(crate) struct Draws(Vec<(u64, u32)>);

enum Frame {
    /// Notes the first op of every generator.
    Trace(Draws),
    /// Continues from these numbers instead of the generators' counts.
    Replay(Draws),
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Removes its frame when dropped, also if the function panics.
struct Pop;

impl Drop for Pop {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(Vec::pop);
    }
}

/// Runs `f`; also returns the draws it made.
pub(crate) fn traced<T>(f: impl FnOnce() -> T) -> (T, Draws) {
    FRAMES.with_borrow_mut(|frames| frames.push(Frame::Trace(Draws::default())));
    let pop = Pop;
    let result = f();
    let draws = FRAMES.with_borrow(|frames| match frames.last() {
        Some(Frame::Trace(draws)) => draws.clone(),
        _ => Draws::default(),
    });
    drop(pop);
    (result, draws)
}

/// Runs `f` with the same random numbers as when `draws` were traced. The generators' own counts do not change.
pub(crate) fn replayed<T>(draws: &Draws, f: impl FnOnce() -> T) -> T {
    FRAMES.with_borrow_mut(|frames| frames.push(Frame::Replay(draws.clone())));
    let _pop = Pop;
    f()
}

/// The number of the next random op of the generator `id`, whose own count is `count`.
pub(crate) fn next_op(id: u64, count: &AtomicU32) -> u32 {
    FRAMES.with_borrow_mut(|frames| {
        let mut replays = frames.iter_mut().rev().filter_map(|frame| match frame {
            Frame::Replay(draws) => draws.0.iter_mut().find(|(known, _)| *known == id),
            Frame::Trace(_) => None,
        });
        let op = match replays.next() {
            Some((_, next)) => {
                *next += 1;
                *next - 1
            }
            None => count.fetch_add(1, Ordering::Relaxed),
        };
        for frame in frames {
            if let Frame::Trace(draws) = frame
                && draws.0.iter().all(|(known, _)| *known != id)
            {
                draws.0.push((id, op));
            }
        }
        op
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_draws_the_same_and_leaves_the_count() {
        let count = AtomicU32::new(3);
        let draw = || next_op(7, &count);
        let ((outer, inner), draws) = traced(|| {
            let first = draw();
            let (inner, draws) = traced(|| [draw(), draw()]);
            ([first, inner[0], inner[1], draw()], (inner, draws))
        });
        assert_eq!(outer, [3, 4, 5, 6]);
        assert_eq!(draw(), 7);
        let again = replayed(&draws, || {
            let first = draw();
            let (second, draws) = traced(|| [draw(), draw()]);
            assert_eq!(replayed(&draws, || [draw(), draw()]), second);
            [first, second[0], second[1], draw()]
        });
        assert_eq!(again, outer);
        assert_eq!(replayed(&inner.1, || [draw(), draw()]), inner.0);
        assert_eq!(draw(), 8);
    }
}
