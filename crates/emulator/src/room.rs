//! The memory that a workgroup's variables and values take, counted before it is taken.

use naga::{Expression, Handle};

use crate::group::Group;
use crate::value::Value;
use crate::{Fault, Result};

/// Words of 32 bits that a workgroup's variables and values take at most: 512 MiB.
const WORDS: usize = 1 << 27;

impl Group<'_, '_> {
    /// Counts memory for a variable or value of `slots` scalars before it is made.
    pub fn take(&mut self, slots: usize, each: usize, name: Option<&str>) -> Result<()> {
        let words = slots.saturating_mul(each);
        self.words = self.words.saturating_add(words);
        if self.words <= WORDS {
            return Ok(());
        }
        let what = name.map_or("a value".to_owned(), |name| format!("`{name}`"));
        let mib = (words / (1 << 18)).max(1);
        Err(Fault::new(format!(
            "{what} takes {mib} MiB in a workgroup of {} invocations; the emulator has {} MiB for all of its variables and values",
            self.lanes,
            WORDS / (1 << 18)
        )))
    }

    /// Ends a run whose values take too much memory.
    pub fn look_at_the_memory(&mut self) -> Result<()> {
        self.take(0, 0, None)
    }

    pub fn set(&mut self, handle: Handle<Expression>, value: Value) {
        let new = value.words.len();
        let frame = self.top_mut();
        let old = frame.values[handle.index()].replace(value);
        let old = old.map_or(0, |old| old.words.len());
        frame.words = frame.words + new - old;
        self.words = self.words + new - old;
    }

    /// Refuses a value of more scalars than a workgroup has room for.
    pub fn room(&self, slots: usize) -> Result<()> {
        match slots <= WORDS - self.words.min(WORDS) {
            true => Ok(()),
            false => Err(Fault::new(format!(
                "a value of {slots} scalars is larger than what the emulator has room for"
            ))),
        }
    }
}
