//! Buffers moved side by side into one, so that one launch works on all of them: the parameters that an
//! optimizer updates, the weights of projections that share their input.

use std::sync::Arc;

use super::buffer::Buffer;
use super::pool::Taken;
use super::transfer::Transfer;

/// The alignment of packed buffers, in bytes: the largest that a binding may need.
pub const PACK_ALIGN: u64 = 256;

/// Buffers that will lie side by side: the outermost ones, each once.
pub(crate) struct Packing(Vec<Buffer>);

impl Packing {
    pub(crate) fn of(buffers: &[&Buffer]) -> Self {
        let mut outer: Vec<Buffer> = Vec::new();
        for buffer in buffers {
            let (found, _) = buffer.outermost();
            if !outer.iter().any(|known| known.same(&found)) {
                outer.push(found);
            }
        }
        Self(outer)
    }

    /// The buffer that contains all of them already, if there is one.
    pub(crate) fn done(&self) -> Option<&Buffer> {
        match self.0.as_slice() {
            [only] if only.size().is_multiple_of(PACK_ALIGN) => Some(only),
            _ => None,
        }
    }

    /// Bytes of all of them with the gaps between.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(padded).sum()
    }

    /// Moves the handles into `all`, and passes the copies of the bytes to `record`, with the memory that each copy
    /// reads. Work recorded later uses the new positions.
    pub(crate) fn move_into(
        &self,
        all: &Buffer,
        mut record: impl FnMut(Option<&Arc<Taken>>, Transfer),
    ) {
        let (target, _) = all.place();
        let zero = Transfer::Zero {
            buffer: target.raw.clone(),
            offset: 0,
            bytes: all.size(),
        };
        record(None, zero);
        let mut at = 0;
        for buffer in &self.0 {
            let (source, from_offset) = buffer.place();
            let copy = Transfer::Copy {
                from: source.raw.clone(),
                from_offset,
                to: target.raw.clone(),
                to_offset: at,
                bytes: buffer.size(),
            };
            // The source's memory goes back to the pool: an upload there must wait for the copy, so the copy
            // counts as its use.
            record(Some(&source), copy);
            buffer.move_into(all, at);
            at += padded(buffer);
        }
    }
}

fn padded(buffer: &Buffer) -> u64 {
    buffer.size().next_multiple_of(PACK_ALIGN)
}
