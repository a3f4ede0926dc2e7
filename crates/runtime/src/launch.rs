//! One launch of a kernel: parameters by name, tensors in order, a grid.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::handle::Device;
use crate::kernel::reflect::BindingKind;
use crate::kernel::{Code, Kernel};
use crate::memory::buffer::Buffer;
use crate::memory::pool::Taken;
use crate::memory::texture::Scratch;
use crate::memory::watch::Access;
use crate::submit::command::Command;
#[cfg(feature = "emulator")]
use crate::submit::command::Emulate;

/// WebGPU's limit on groups along one dimension; larger grids fold into y.
pub const MAX_GROUPS: u64 = 65_535;

/// A launch being put together. Mistakes are kept and returned by [`Launch::groups`].
pub struct Launch<'a> {
    device: &'a Device,
    kernel: Arc<Kernel>,
    params: Vec<u8>,
    given: Vec<bool>,
    bindings: Vec<(&'a Buffer, u64, u64)>,
    marks: bool,
    error: Option<String>,
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.bindings.len();
        write!(f, "Launch({}, {bound} tensors bound)", self.kernel.name)
    }
}

impl Device {
    /// Starts a launch of `kernel`.
    pub fn launch<'a>(&'a self, kernel: &Arc<Kernel>) -> Launch<'a> {
        Launch {
            device: self,
            params: vec![0; kernel.info.params_size],
            given: vec![false; kernel.info.params.len()],
            kernel: kernel.clone(),
            bindings: Vec::new(),
            marks: true,
            error: None,
        }
    }
}

impl<'a> Launch<'a> {
    /// Sets a `u32` parameter. Sizes are checked to fit.
    pub fn u32(self, name: &str, value: usize) -> Self {
        match u32::try_from(value) {
            Ok(word) => self.set(name, &[word], false),
            Err(_) => self.fail(format!("parameter `{name}` = {value} does not fit 32 bits")),
        }
    }

    /// Sets an `f32` parameter.
    pub fn f32(self, name: &str, value: f32) -> Self {
        self.set(name, &[value.to_bits()], true)
    }

    /// Sets a vector of `f32`, or an array of `vec4<f32>`; missing elements are 0.
    pub fn f32s(self, name: &str, values: &[f32]) -> Self {
        self.set(name, bytemuck::cast_slice(values), true)
    }

    /// Sets a vector of `u32`, or an array of `vec4<u32>`; missing elements are 0.
    pub fn u32s(self, name: &str, values: &[u32]) -> Self {
        self.set(name, values, false)
    }

    fn set(mut self, name: &str, words: &[u32], float: bool) -> Self {
        let found = self.kernel.info.params.iter().position(|p| p.name == name);
        let Some(at) = found else {
            return self.fail(format!("it has no parameter `{name}`"));
        };
        let info = &self.kernel.info.params[at];
        if words.len() > info.words || info.float != float {
            let message = format!(
                "parameter `{name}` has {} words, float {}",
                info.words, info.float
            );
            return self.fail(message);
        }
        let bytes: &[u8] = bytemuck::cast_slice(words);
        self.params[info.offset..info.offset + bytes.len()].copy_from_slice(bytes);
        self.given[at] = true;
        self
    }

    /// Binds the whole of `buffer` to the next binding.
    pub fn bind(self, buffer: &'a Buffer) -> Self {
        let size = buffer.size();
        self.window(buffer, 0, size)
    }

    /// Binds a part of `buffer` (bytes; the offset a multiple of 256) to the next binding. A texture
    /// holds that part alone.
    pub fn window(mut self, buffer: &'a Buffer, offset: u64, size: u64) -> Self {
        self.bindings.push((buffer, offset, size));
        self
    }

    /// Does not mark the bound buffers as written; the caller does that with [`Buffer::mark_written`]. For a kernel that
    /// writes only a part of what it binds.
    pub fn without_marks(mut self) -> Self {
        self.marks = false;
        self
    }

    fn fail(mut self, message: String) -> Self {
        self.error.get_or_insert(message);
        self
    }

    /// Launches `n` workgroups in all, folded into two dimensions where one is too small. The kernel
    /// finds its number as `workgroup_id.x + workgroup_id.y * num_workgroups.x` and must ignore
    /// numbers beyond `n`.
    pub fn groups(self, n: u64) -> Result<()> {
        let y = n.div_ceil(MAX_GROUPS).max(1);
        let x = n.div_ceil(y);
        self.grid([x, y, 1])
    }

    /// Launches enough workgroups for `n` invocations along x.
    pub fn invocations(self, n: u64) -> Result<()> {
        let width = u64::from(self.kernel.info.workgroup_size[0]);
        self.groups(n.div_ceil(width))
    }

    /// Launches a grid of workgroups. A grid with an empty side does nothing.
    pub fn grid(mut self, grid: [u64; 3]) -> Result<()> {
        let kernel = self.kernel.clone();
        let refuse = |message: String| Error::Launch {
            kernel: kernel.name.clone(),
            message,
        };
        if let Some(message) = self.error.take() {
            return Err(refuse(message));
        }
        if let Some(at) = self.given.iter().position(|given| !given) {
            return Err(refuse(format!(
                "parameter `{}` is not set",
                kernel.info.params[at].name
            )));
        }
        if self.bindings.len() != kernel.info.bindings.len() {
            return Err(refuse(format!(
                "{} tensors are bound, it has {} bindings",
                self.bindings.len(),
                kernel.info.bindings.len()
            )));
        }
        if grid.iter().any(|side| *side > MAX_GROUPS) {
            return Err(refuse(format!(
                "a grid of {grid:?} workgroups is beyond {MAX_GROUPS}"
            )));
        }
        for (info, (buffer, ..)) in kernel.info.bindings.iter().zip(&self.bindings) {
            if let Some(why) = buffer.watch().and_then(Access::refusal) {
                return Err(refuse(format!("`{}` {why}", info.name)));
            }
        }
        if grid.contains(&0) {
            return Ok(());
        }
        let grid = grid.map(|side| side as u32);
        // An attempt that ran out of memory may have recorded copies into textures. No launch reads them.
        let device = self.device;
        device.timed_first(&kernel, || device.with_room(|| self.record(grid)))?;
        for (info, (buffer, offset, size)) in kernel.info.bindings.iter().zip(&self.bindings) {
            if self.marks && info.kind == BindingKind::ReadWrite {
                buffer.mark_bytes(*offset, *size);
            }
        }
        Ok(())
    }

    /// Refuses memory of another device, and memory that is written and bound a second time: the driver would refuse the
    /// whole recording.
    fn check(&self, places: &[(Arc<Taken>, u64, u64)]) -> Result<()> {
        let kernel = &self.kernel;
        let refuse = |message: String| {
            Err(Error::Launch {
                kernel: kernel.name.clone(),
                message,
            })
        };
        let align = self.device.binding_alignment();
        let bound = || kernel.info.bindings.iter().zip(places);
        for (i, (info, (taken, start, size))) in bound().enumerate() {
            taken.check_device(&self.device.0.pool, || {
                format!("kernel `{}`, `{}`", kernel.name, info.name)
            })?;
            if info.kind == BindingKind::Texture {
                continue;
            }
            if !start.is_multiple_of(align) {
                return refuse(format!(
                    "`{}` begins at byte {start} of its memory; a binding must begin at a multiple of {align}: bind the \
                     whole buffer and pass the offset to the kernel",
                    info.name
                ));
            }
            for (other, (memory, at, bytes)) in bound().skip(i + 1) {
                let written = [info.kind, other.kind].map(|kind| kind == BindingKind::ReadWrite);
                let clash = match written {
                    [false, false] => false,
                    [true, true] => start < &(at + bytes) && at < &(start + size),
                    // The driver tracks memory as a whole.
                    _ => other.kind != BindingKind::Texture,
                };
                if clash && Arc::ptr_eq(taken, memory) {
                    return refuse(format!(
                        "`{}` and `{}` lie in the same memory, and it is written; give the output memory of its own, \
                         or copy the input first",
                        info.name, other.name
                    ));
                }
            }
        }
        Ok(())
    }

    fn record(&self, grid: [u32; 3]) -> Result<()> {
        let Launch {
            device,
            kernel,
            params,
            bindings,
            ..
        } = self;
        let max = device.max_binding_bytes();
        let in_textures = matches!(kernel.code, Code::Compiled { .. });
        let mut textures = Vec::new();
        let mut key = Vec::with_capacity(bindings.len());
        {
            let mut recorder = device.recording(params.len())?;
            let recorder = &mut *recorder;
            let place = |(buffer, offset, size): &(&Buffer, u64, u64)| {
                let (slot, start) = buffer.place();
                (slot, start + offset, *size)
            };
            let places: Vec<_> = bindings.iter().map(place).collect();
            self.check(&places)?;
            for (info, (slot, ..)) in kernel.info.bindings.iter().zip(&places) {
                if info.read {
                    slot.check_read(&kernel.name)?;
                }
            }
            for (info, (slot, offset, size)) in kernel.info.bindings.iter().zip(&places) {
                recorder.uses(slot, info.kind == BindingKind::ReadWrite);
                if info.kind == BindingKind::Texture && in_textures {
                    let free = &mut recorder.textures;
                    let (texture, copy) = free.take(&device.0.pool, slot, *offset, *size)?;
                    recorder.push(Command::Transfer(copy));
                    key.push((texture.id, 0, 0));
                    textures.push(texture);
                } else {
                    if *size > max {
                        return Err(Error::Limit {
                            what: format!("kernel `{}`, tensor `{}`", kernel.name, info.name),
                            bytes: *size,
                            limit: max,
                            fix: "use a smaller batch, a shorter sequence or a smaller vocabulary",
                        });
                    }
                    key.push((slot.id, *offset, *size));
                }
            }
            let moved = kernel.info.bindings.iter().zip(bindings);
            let moved = moved.map(|(info, (_, _, size))| size * info.touches());
            let moved = moved.sum();
            let command = match &kernel.code {
                Code::Compiled { pipeline, layout } => {
                    let pipeline = pipeline.clone();
                    let offset = (!params.is_empty()).then(|| recorder.push_params(params));
                    let bind_group = recorder.bind_group((kernel.id, key), |arena| {
                        make_bind_group(device, kernel, layout, arena, &places, &textures)
                    });
                    Command::Dispatch {
                        kernel: kernel.clone(),
                        pipeline,
                        moved,
                        bind_group,
                        params: offset,
                        grid,
                    }
                }
                #[cfg(feature = "emulator")]
                Code::Emulated(_) => {
                    let place = |(slot, offset, size): (Arc<Taken>, u64, u64)| {
                        (slot.raw.clone(), offset, size)
                    };
                    Command::Emulate(Emulate {
                        bindings: places.into_iter().map(place).collect(),
                        kernel: kernel.clone(),
                        moved,
                        params: params.clone(),
                        grid,
                    })
                }
            };
            recorder.push(command);
            recorder.textures.give_back(textures);
        }
        device.flush_if_full()
    }
}

fn make_bind_group(
    device: &Device,
    kernel: &Kernel,
    layout: &wgpu::BindGroupLayout,
    arena: &wgpu::Buffer,
    places: &[(Arc<Taken>, u64, u64)],
    textures: &[Scratch],
) -> wgpu::BindGroup {
    let mut entries = Vec::with_capacity(places.len() + 1);
    if let Some(size) = wgpu::BufferSize::new(kernel.info.params_size as u64) {
        entries.push(wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: arena,
                offset: 0,
                size: Some(size),
            }),
        });
    }
    let mut textures = textures.iter();
    for (i, (info, (slot, offset, size))) in kernel.info.bindings.iter().zip(places).enumerate() {
        let texture = (info.kind == BindingKind::Texture)
            .then(|| textures.next())
            .flatten();
        entries.push(wgpu::BindGroupEntry {
            binding: i as u32 + 1,
            resource: match texture {
                Some(texture) => wgpu::BindingResource::TextureView(&texture.view),
                None => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &slot.raw,
                    offset: *offset,
                    size: wgpu::BufferSize::new(*size),
                }),
            },
        });
    }
    device
        .0
        .gpu
        .raw
        .create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&kernel.name),
            layout,
            entries: &entries,
        })
}
