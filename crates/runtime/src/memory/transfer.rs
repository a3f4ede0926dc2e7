//! Work that moves bytes without a kernel, as data.

/// Texels in a row of a flat texture. A row is 16 KiB, which is a multiple of the copy alignment.
pub const TEXTURE_WIDTH: u32 = 1024;
pub(super) const TEXEL: u64 = 16;

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
            Transfer::CopyToTexture { texels, .. } => 2 * TEXEL * u64::from(*texels),
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
            } => to_texture(encoder, from, *from_offset, to, *texels),
            Transfer::Zero {
                buffer,
                offset,
                bytes,
            } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
        }
    }
}

/// Whole rows in one copy, the rest of the last row in another.
fn to_texture(
    encoder: &mut wgpu::CommandEncoder,
    from: &wgpu::Buffer,
    from_offset: u64,
    to: &wgpu::Texture,
    texels: u32,
) {
    let full = texels / TEXTURE_WIDTH;
    let rest = texels % TEXTURE_WIDTH;
    let mut copy = |row: u32, width: u32, height: u32| {
        if width == 0 || height == 0 {
            return;
        }
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo {
                buffer: from,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: from_offset + u64::from(row) * u64::from(TEXTURE_WIDTH) * TEXEL,
                    bytes_per_row: Some(TEXTURE_WIDTH * TEXEL as u32),
                    rows_per_image: None,
                },
            },
            wgpu::TexelCopyTextureInfo {
                texture: to,
                mip_level: 0,
                origin: wgpu::Origin3d { x: 0, y: row, z: 0 },
                aspect: wgpu::TextureAspect::All,
            },
            wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
        );
    };
    copy(0, TEXTURE_WIDTH, full);
    copy(full, rest, 1);
}
