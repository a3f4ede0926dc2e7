//! The recording: the commands of ops, collected as data and encoded together.
//!
//! A recording is a list of commands plus the bytes of their parameters. Nothing in it refers to the
//! code that made it, so it can be encoded again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::command::{Command, MOST_COMMANDS};
use crate::device::open::Gpu;
use crate::memory::pool::Taken;
use crate::memory::texture::Textures;
use crate::memory::transfer::Transfer;

/// Bytes of the parameter arena: what one submit can hold.
const ARENA_BYTES: u64 = 1 << 20;
/// Uploads beyond this are submitted, so that the driver's staging memory stays small.
const STAGED_BYTES: u64 = 64 << 20;
/// Bind groups kept. Each costs the driver a descriptor set.
const BIND_GROUPS: usize = 8192;
/// A laptop's watchdog resets a GPU after about two seconds: submits are kept well below.
const SUBMIT_TARGET: Duration = Duration::from_millis(400);

/// The identity of a bind group: kernel, then (resource, offset, size) of every binding.
pub(crate) type BindKey = (u64, Vec<(u64, u64, u64)>);

/// The open recording of a device, and the state that is kept from one recording to the next. Its owner keeps it behind
/// a lock; the locks of the pool, of staging and of the profile may be taken while that lock is held, not the reverse.
pub(crate) struct Recorder {
    pub(super) commands: Vec<Command>,
    pub(super) arena: wgpu::Buffer,
    pub(super) params: Vec<u8>,
    stride: u32,
    number: u64,
    staged: u64,
    bind_groups: HashMap<BindKey, wgpu::BindGroup>,
    pub(crate) textures: Textures,
    /// Memory that the commands write.
    written: Vec<Weak<Taken>>,
    pub(super) in_flight: Vec<wgpu::SubmissionIndex>,
    /// Commands in one submit at most, adapted to how long submits take.
    pub(super) most: Arc<AtomicU64>,
    dispatches: u64,
    submits: u64,
    moved: u64,
    to_textures: u64,
}

impl Recorder {
    pub(crate) fn new(gpu: &Gpu) -> Self {
        let arena = gpu.raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: ARENA_BYTES.min(gpu.limits.max_buffer_size & !255),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            commands: Vec::new(),
            arena,
            params: Vec::new(),
            stride: gpu.limits.min_uniform_buffer_offset_alignment.max(16),
            number: 1,
            staged: 0,
            bind_groups: HashMap::new(),
            textures: Textures::default(),
            written: Vec::new(),
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

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.dispatches += u64::from(command.kernel().is_some());
        self.moved += command.moved();
        if let Command::Transfer(copy @ Transfer::CopyToTexture { .. }) = &command {
            self.to_textures += copy.moved();
        }
        self.commands.push(command);
    }

    /// Notes that the next command uses `taken`, and whether it writes there.
    pub(crate) fn uses(&mut self, taken: &Arc<Taken>, writes: bool) {
        taken.last_use.store(self.number, Ordering::Relaxed);
        if writes {
            self.written.push(Arc::downgrade(taken));
        }
    }

    /// Puts a launch's parameters into the arena and returns their offset. [`Recorder::has_room`] must have returned
    /// true under the same lock.
    pub(crate) fn push_params(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.params.len() as u32;
        self.params.extend_from_slice(bytes);
        let end = self.params.len().next_multiple_of(self.stride as usize);
        self.params.resize(end, 0);
        offset
    }

    /// Whether a command with `params` bytes of parameters still fits this recording.
    pub(crate) fn has_room(&self, params: usize) -> bool {
        let end = (self.params.len() + params).next_multiple_of(self.stride as usize);
        (self.commands.len() as u64) < MOST_COMMANDS && end as u64 <= self.arena.size()
    }

    /// Whether the recording is long enough to be submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.commands.len() as u64 >= self.most.load(Ordering::Relaxed)
            || self.staged > STAGED_BYTES
    }

    /// Notes that `bytes` bytes wait in the driver's staging memory for the next submit.
    pub(crate) fn stage(&mut self, bytes: u64) {
        self.staged += bytes;
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

    /// Forgets bind groups: they keep the buffers that they bind.
    pub(crate) fn forget_bind_groups(&mut self) {
        self.bind_groups.clear();
    }

    /// The kernels last recorded, newest last: for error messages.
    pub(super) fn recent(&self) -> String {
        let kernels = self.commands.iter().rev().filter_map(Command::kernel);
        let names: Vec<&str> = kernels.take(8).collect();
        names.into_iter().rev().collect::<Vec<_>>().join(", ")
    }

    /// Begins the next recording and returns the commands of this one; `failed` says that they did not run, or not
    /// all of them, so that what they should have written is lost.
    pub(super) fn next(&mut self, failed: bool) {
        for taken in self.written.drain(..) {
            if failed && let Some(taken) = taken.upgrade() {
                taken.lost.store(true, Ordering::Relaxed);
            }
        }
        self.commands.clear();
        self.params.clear();
        self.number += 1;
        self.staged = 0;
        self.submits += 1;
    }

    /// (dispatches, submits) so far.
    pub(crate) fn counters(&self) -> (u64, u64) {
        (self.dispatches, self.submits)
    }

    /// Bytes moved so far, and the part of them that was copied to textures.
    pub(crate) fn bytes_moved(&self) -> (u64, u64) {
        (self.moved, self.to_textures)
    }
}

/// Halves the size of submits that run long, lets it grow again while they are short.
pub(super) fn adapt(most: &AtomicU64, count: u64, took: Duration) {
    let now = most.load(Ordering::Relaxed);
    if took > SUBMIT_TARGET && count <= now {
        most.store((count / 2).clamp(8, now), Ordering::Relaxed);
    } else if took < SUBMIT_TARGET / 4 && count >= now {
        most.store((now * 2).min(MOST_COMMANDS), Ordering::Relaxed);
    }
}
