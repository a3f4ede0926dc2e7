//! Memory: allocating, freeing, filling, copying and packing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Device;
use crate::error::{Error, Result};
use crate::memory::buffer::Buffer;
use crate::memory::pack::Packing;
use crate::memory::pool::{MemoryReport, Returned, Taken};
use crate::memory::transfer::Transfer;
use crate::memory::upload;
use crate::memory::watch::Access;
use crate::submit::command::Command;

impl Device {
    /// Memory of `size` bytes (rounded up to 4). Its contents are unspecified.
    ///
    /// It waits for the device only when memory has run out: it then gives free memory back, as [`Device::trim`] does,
    /// and tries once more.
    ///
    /// # Errors
    /// `size` is more than a buffer may hold; out of memory.
    pub fn alloc(&self, size: u64) -> Result<Buffer> {
        self.with_room(|| self.0.pool.alloc(size)).map(Buffer::new)
    }

    /// Calls `ask`; if memory runs out, gives free memory back and calls it once more.
    pub(crate) fn with_room<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        match ask() {
            Err(Error::OutOfMemory { .. }) => {
                self.trim()?;
                ask()
            }
            other => other,
        }
    }

    /// Gives all free buffers and textures back to the driver. Waits for the device, because running work keeps its
    /// memory allocated.
    pub fn trim(&self) -> Result<()> {
        self.synchronize()?;
        let mut recorder = self.lock(&self.0.recorder);
        recorder.forget_bind_groups();
        recorder.textures.clear();
        drop(recorder);
        self.0.staging.clear();
        self.0.pool.trim();
        Ok(())
    }

    /// The bytes allocated now, and the peak.
    pub fn memory(&self) -> MemoryReport {
        self.0.pool.report()
    }

    /// Resets the peak to the bytes in use now.
    pub fn reset_peak(&self) {
        self.0.pool.reset_peak();
    }

    /// Copies `bytes` into `buffer` at `offset` (both multiples of 4), after all work recorded so far.
    ///
    /// # Errors
    /// The bytes do not fit the buffer, or an earlier submit failed.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        upload::check(buffer, offset, bytes.len())?;
        let (taken, start) = buffer.place();
        self.check_here("upload", "the buffer", &taken)?;
        let mut at = start + offset;
        for chunk in bytes.chunks(upload::chunk(&self.0.pool)) {
            // The queue writes before the next submit, so work recorded earlier must be submitted first.
            if self.lock(&self.0.recorder).number() == taken.last_use.load(Ordering::Relaxed) {
                self.flush()?;
            }
            let mut recorder = self.lock(&self.0.recorder);
            self.0.gpu.queue.write_buffer(&taken.raw, at, chunk);
            recorder.stage(chunk.len() as u64);
            drop(recorder);
            at += chunk.len() as u64;
            self.flush_if_full()?;
        }
        taken.overwrite(start + offset, bytes.len() as u64);
        buffer.mark_bytes(offset, bytes.len() as u64);
        Ok(())
    }

    fn check_here(&self, work: &str, what: &str, taken: &Taken) -> Result<()> {
        taken.check_device(&self.0.pool, || format!("{work}: {what}"))
    }

    /// Refuses watched buffers, which may be used only through the layer that watches them.
    fn check_watch(work: &str, buffer: &Buffer) -> Result<()> {
        match buffer.watch().and_then(Access::refusal) {
            None => Ok(()),
            Some(why) => Err(Error::Launch {
                kernel: work.into(),
                message: format!("the buffer {why}"),
            }),
        }
    }

    /// Records zeros over the whole of `buffer`.
    pub fn zero(&self, buffer: &Buffer) -> Result<()> {
        Self::check_watch("zero", buffer)?;
        let mut recorder = self.recording(0)?;
        let (taken, offset) = buffer.place();
        self.check_here("zero", "the buffer", &taken)?;
        let bytes = buffer.size();
        recorder.uses(&taken, true);
        recorder.push(Command::Transfer(Transfer::Zero {
            buffer: taken.raw.clone(),
            offset,
            bytes,
        }));
        taken.overwrite(offset, bytes);
        drop(recorder);
        buffer.mark_bytes(0, bytes);
        self.flush_if_full()
    }

    /// Records a copy of `bytes` bytes between two buffers (offsets and size in multiples of 4). They may lie in the same
    /// memory, and overlap.
    pub fn copy(
        &self,
        from: &Buffer,
        from_offset: u64,
        to: &Buffer,
        to_offset: u64,
        bytes: u64,
    ) -> Result<()> {
        let within = |offset: u64, buffer: &Buffer| {
            let end = offset.checked_add(bytes);
            end.is_some_and(|end| end <= buffer.size())
        };
        if !within(from_offset, from) || !within(to_offset, to) {
            return Err(Error::Launch {
                kernel: "copy".into(),
                message: format!(
                    "{bytes} bytes from {from_offset} of {} to {to_offset} of {}",
                    from.size(),
                    to.size()
                ),
            });
        }
        Self::check_watch("copy", from)?;
        Self::check_watch("copy", to)?;
        if from.same(to) {
            // A copy within one buffer of the driver goes through another one.
            let between = self.alloc(bytes)?;
            self.copy(from, from_offset, &between, 0, bytes)?;
            return self.copy(&between, 0, to, to_offset, bytes);
        }
        let mut recorder = self.recording(0)?;
        let (source, from_start) = from.place();
        let (target, to_start) = to.place();
        self.check_here("copy", "the source", &source)?;
        self.check_here("copy", "the target", &target)?;
        source.check_read("copy")?;
        recorder.uses(&source, false);
        recorder.uses(&target, true);
        recorder.push(Command::Transfer(Transfer::Copy {
            from: source.raw.clone(),
            from_offset: from_start + from_offset,
            to: target.raw.clone(),
            to_offset: to_start + to_offset,
            bytes,
        }));
        target.overwrite(to_start + to_offset, bytes);
        drop(recorder);
        to.mark_bytes(to_offset, bytes);
        self.flush_if_full()
    }

    /// Moves the memory of `buffers` side by side into one new buffer, in their order, and returns that.
    /// Each begins at a multiple of [`crate::PACK_ALIGN`] bytes; the gaps are zeros. Every handle stays valid
    /// and stands for a part of the new buffer; [`Buffer::outermost`] says where.
    ///
    /// A buffer that lies in another one already takes all of that one with it. If all lie in one that was
    /// packed before, nothing moves.
    ///
    /// # Errors
    /// The sum is more than one buffer may hold; out of memory. Nothing has moved then.
    pub fn pack(&self, buffers: &[&Buffer]) -> Result<Buffer> {
        let packing = Packing::of(buffers);
        if let Some(done) = packing.done() {
            return Ok(done.watched(None));
        }
        for buffer in buffers {
            self.check_here("pack", "a buffer", &buffer.place().0)?;
        }
        let all = self.alloc(packing.bytes())?;
        let (target, _) = all.place();
        let mut recorder = self.recording(0)?;
        packing.move_into(&all, |source: Option<&Arc<Taken>>, transfer| {
            if let Some(source) = source {
                recorder.uses(source, false);
                let lost = source.lost.load(Ordering::Relaxed);
                target.lost.fetch_or(lost, Ordering::Relaxed);
            }
            recorder.uses(&target, true);
            recorder.push(Command::Transfer(transfer));
        });
        drop(recorder);
        self.flush_if_full()?;
        Ok(all)
    }

    /// Guard mode: looks at the bytes behind every buffer given back since the last call. Returns the
    /// number of buffers written past their end.
    pub fn check_guards(&self) -> Result<usize> {
        self.flush()?;
        let returned = self.0.pool.take_returned();
        let mut bad = 0;
        for returned in &returned {
            let (raw, offset, bytes) = returned.guarded();
            let bytes = self.read_raw(raw, offset, bytes)?;
            bad += usize::from(!Returned::is_intact(&bytes));
        }
        self.lock(&self.0.recorder).forget_bind_groups();
        Ok(bad)
    }
}
