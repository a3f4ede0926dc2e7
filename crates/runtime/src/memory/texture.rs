//! Buffers copied into textures. On Mesa's software adapter a storage-buffer load costs more than ten times a
//! texel load (docs/decisions/0003), so kernels there read their operands from a texture that a
//! buffer was copied into. The texture is flat memory: texel `t` lies at (t % WIDTH, t / WIDTH). It is a
//! storage texture because the adapter compiles a load from one in place, and one from a sampled
//! texture as a call that costs three times as much.

use super::pool::{Pool, Slot};
use super::transfer::{TEXEL, TEXTURE_WIDTH, Transfer};
use crate::error::{Error, Result};

/// Unused texels after each row. Without them, rows whose length is a power of two share a few sets of the processor's
/// cache.
const TEXTURE_PADDING: u32 = 4;

/// A texture that a launch reads an operand from.
pub(crate) struct Scratch {
    pub(crate) id: u64,
    raw: wgpu::Texture,
    pub(crate) view: wgpu::TextureView,
    rows: u32,
}

/// Scratch textures that no recorded launch reads any more.
#[derive(Default)]
pub(crate) struct Textures(Vec<Scratch>);

impl Textures {
    /// Takes a scratch texture and returns the copy of `size` bytes of `slot` from `offset` into it.
    pub(crate) fn take(
        &mut self,
        pool: &Pool,
        slot: &Slot,
        offset: u64,
        size: u64,
    ) -> Result<(Scratch, Transfer)> {
        let texels = size.div_ceil(TEXEL);
        let most = pool.gpu().limits.max_texture_dimension_2d;
        if texels.div_ceil(u64::from(TEXTURE_WIDTH)) > u64::from(most) {
            return Err(Error::Limit {
                what: "a buffer read as a texture".into(),
                bytes: size,
                limit: u64::from(most) * TEXEL * u64::from(TEXTURE_WIDTH),
                fix: "split the tensor",
            });
        }
        let texels = texels as u32;
        // The height is part of what the software adapter compiles for, so heights are powers of two.
        let rows = texels.div_ceil(TEXTURE_WIDTH).next_power_of_two().min(most);
        let scratch = match self.0.iter().position(|t| t.rows == rows) {
            Some(at) => self.0.swap_remove(at),
            None => Scratch::new(pool, rows)?,
        };
        let copy = Transfer::CopyToTexture {
            from: slot.raw.clone(),
            from_offset: offset,
            to: scratch.raw.clone(),
            texels,
        };
        Ok((scratch, copy))
    }

    /// Takes textures back once the launch that reads them is recorded. Later commands run after that launch.
    pub(crate) fn give_back(&mut self, used: Vec<Scratch>) {
        self.0.extend(used);
    }

    /// Gives all of them back to the driver.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Scratch {
    fn new(pool: &Pool, rows: u32) -> Result<Self> {
        let width = TEXTURE_WIDTH + TEXTURE_PADDING;
        let bytes = TEXEL * u64::from(width) * u64::from(rows);
        let raw = pool.allocate(bytes, |raw| {
            raw.create_texture(&wgpu::TextureDescriptor {
                label: Some("operand"),
                size: wgpu::Extent3d {
                    width,
                    height: rows,
                    depth_or_array_layers: 1,
                },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::Rgba32Float,
                usage: wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::STORAGE_BINDING,
                view_formats: &[],
            })
        })?;
        let view = raw.create_view(&Default::default());
        Ok(Self {
            id: pool.gpu().next_id(),
            raw,
            view,
            rows,
        })
    }
}

/// Whether `bytes` bytes fit a texture of a device with these limits.
pub(crate) fn fits(limits: &wgpu::Limits, bytes: u64) -> bool {
    let rows = bytes.div_ceil(TEXEL * u64::from(TEXTURE_WIDTH));
    rows <= u64::from(limits.max_texture_dimension_2d)
        && TEXTURE_WIDTH + TEXTURE_PADDING <= limits.max_texture_dimension_2d
}
