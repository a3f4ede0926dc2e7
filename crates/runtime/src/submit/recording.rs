//! The recording: what ops ask for gathers here as data, and is encoded in one go.
//!
//! A recording is a list of commands plus the bytes of their parameters. Nothing in it refers to the
//! code that made it, so it can be encoded again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::measure::stopwatch::Stamp;
use crate::submit::emulated::Emulate;

/// Bytes of the parameter arena: what one submit can hold.
pub(crate) const ARENA_BYTES: usize = 1 << 20;
/// Uploads beyond this are sent on their way, so that the driver's staging memory stays small.
const STAGED_BYTES: u64 = 64 << 20;
/// Submits under way at most; a training loop that never reads back would queue without end.
const IN_FLIGHT: usize = 3;
/// Bind groups kept. Each costs the driver a descriptor set.
const BIND_GROUPS: usize = 8192;
/// A laptop's watchdog resets a GPU after about two seconds: submits are kept well below.
const SUBMIT_TARGET: Duration = Duration::from_millis(400);

/// One recorded step.
pub(crate) enum Command {
    Dispatch {
        kernel: Arc<Kernel>,
        pipeline: wgpu::ComputePipeline,
        /// Bytes that it reads and writes.
        moved: u64,
        bind_group: wgpu::BindGroup,
        params: Option<u32>,
        grid: [u32; 3],
    },
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
    /// A timestamp.
    Stamp(Stamp),
    /// A launch on an emulated device.
    Emulate(Emulate),
}

impl Command {
    /// Bytes that it reads and writes in device memory.
    pub(crate) fn moved(&self) -> u64 {
        match self {
            Command::Dispatch { moved, .. } => *moved,
            Command::Copy { bytes, .. } => 2 * bytes,
            Command::CopyToTexture { texels, .. } => 2 * 16 * u64::from(*texels),
            Command::Zero { bytes, .. } => *bytes,
            Command::Stamp(_) => 0,
            Command::Emulate(launch) => launch.moved,
        }
    }
}

/// The identity of a bind group: kernel, then (resource, offset, size) of every binding.
pub(crate) type BindKey = (u64, Vec<(u64, u64, u64)>);

pub(crate) struct Recorder {
    commands: Vec<Command>,
    pub(crate) arena: wgpu::Buffer,
    params: Vec<u8>,
    stride: u32,
    number: u64,
    staged: u64,
    bind_groups: HashMap<BindKey, wgpu::BindGroup>,
    in_flight: Vec<wgpu::SubmissionIndex>,
    /// Dispatches in one submit at most, adapted to how long submits take.
    most: Arc<AtomicU64>,
    dispatches: u64,
    submits: u64,
    moved: u64,
    to_textures: u64,
}

impl Recorder {
    pub(crate) fn new(arena: wgpu::Buffer, stride: u32) -> Self {
        Self {
            commands: Vec::new(),
            arena,
            params: Vec::new(),
            stride,
            number: 1,
            staged: 0,
            bind_groups: HashMap::new(),
            in_flight: Vec::new(),
            most: Arc::new(AtomicU64::new(256)),
            dispatches: 0,
            submits: 0,
            moved: 0,
            to_textures: 0,
        }
    }

    /// The number of the recording that is open now.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.dispatches += u64::from(matches!(
            command,
            Command::Dispatch { .. } | Command::Emulate(_)
        ));
        self.moved += command.moved();
        if matches!(command, Command::CopyToTexture { .. }) {
            self.to_textures += command.moved();
        }
        self.commands.push(command);
    }

    /// Puts a launch's parameters into the arena and returns their offset.
    pub(crate) fn push_params(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.params.len() as u32;
        self.params.extend_from_slice(bytes);
        let end = self.params.len().next_multiple_of(self.stride as usize);
        self.params.resize(end, 0);
        offset
    }

    /// Whether the recording should be submitted before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.commands.len() as u64 >= self.most.load(Ordering::Relaxed)
            || self.params.len() + 1024 > ARENA_BYTES
    }

    pub(crate) fn staged(&mut self, bytes: u64) -> bool {
        self.staged += bytes;
        self.staged > STAGED_BYTES
    }

    pub(crate) fn forget_bind_groups(&mut self) {
        self.bind_groups.clear();
    }

    pub(crate) fn bind_group(
        &mut self,
        key: BindKey,
        make: impl FnOnce(&wgpu::Buffer) -> wgpu::BindGroup,
    ) -> wgpu::BindGroup {
        if self.bind_groups.len() >= BIND_GROUPS {
            self.bind_groups.clear();
        }
        let arena = &self.arena;
        self.bind_groups
            .entry(key)
            .or_insert_with(|| make(arena))
            .clone()
    }

    /// The kernels last recorded, newest last: for error messages.
    fn recent(&self) -> String {
        let names: Vec<&str> = self
            .commands
            .iter()
            .rev()
            .filter_map(|c| match c {
                Command::Dispatch { kernel, .. } => Some(kernel.name.as_str()),
                Command::Emulate(launch) => Some(launch.kernel.name.as_str()),
                _ => None,
            })
            .take(8)
            .collect();
        names.into_iter().rev().collect::<Vec<_>>().join(", ")
    }
}

impl Device {
    /// Submits what is recorded. Does not wait for it.
    pub fn flush(&self) -> Result<()> {
        if self.lock(&self.0.recorder).commands.is_empty() {
            return self.check(String::new);
        }
        self.flush_always()
    }

    pub(crate) fn flush_always(&self) -> Result<()> {
        let mut recorder = self.lock(&self.0.recorder);
        let recorder = &mut *recorder;
        if self.0.options.emulated.is_some() {
            let commands = std::mem::take(&mut recorder.commands);
            recorder.number += 1;
            recorder.staged = 0;
            recorder.submits += 1;
            return self.run_emulated(&commands);
        }
        if !recorder.params.is_empty() {
            self.0
                .queue
                .write_buffer(&recorder.arena, 0, &recorder.params);
        }
        let mut encoder = self.0.raw.create_command_encoder(&Default::default());
        let mut profile = self.lock(&self.0.profile);
        let timed = profile
            .as_mut()
            .map(|profile| profile.begin(self, &recorder.commands));
        encode(&mut encoder, &recorder.commands, timed.as_ref());
        if let (Some(profile), Some(timed)) = (profile.as_mut(), timed) {
            profile.end(&mut encoder, timed);
        }
        let started = Instant::now();
        let count = recorder.commands.len() as u64;
        let index = self.0.queue.submit([encoder.finish()]);
        let most = recorder.most.clone();
        self.0.queue.on_submitted_work_done(move || {
            adapt(&most, count, started.elapsed());
        });
        let recent = recorder.recent();
        recorder.commands.clear();
        recorder.params.clear();
        recorder.number += 1;
        recorder.staged = 0;
        recorder.submits += 1;
        recorder.in_flight.push(index);
        if recorder.in_flight.len() > IN_FLIGHT {
            let oldest = recorder.in_flight.remove(0);
            self.wait(Some(oldest))?;
        }
        if let Some(profile) = profile.as_mut() {
            profile.collect(self)?;
        }
        self.check(|| recent.clone())
    }

    /// (dispatches, submits) so far.
    pub fn counters(&self) -> (u64, u64) {
        let recorder = self.lock(&self.0.recorder);
        (recorder.dispatches, recorder.submits)
    }

    /// Bytes that launches and copies recorded so far read and write in device memory, were nothing
    /// cached: what a launch binds counts whole, once if it reads it and once if it writes it; a copy
    /// counts twice. Uploads and readbacks are not counted. The second number is the part of it that
    /// copies into textures make up, which kernels of the software adapter read faster than buffers.
    pub fn bytes_moved(&self) -> (u64, u64) {
        let recorder = self.lock(&self.0.recorder);
        (recorder.moved, recorder.to_textures)
    }
}

/// Halves the size of submits that run long, lets it grow again while they are short.
fn adapt(most: &AtomicU64, count: u64, took: Duration) {
    let now = most.load(Ordering::Relaxed);
    if took > SUBMIT_TARGET && count <= now {
        most.store((count / 2).clamp(8, now), Ordering::Relaxed);
    } else if took < SUBMIT_TARGET / 4 && count >= now {
        most.store((now * 2).min(2048), Ordering::Relaxed);
    }
}

pub(crate) fn encode(
    encoder: &mut wgpu::CommandEncoder,
    commands: &[Command],
    timed: Option<&crate::measure::profile::Timed>,
) {
    let mut at = 0;
    while at < commands.len() {
        match &commands[at] {
            Command::Dispatch { .. } => {
                let writes = timed.and_then(|t| t.writes(at));
                let one = timed.is_some();
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: writes,
                });
                while let Some(Command::Dispatch {
                    pipeline,
                    bind_group,
                    params,
                    grid: [x, y, z],
                    ..
                }) = commands.get(at)
                {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, bind_group, params.as_slice());
                    pass.dispatch_workgroups(*x, *y, *z);
                    at += 1;
                    if one {
                        break;
                    }
                }
                continue;
            }
            Command::Copy {
                from,
                from_offset,
                to,
                to_offset,
                bytes,
            } => encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes),
            Command::CopyToTexture {
                from,
                from_offset,
                to,
                texels,
            } => crate::memory::texture::encode_copy(encoder, from, *from_offset, to, *texels),
            Command::Zero {
                buffer,
                offset,
                bytes,
            } => encoder.clear_buffer(buffer, *offset, Some(*bytes)),
            Command::Stamp(stamp) => stamp.encode(encoder),
            // `Device::run_emulated` takes these out before anything is encoded.
            Command::Emulate(_) => {}
        }
        at += 1;
    }
}
