//! Host-visible buffers for reading device memory, reused by the next read.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::pool::Pool;
use crate::error::Result;

/// One read stages no more than this at a time.
const CHUNK: u64 = 16 << 20;

/// The free buffers, by capacity. No other lock is taken while this lock is held.
#[derive(Default)]
pub(crate) struct Staging(Mutex<BTreeMap<u64, Vec<wgpu::Buffer>>>);

impl Staging {
    /// Bytes that one staging buffer holds at most: no more than a buffer of the device may have.
    pub(crate) fn chunk(pool: &Pool) -> u64 {
        CHUNK.min(pool.gpu().limits.max_buffer_size & !255)
    }

    /// A buffer of at least `bytes` bytes, of which there are [`Staging::chunk`] at most.
    pub(crate) fn take(&self, pool: &Pool, bytes: u64) -> Result<wgpu::Buffer> {
        let capacity = bytes.next_power_of_two().max(4096).min(Self::chunk(pool));
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.get_mut(&capacity).and_then(Vec::pop);
        drop(free);
        match kept {
            Some(buffer) => Ok(buffer),
            None => pool.allocate(capacity, |raw| {
                raw.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("readback"),
                    size: capacity,
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            }),
        }
    }

    /// Takes back a buffer that is not mapped.
    pub(crate) fn give_back(&self, buffer: wgpu::Buffer) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(buffer.size()).or_default().push(buffer);
    }

    /// Gives all of them back to the driver.
    pub(crate) fn clear(&self) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.clear();
    }
}
