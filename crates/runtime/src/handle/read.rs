//! Reading device memory back, asynchronously or blocking.

use std::sync::Arc;

use super::Device;
use crate::error::{Error, Result};
use crate::memory::buffer::Buffer;
use crate::memory::pool::Taken;
use crate::submit::readback;
use crate::submit::wait::{Waiting, wait};

impl Device {
    /// Submits what is recorded and returns `bytes` bytes of `buffer` from `offset` (multiples of 4). Waits for the
    /// device.
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let mut out = vec![0; bytes as usize];
        self.read_into(buffer, offset, &mut out)?;
        Ok(out)
    }

    /// [`Device::read`] into `out`.
    pub fn read_into(&self, buffer: &Buffer, offset: u64, out: &mut [u8]) -> Result<()> {
        let (taken, start) = self.before_read(buffer, offset, out.len())?;
        self.fill(&taken.raw, start, out)?;
        self.run_requested_self_tests();
        Ok(())
    }

    /// [`Device::read_into`] for callers that must not block: a thread of the device waits meanwhile.
    pub async fn read_async(&self, buffer: &Buffer, offset: u64, out: &mut [u8]) -> Result<()> {
        let (taken, start) = self.before_read(buffer, offset, out.len())?;
        let waiting = Waiting::Elsewhere(&self.0.waiter);
        let from = (&taken.raw, start);
        readback::read(&self.0.pool, &self.0.staging, from, out, waiting).await
    }

    /// Checks and submits; the memory to read, and the byte there to begin at.
    fn before_read(&self, buffer: &Buffer, offset: u64, bytes: usize) -> Result<(Arc<Taken>, u64)> {
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > buffer.size()) || !bytes.is_multiple_of(4) {
            return Err(Error::Launch {
                kernel: "read".into(),
                message: format!(
                    "{bytes} bytes at {offset} (multiples of 4) of a buffer of {}",
                    buffer.size()
                ),
            });
        }
        // Before the flush: if another thread moves the buffer in between, its new memory is not written yet.
        let (taken, start) = buffer.place();
        taken.check_device(&self.0.pool, || "read: the buffer".into())?;
        self.flush()?;
        taken.check_read("read")?;
        Ok((taken, start + offset))
    }

    pub(crate) fn read_raw(&self, from: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let mut out = vec![0; bytes as usize];
        self.fill(from, offset, &mut out)?;
        Ok(out)
    }

    fn fill(&self, from: &wgpu::Buffer, offset: u64, out: &mut [u8]) -> Result<()> {
        let (pool, staging) = (&*self.0.pool, &self.0.staging);
        if out.is_empty() {
            return Ok(());
        }
        // The first staging buffer is allocated here, where free memory can be given back to make room for it.
        let first = out.len() as u64;
        let first = first.min(crate::memory::staging::Staging::chunk(pool));
        let staged = self.with_room(|| staging.take(pool, first))?;
        staging.give_back(staged);
        let read = readback::read(pool, staging, (from, offset), out, Waiting::Here);
        pollster::block_on(read)
    }

    /// Submits what is recorded and waits until the device has done all of it.
    pub fn synchronize(&self) -> Result<()> {
        self.flush()?;
        wait(&self.0.pool, None)?;
        self.0.pool.check(|| "synchronize".into())
    }
}
