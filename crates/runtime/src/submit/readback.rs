//! Reading device memory: one asynchronous core, in chunks that the adapter's limits and host memory allow.

use std::sync::Arc;

use super::wait::{Answer, Promise, Waiting};
use crate::error::{Error, Result};
use crate::memory::pool::Pool;
use crate::memory::staging::Staging;

/// Fills `out` with the bytes of `from` from `offset` on (multiples of 4), as all work submitted so far leaves them.
/// While one chunk is copied to the host, the device copies the next.
pub(crate) async fn read(
    pool: &Pool,
    staging: &Staging,
    (from, offset): (&wgpu::Buffer, u64),
    out: &mut [u8],
    waiting: Waiting<'_>,
) -> Result<()> {
    let chunk = Staging::chunk(pool);
    let mut under_way: Option<(Chunk, &mut [u8])> = None;
    let mut at = offset;
    for part in out.chunks_mut(chunk as usize) {
        let bytes = part.len() as u64;
        let mut started = Chunk::start(pool, staging, (from, at), bytes);
        if matches!(started, Err(Error::OutOfMemory { .. }))
            && let Some((chunk, part)) = under_way.take()
        {
            // There was memory for only one staging buffer.
            chunk.finish(pool, staging, part, waiting).await?;
            started = Chunk::start(pool, staging, (from, at), bytes);
        }
        if let Some((chunk, part)) = under_way.replace((started?, part)) {
            chunk.finish(pool, staging, part, waiting).await?;
        }
        at += bytes;
    }
    match under_way {
        Some((chunk, part)) => chunk.finish(pool, staging, part, waiting).await,
        None => Ok(()),
    }
}

/// A requested part of a read.
struct Chunk {
    staged: wgpu::Buffer,
    mapped: Mapped,
}

impl Chunk {
    fn start(
        pool: &Pool,
        staging: &Staging,
        (from, offset): (&wgpu::Buffer, u64),
        bytes: u64,
    ) -> Result<Self> {
        let staged = staging.take(pool, bytes)?;
        let gpu = pool.gpu();
        let mut encoder = gpu.raw.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, offset, &staged, 0, bytes);
        let index = gpu.queue.submit([encoder.finish()]);
        let mapped = Mapped::new(&staged, bytes, index);
        Ok(Self { staged, mapped })
    }

    async fn finish(
        self,
        pool: &Pool,
        staging: &Staging,
        out: &mut [u8],
        waiting: Waiting<'_>,
    ) -> Result<()> {
        self.mapped.copy_out(pool, out, "read", waiting).await?;
        staging.give_back(self.staged);
        Ok(())
    }
}

/// A host-visible buffer that will be mapped once the submission that fills it is done.
pub(crate) struct Mapped {
    buffer: wgpu::Buffer,
    bytes: u64,
    index: wgpu::SubmissionIndex,
    answer: Arc<Answer>,
}

impl Mapped {
    /// The first `bytes` bytes of `buffer`, which the submission `index` fills.
    pub(crate) fn new(buffer: &wgpu::Buffer, bytes: u64, index: wgpu::SubmissionIndex) -> Self {
        let (promise, answer) = Promise::new();
        buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            promise.give(result.map_err(|e| e.to_string()));
        });
        Self {
            buffer: buffer.clone(),
            bytes,
            index,
            answer,
        }
    }

    /// Copies those bytes to `out`; the buffer is free again then. `what` names the reader in errors.
    pub(crate) async fn copy_out(
        self,
        pool: &Pool,
        out: &mut [u8],
        what: &str,
        waiting: Waiting<'_>,
    ) -> Result<()> {
        let answer = waiting.on(pool, self.index, self.answer).await;
        pool.check(|| what.into())?;
        let lost = |text: String| Error::DeviceLost(format!("{what}: {text}"));
        answer.map_err(lost)?;
        let view = self.buffer.get_mapped_range(..self.bytes);
        let view = view.map_err(|e| lost(e.to_string()))?;
        out.copy_from_slice(&view);
        drop(view);
        self.buffer.unmap();
        Ok(())
    }

    /// [`Mapped::copy_out`], blocking.
    pub(crate) fn read(self, pool: &Pool, what: &str) -> Result<Vec<u8>> {
        let mut out = vec![0; self.bytes as usize];
        pollster::block_on(self.copy_out(pool, &mut out, what, Waiting::Here))?;
        Ok(out)
    }
}
