//! The time of a piece of recorded work by the device's own clock: a timestamp in front of it and one
//! behind, everything between counted (launches, copies, gaps between submits).
//!
//! A timestamp belongs to a pass of its own that launches a kernel which does nothing. Timestamps of
//! passes exist on every back end, those of encoders hang some versions of macOS; and drivers may leave
//! out a pass without a launch.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::handle::Device;
use crate::kernel::{Code, Defines};
use crate::memory::buffer::Buffer;
use crate::submit::command::{Command, Stamp};
use crate::submit::readback::Mapped;
use crate::submit::timestamps::to_ticks;

/// Marks of one reading at most.
const MARKS: u32 = 64;

/// Measures work on one device. By its timestamps where it has them, else by the clock of the host,
/// which waits for the device at every mark.
pub struct Stopwatch {
    device: Device,
    by_device: Option<Stamps>,
    marks: Vec<Instant>,
}

struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    /// What the kernel binds; it must live as long as the bind group is used.
    _bound: Buffer,
    used: u32,
}

impl Device {
    /// A stopwatch for work on this device.
    pub fn stopwatch(&self) -> Result<Stopwatch> {
        let by_device = self.has_timestamps().then(|| self.stamps()).transpose()?;
        Ok(Stopwatch {
            device: self.clone(),
            by_device,
            marks: Vec::new(),
        })
    }

    fn stamps(&self) -> Result<Stamps> {
        let kernel = self.kernel("peak_empty", &Defines::new())?;
        let bound = self.alloc(4)?;
        let (pipeline, layout) = match &kernel.code {
            Code::Compiled { pipeline, layout } => (pipeline, layout),
            #[cfg(feature = "emulator")]
            Code::Emulated(_) => {
                return Err(Error::Adapter("an emulated device has no clock".into()));
            }
        };
        let raw = &self.0.gpu.raw;
        let bind_group = raw.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("stopwatch"),
            layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 1,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &bound.place().0.raw,
                    offset: 0,
                    size: wgpu::BufferSize::new(bound.size()),
                }),
            }],
        });
        let buffer = |usage| {
            raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("stopwatch"),
                size: u64::from(MARKS) * 8,
                usage,
                mapped_at_creation: false,
            })
        };
        Ok(Stamps {
            queries: raw.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stopwatch"),
                ty: wgpu::QueryType::Timestamp,
                count: MARKS,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            pipeline: pipeline.clone(),
            bind_group,
            _bound: bound,
            used: 0,
        })
    }
}

impl std::fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stopwatch(by device: {})", self.by_device())
    }
}

impl Stopwatch {
    /// Whether the device's own clock is read.
    pub fn by_device(&self) -> bool {
        self.by_device.is_some()
    }

    /// Marks this place in the recording. Up to 64 marks make one reading.
    pub fn mark(&mut self) -> Result<()> {
        let Some(stamps) = &mut self.by_device else {
            self.device.synchronize()?;
            self.marks.push(Instant::now());
            return Ok(());
        };
        if stamps.used == MARKS {
            return Err(Error::Launch {
                kernel: "stopwatch".into(),
                message: format!("more than {MARKS} marks in one reading"),
            });
        }
        if stamps.used == 0 {
            // Submit what was recorded before, so that marks never fill up a recording.
            self.device.flush()?;
        }
        let stamp = Stamp {
            queries: stamps.queries.clone(),
            index: stamps.used,
            pipeline: stamps.pipeline.clone(),
            bind_group: stamps.bind_group.clone(),
        };
        stamps.used += 1;
        self.device
            .lock(&self.device.0.recorder)
            .push(Command::Stamp(stamp));
        Ok(())
    }

    /// Submits what is recorded, waits for it and returns the seconds between each mark and the next: 0 where the
    /// device's stamps are equal or run backwards, which is no measurement. The marks are forgotten.
    pub fn read(&mut self) -> Result<Vec<f64>> {
        let Some(stamps) = &mut self.by_device else {
            let marks = std::mem::take(&mut self.marks);
            let laps = marks.windows(2).map(|pair| pair[1] - pair[0]);
            return Ok(laps.map(|lap| lap.as_secs_f64()).collect());
        };
        let used = std::mem::take(&mut stamps.used);
        self.device.flush()?;
        if used < 2 {
            return Ok(Vec::new());
        }
        let ticks = stamps.ticks(&self.device, used)?;
        let period = f64::from(self.device.0.gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(ticks
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]) as f64 * period)
            .collect())
    }

    /// Seconds of `work`, which records something and need not wait for it; 0 where the stamps were none (see
    /// [`Stopwatch::read`]). No mark stays behind where `work` fails.
    pub fn time<E: From<Error>>(
        &mut self,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<f64, E> {
        self.mark()?;
        let done = work();
        let seconds = self.mark().and_then(|()| self.read());
        done?;
        Ok(seconds?.iter().sum())
    }
}

impl Stamps {
    fn ticks(&self, device: &Device, used: u32) -> Result<Vec<u64>> {
        let bytes = u64::from(used) * 8;
        let mut encoder = device.0.gpu.raw.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&self.queries, 0..used, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, bytes);
        let index = device.0.gpu.queue.submit([encoder.finish()]);
        let mapped = Mapped::new(&self.staging, bytes, index);
        Ok(to_ticks(&mapped.read(&device.0.pool, "stopwatch")?))
    }
}
