//! Buffers moved side by side into one, so that one launch works on all of them: the parameters that an
//! optimizer updates, the weights of projections that share their input.

use std::sync::atomic::Ordering;

use crate::device::Device;
use crate::error::Result;
use crate::memory::pool::Buffer;
use crate::submit::recording::Command;

/// What packed buffers begin at multiples of, in bytes: the largest alignment that a binding may need.
pub const PACK_ALIGN: u64 = 256;

impl Device {
    /// Moves the memory of `buffers` side by side into one new buffer, in their order, and returns that.
    /// Each begins at a multiple of [`PACK_ALIGN`] bytes; the gaps are zeros. Every handle stays valid
    /// and stands for a part of the new buffer; [`Buffer::outermost`] says where.
    ///
    /// A buffer that lies in another one already takes all of that one with it. If all lie in one that was
    /// packed before, nothing moves.
    ///
    /// Errors: the sum is more than one buffer may hold; out of memory. Nothing has moved then.
    pub fn pack(&self, buffers: &[&Buffer]) -> Result<Buffer> {
        let mut outer: Vec<Buffer> = Vec::new();
        for buffer in buffers {
            let (found, _) = buffer.outermost();
            if !outer.iter().any(|known| known.same(&found)) {
                outer.push(found);
            }
        }
        if let [only] = outer.as_slice()
            && only.size().is_multiple_of(PACK_ALIGN)
        {
            return Ok(only.clone());
        }
        let sizes = outer.iter().map(|b| b.size().next_multiple_of(PACK_ALIGN));
        let all = self.alloc(sizes.sum())?;
        let full = {
            let mut recorder = self.lock(&self.0.recorder);
            let (target, _) = all.place();
            let now = recorder.number();
            target.last_use.store(now, Ordering::Relaxed);
            recorder.push(Command::Zero {
                buffer: target.raw.clone(),
                offset: 0,
                bytes: all.size(),
            });
            let mut at = 0;
            for buffer in &outer {
                let (source, from_offset) = buffer.place();
                // Its memory goes back to the pool: whoever uploads there next must wait for the copy.
                source.last_use.store(now, Ordering::Relaxed);
                recorder.push(Command::Copy {
                    from: source.raw.clone(),
                    from_offset,
                    to: target.raw.clone(),
                    to_offset: at,
                    bytes: buffer.size(),
                });
                // Whatever is recorded from here on finds it at its new place.
                buffer.move_into(&all, at);
                at += buffer.size().next_multiple_of(PACK_ALIGN);
            }
            recorder.is_full()
        };
        if full {
            self.flush()?;
        }
        Ok(all)
    }
}
