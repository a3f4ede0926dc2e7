//! Reading device memory, and the one place that waits for the device.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::memory::pool::{Buffer, Slot};
use crate::memory::texture::Scratch;

/// How long another thread may take to tell this one that its buffer is mapped.
const MAP_TIMEOUT: Duration = Duration::from_secs(30);

/// Host-visible buffers and scratch textures, kept for the next use.
#[derive(Default)]
pub(crate) struct Staging {
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
    pub(crate) textures: Vec<Scratch>,
}

impl Staging {
    /// Gives all of them back.
    pub(crate) fn clear(&mut self) {
        self.free.clear();
        self.textures.clear();
    }
}

impl Device {
    /// Submits what is recorded and returns `bytes` bytes of `buffer` from `offset` (multiples of 4).
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if offset + bytes > buffer.size() {
            return Err(Error::Launch {
                kernel: "read".into(),
                message: format!("{bytes} bytes at {offset} of a buffer of {}", buffer.size()),
            });
        }
        // Before the flush: where another thread moves the buffer in between, its new place is not written yet.
        let (slot, start) = buffer.place();
        self.flush()?;
        self.read_slot(&slot, start + offset, bytes)
    }

    pub(crate) fn read_slot(&self, slot: &Slot, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        self.read_raw(&slot.raw, offset, bytes)
    }

    pub(crate) fn read_raw(&self, from: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let capacity = bytes.next_power_of_two().max(4096);
        let kept = self
            .lock(&self.0.staging)
            .free
            .get_mut(&capacity)
            .and_then(Vec::pop);
        let make = || {
            self.allocate(capacity, |raw| {
                raw.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("readback"),
                    size: capacity,
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
        };
        let staging = match kept {
            Some(staging) => staging,
            None => self.with_room(make)?,
        };
        let mut encoder = self.0.raw.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, offset, &staging, 0, bytes);
        let index = self.0.queue.submit([encoder.finish()]);
        let out = self.read_mapped(&staging, bytes, Some(index), "read")?;
        // Large ones are rare (checkpoints); keeping them would hold memory for nothing.
        if capacity <= 16 << 20 {
            self.lock(&self.0.staging)
                .free
                .entry(capacity)
                .or_default()
                .push(staging);
        }
        Ok(out)
    }

    /// Waits for the submission `index`, or all, and returns the first `bytes` bytes of a host-visible buffer.
    pub(crate) fn read_mapped(
        &self,
        staging: &wgpu::Buffer,
        bytes: u64,
        index: Option<wgpu::SubmissionIndex>,
        what: &str,
    ) -> Result<Vec<u8>> {
        // Whichever thread waits first calls the callbacks of all, so the answer may come after this thread has
        // waited.
        let (sender, answer) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            // The receiver is gone where the wait failed.
            let _ = sender.send(result);
        });
        self.wait(index)?;
        self.check(|| what.into())?;
        match answer.recv_timeout(MAP_TIMEOUT) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(Error::DeviceLost(format!("{what}: {e}"))),
            Err(e) => return Err(Error::DeviceLost(format!("{what}: no buffer came, {e}"))),
        }
        let view = staging
            .get_mapped_range(..bytes)
            .map_err(|e| Error::DeviceLost(e.to_string()))?;
        let out = view.to_vec();
        drop(view);
        staging.unmap();
        Ok(out)
    }

    /// Submits what is recorded and waits until the device has done all of it.
    pub fn synchronize(&self) -> Result<()> {
        self.flush()?;
        self.wait(None)?;
        self.check(|| "synchronize".into())
    }

    pub(crate) fn wait(&self, index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let waited = caught(|| {
            self.0.raw.poll(wgpu::PollType::Wait {
                submission_index: index,
                timeout: None,
            })
        });
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Error::DeviceLost(e.to_string())),
            Err(text) => {
                // What the driver said is worth more, where it said something.
                self.check(|| "wait".into())?;
                Err(Error::DeviceLost(text))
            }
        }
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would come back to its caller as an [`Error`]: a panic hook should not report
/// it. wgpu panics where a device is lost while somebody waits for it.
pub fn panic_is_an_error() -> bool {
    CATCHING.get()
}

/// Runs `f`; the message of its panic, if it panics.
fn caught<T>(f: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let before = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(before);
    result.map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 3), Ok(3));
        let panicking = caught(|| {
            assert!(panic_is_an_error());
            // Without the hook, which would print.
            std::panic::resume_unwind(Box::new(String::from("Error in poll:\n    lost")));
        });
        assert_eq!(panicking, Err::<(), _>("Error in poll: lost".into()));
        assert!(!panic_is_an_error());
    }
}
