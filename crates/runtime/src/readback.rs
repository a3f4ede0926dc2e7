//! Reading device memory, and the one place that waits for the device.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::pool::{Buffer, Slot};
use crate::texture::Scratch;

/// Host-visible buffers and scratch textures, kept for the next use.
#[derive(Default)]
pub(crate) struct Staging {
    free: BTreeMap<u64, Vec<wgpu::Buffer>>,
    pub(crate) textures: Vec<Scratch>,
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
        self.flush()?;
        let (slot, start) = buffer.place();
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
        let mapped = Arc::new(AtomicBool::new(false));
        let done = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            done.store(result.is_ok(), Ordering::Release);
        });
        self.wait(Some(index))?;
        self.check(|| "read".into())?;
        if !mapped.load(Ordering::Acquire) {
            return Err(Error::DeviceLost("a buffer could not be read back".into()));
        }
        let view = staging
            .get_mapped_range(..bytes)
            .map_err(|e| Error::DeviceLost(e.to_string()))?;
        let out = view.to_vec();
        drop(view);
        staging.unmap();
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

    /// Submits what is recorded and waits until the device has done all of it.
    pub fn synchronize(&self) -> Result<()> {
        self.flush()?;
        self.wait(None)?;
        self.check(|| "synchronize".into())
    }

    pub(crate) fn wait(&self, index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.0
            .raw
            .poll(wgpu::PollType::Wait {
                submission_index: index,
                timeout: None,
            })
            .map(|_| ())
            .map_err(|e| Error::DeviceLost(e.to_string()))
    }
}
