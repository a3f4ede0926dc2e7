//! Timestamps of the device: around every launch while a profile is taken, and at the marks of a stopwatch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::command::{Command, MOST_COMMANDS};
use super::readback::Mapped;
use crate::device::open::Gpu;
use crate::error::Result;
use crate::memory::pool::Pool;
use crate::memory::transfer::Transfer;

/// Queries in one set: WebGPU allows 4096, and a submit holds no more launches than half of that.
const QUERIES: u32 = 2 * MOST_COMMANDS as u32;

/// Device time of one kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KernelTime {
    /// How often it was launched.
    pub launches: u64,
    /// Of all launches.
    pub nanoseconds: f64,
    /// Bytes read and written, as [`crate::Device::bytes_moved`] counts them.
    pub bytes: u64,
}

/// Launches, bytes and times by kernel since the profile began.
#[derive(Default)]
pub(crate) struct Profile(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    rows: BTreeMap<String, KernelTime>,
    /// Query sets that no submit uses.
    free: Vec<Queries>,
}

struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Queries {
    fn new(gpu: &Gpu) -> Self {
        let buffer = |usage| {
            gpu.raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(QUERIES) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        Self {
            set: gpu.raw.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        }
    }
}

/// The queries of one submit: its own, so that other submits may follow before they are read.
pub(super) struct Timed {
    queries: Queries,
    /// The first query of each launch, by the launch's index among the commands. The second query follows it.
    first: BTreeMap<usize, u32>,
    /// The kernels, in the order of their queries.
    kernels: Vec<String>,
    book: Arc<Mutex<Book>>,
}

impl Profile {
    /// Counts `commands` and takes queries for their launches.
    pub(super) fn begin(&self, gpu: &Gpu, commands: &[Command]) -> Timed {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queries = book.free.pop().unwrap_or_else(|| Queries::new(gpu));
        let mut first = BTreeMap::new();
        let mut kernels = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            let name = match (command.kernel(), command) {
                (Some(kernel), _) => kernel,
                (_, Command::Transfer(Transfer::CopyToTexture { .. })) => "(copies to textures)",
                (_, Command::Transfer(_)) => "(copies and zeros)",
                _ => continue,
            };
            let row = book.rows.entry(name.to_owned()).or_default();
            row.launches += 1;
            row.bytes += command.moved();
            let next = kernels.len() as u32 * 2;
            if let Command::Dispatch { kernel, .. } = command
                && next + 2 <= QUERIES
            {
                first.insert(at, next);
                kernels.push(kernel.name.clone());
            }
        }
        Timed {
            queries,
            first,
            kernels,
            book: self.0.clone(),
        }
    }

    /// The counts so far.
    pub(crate) fn rows(&self) -> BTreeMap<String, KernelTime> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.rows.clone()
    }
}

impl Timed {
    pub(super) fn writes(&self, command: usize) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        self.first
            .get(&command)
            .map(|first| wgpu::ComputePassTimestampWrites {
                query_set: &self.queries.set,
                beginning_of_pass_write_index: Some(*first),
                end_of_pass_write_index: Some(first + 1),
            })
    }

    fn bytes(&self) -> u64 {
        self.kernels.len() as u64 * 16
    }

    /// Records in `encoder` the copy of the timestamps to host-visible memory.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let used = self.kernels.len() as u32 * 2;
        if used > 0 {
            let Queries {
                set,
                resolved,
                staging,
            } = &self.queries;
            encoder.resolve_query_set(set, 0..used, resolved, 0);
            encoder.copy_buffer_to_buffer(resolved, 0, staging, 0, self.bytes());
        }
    }

    /// Waits for the submission `index` and adds its times to the profile's.
    pub(super) fn collect(self, pool: &Pool, index: wgpu::SubmissionIndex) -> Result<()> {
        let mut ticks = Vec::new();
        if self.bytes() > 0 {
            let mapped = Mapped::new(&self.queries.staging, self.bytes(), index);
            ticks = to_ticks(&mapped.read(pool, "profile")?);
        }
        let period = f64::from(pool.gpu().queue.get_timestamp_period());
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        for (kernel, pair) in self.kernels.into_iter().zip(ticks.chunks_exact(2)) {
            let row = book.rows.entry(kernel).or_default();
            row.nanoseconds += pair[1].saturating_sub(pair[0]) as f64 * period;
        }
        book.free.push(self.queries);
        Ok(())
    }
}

/// Timestamps as the device wrote them.
pub(crate) fn to_ticks(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect()
}
