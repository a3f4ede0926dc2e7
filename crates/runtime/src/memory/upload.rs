//! Values from the host to device memory.

use super::buffer::Buffer;
use super::pool::Pool;
use crate::error::{Error, Result};

/// One write stages no more than this, so that the driver's staging memory stays small.
const CHUNK: u64 = 16 << 20;

/// Bytes that one write stages at most: no more than a buffer of the device may have.
pub(crate) fn chunk(pool: &Pool) -> usize {
    CHUNK.min(pool.gpu().limits.max_buffer_size & !255) as usize
}

/// Whether `bytes` bytes may be written at `offset` of `buffer`: within it, and in whole words.
pub(crate) fn check(buffer: &Buffer, offset: u64, bytes: usize) -> Result<()> {
    let (_, start) = buffer.place();
    let end = offset.checked_add(bytes as u64);
    let fits = end.is_some_and(|end| end <= buffer.size())
        && bytes.is_multiple_of(4)
        && (start + offset).is_multiple_of(4);
    if fits {
        return Ok(());
    }
    Err(Error::Launch {
        kernel: "upload".into(),
        message: format!(
            "{bytes} bytes at {offset} (multiples of 4) do not fit a buffer of {} bytes",
            buffer.size()
        ),
    })
}
