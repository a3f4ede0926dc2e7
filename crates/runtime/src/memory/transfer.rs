//! Work that moves bytes without a kernel, as data.

use super::texture;

/// A copy or a fill. It holds wgpu's buffers, not handles: memory that is dropped returns to the pool at once.
pub(crate) enum Transfer {
    Copy {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Buffer,
        to_offset: u64,
        bytes: u64,
    },
    /// A buffer's texels into the rows of a texture.
    CopyToTexture {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Texture,
        texels: u32,
    },
    Zero {
        buffer: wgpu::Buffer,
        offset: u64,
        bytes: u64,
    },
}

impl Transfer {
    /// Bytes that it reads and writes in device memory.
    pub(crate) fn moved(&self) -> u64 {
        match self {
            Transfer::Copy { bytes, .. } => 2 * bytes,
            Transfer::CopyToTexture { texels, .. } => 2 * 16 * u64::from(*texels),
            Transfer::Zero { bytes, .. } => *bytes,
        }
    }

    pub(crate) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        match self {
            Transfer::Copy {
                from,
                from_offset,
                to,
                to_offset,
                bytes,
            } => encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes),
            Transfer::CopyToTexture {
                from,
                from_offset,
                to,
                texels,
            } => texture::encode_copy(encoder, from, *from_offset, to, *texels),
            Transfer::Zero {
                buffer,
                offset,
                bytes,
            } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
        }
    }
}
