//! Device time by kernel, from timestamps around every dispatch. Profiling slows the device down:
//! each dispatch gets a pass of its own, and every submit is waited for.

use std::collections::BTreeMap;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::submit::recording::Command;

/// Queries in one set at most; a submit holds fewer dispatches than half of this.
const QUERIES: u32 = 4096;

/// Device time of one kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KernelTime {
    pub launches: u64,
    pub nanoseconds: f64,
    /// Bytes read and written, as [`Device::bytes_moved`] counts them.
    pub bytes: u64,
}

pub(crate) struct Profile {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    pending: Vec<(String, u32)>,
    rows: BTreeMap<String, KernelTime>,
}

/// Which command of a submit writes which queries.
pub(crate) struct Timed {
    queries: wgpu::QuerySet,
    first: BTreeMap<usize, u32>,
}

impl Timed {
    pub(crate) fn writes(&self, command: usize) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        self.first
            .get(&command)
            .map(|first| wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(*first),
                end_of_pass_write_index: Some(first + 1),
            })
    }
}

impl Profile {
    fn new(device: &Device) -> Self {
        let buffer = |usage| {
            device.0.raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("timestamps"),
                size: u64::from(QUERIES) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        Self {
            queries: device.0.raw.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            pending: Vec::new(),
            rows: BTreeMap::new(),
        }
    }

    pub(crate) fn begin(&mut self, _device: &Device, commands: &[Command]) -> Timed {
        let mut first = BTreeMap::new();
        self.pending.clear();
        for (at, command) in commands.iter().enumerate() {
            let name = match command {
                Command::Dispatch { kernel, .. } => kernel.name.as_str(),
                Command::Emulate(launch) => launch.kernel.name.as_str(),
                Command::CopyToTexture { .. } => "(copies to textures)",
                Command::Copy { .. } | Command::Zero { .. } => "(copies and zeros)",
                Command::Stamp(_) => continue,
            };
            let row = self.rows.entry(name.to_owned()).or_default();
            row.launches += 1;
            row.bytes += command.moved();
            let next = self.pending.len() as u32 * 2;
            if let Command::Dispatch { kernel, .. } = command
                && next + 2 <= QUERIES
            {
                first.insert(at, next);
                self.pending.push((kernel.name.clone(), next));
            }
        }
        Timed {
            queries: self.queries.clone(),
            first,
        }
    }

    pub(crate) fn end(&mut self, encoder: &mut wgpu::CommandEncoder, timed: Timed) {
        let used = timed.first.len() as u32 * 2;
        if used > 0 {
            encoder.resolve_query_set(&self.queries, 0..used, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, u64::from(used) * 8);
        }
    }

    /// Waits for the submit and adds its times to the rows.
    pub(crate) fn collect(&mut self, device: &Device) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = self.pending.len() as u64 * 16;
        let stamps = device.read_mapped(&self.staging, bytes, None, "profile")?;
        let period = f64::from(device.0.queue.get_timestamp_period());
        let ticks: Vec<u64> = stamps
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect();
        for (name, first) in self.pending.drain(..) {
            let at = first as usize;
            let row = self.rows.entry(name).or_default();
            row.nanoseconds += ticks[at + 1].saturating_sub(ticks[at]) as f64 * period;
        }
        Ok(())
    }
}

impl Device {
    /// Starts profiling; earlier figures are forgotten.
    pub fn start_profile(&self) -> Result<()> {
        if !self.has_timestamps() {
            return Err(Error::Adapter(format!(
                "{} has no timestamp queries, so it cannot be profiled",
                self.adapter().name
            )));
        }
        self.flush()?;
        *self.lock(&self.0.profile) = Some(Profile::new(self));
        Ok(())
    }

    /// Stops profiling and returns launches, device time and bytes of each kernel by name; of copies, which
    /// no timestamp surrounds, numbers and bytes only, under names in parentheses.
    pub fn stop_profile(&self) -> Result<BTreeMap<String, KernelTime>> {
        self.synchronize()?;
        let profile = self.lock(&self.0.profile).take();
        Ok(profile.map(|p| p.rows).unwrap_or_default())
    }
}
