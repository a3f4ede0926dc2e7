//! A device that runs its kernels on the host, as a GPU of another shape would, and reports what they do wrong
//! (`wgrad-emulator`). Buffers, copies and everything above the kernels are those of the adapter beneath.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use wgrad_emulator::Counts;
use wgrad_emulator::{Binding, Machine, Program};

use crate::device::Device;
use crate::device::adapter::{AdapterDescription, MatrixUnit};
use crate::error::{Error, Result};
use crate::kernel::reflect::BindingKind;
use crate::kernel::{Code, Kernel};
use crate::memory::texture::TEXTURE_WIDTH;
use crate::submit::recording::{Command, encode};

/// The shape of an emulated GPU. It is a discrete one under Vulkan with `f16` and 48 KiB of workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emulated {
    /// Invocations in a subgroup: a power of two.
    pub subgroup_size: u32,
    /// What its matrix units compute, if it has some.
    pub matrix_unit: Option<MatrixUnit>,
    /// How long a launch may take; beyond it the launch fails.
    pub limit: Option<Duration>,
    /// Whether it is counted what kernels do (see [`Device::take_counts`]).
    pub counts: bool,
}

/// What launches of a kernel did on an emulated device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelCounts {
    pub launches: u64,
    pub all: Counts,
    /// By the text of the line.
    pub lines: BTreeMap<String, Counts>,
}

/// What a kernel of an emulated GPU may use of workgroup memory, in bytes, and of invocations.
const WORKGROUP_BYTES: u32 = 48 << 10;
const INVOCATIONS: u32 = 1024;

impl Emulated {
    /// Lets `description`, `features` and `limits` of an adapter say what this GPU is.
    pub(crate) fn describe(
        self,
        description: &mut AdapterDescription,
        features: &mut wgpu::Features,
        limits: &mut wgpu::Limits,
    ) {
        use wgpu::Features as F;
        features.insert(F::SHADER_F16 | F::SUBGROUP | F::SUBGROUP_BARRIER);
        features.remove(F::TIMESTAMP_QUERY | F::PIPELINE_CACHE);
        features.set(
            F::EXPERIMENTAL_COOPERATIVE_MATRIX,
            self.matrix_unit.is_some(),
        );
        limits.max_compute_workgroup_storage_size = WORKGROUP_BYTES;
        limits.max_compute_invocations_per_workgroup = INVOCATIONS;
        let beneath = format!("{} {}", description.name, description.driver);
        description.driver = format!("wgrad-emulator over {}", beneath.trim());
        description.name = format!("emulated GPU, subgroups of {}", self.subgroup_size);
        description.backend = "Vulkan".into();
        description.device_type = "DiscreteGpu".into();
        description.subgroup_sizes = Some((self.subgroup_size, self.subgroup_size));
        description.features = features.iter_names().map(|(name, _)| name.into()).collect();
        for (name, value) in &mut description.limits {
            match *name {
                "maxComputeWorkgroupStorageSize" => *value = WORKGROUP_BYTES.into(),
                "maxComputeInvocationsPerWorkgroup" => *value = INVOCATIONS.into(),
                _ => {}
            }
        }
    }
}

/// One launch.
pub(crate) struct Emulate {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) moved: u64,
    pub(crate) params: Vec<u8>,
    /// Buffer, offset and size of each binding.
    pub(crate) bindings: Vec<(wgpu::Buffer, u64, u64)>,
    pub(crate) grid: [u32; 3],
}

impl Device {
    /// A kernel's text made ready for the emulator.
    pub(crate) fn emulate(&self, shape: Emulated, text: &str) -> std::result::Result<Code, String> {
        let machine = Machine {
            subgroup_size: shape.subgroup_size,
            checked: self.0.options.checked,
            limit: shape.limit,
            counts: shape.counts,
        };
        let program = Program::new(text, machine).map_err(|fault| fault.to_string())?;
        Ok(Code::Emulated(Box::new(program)))
    }

    /// Runs what was recorded: launches here, all else on the device beneath.
    pub(crate) fn run_emulated(&self, commands: &[Command]) -> Result<()> {
        let mut from = 0;
        for (at, command) in commands.iter().enumerate() {
            if let Command::Emulate(launch) = command {
                self.submit(&commands[from..at]);
                self.run_launch(launch)?;
                from = at + 1;
            }
        }
        self.submit(&commands[from..]);
        self.check(|| "copies".into())
    }

    fn submit(&self, commands: &[Command]) {
        if commands.is_empty() {
            return;
        }
        let mut encoder = self.0.raw.create_command_encoder(&Default::default());
        encode(&mut encoder, commands, None);
        self.0.queue.submit([encoder.finish()]);
    }

    fn run_launch(&self, launch: &Emulate) -> Result<()> {
        let Code::Emulated(program) = &launch.kernel.code else {
            return Ok(());
        };
        let infos = &launch.kernel.info.bindings;
        let mut contents = Vec::with_capacity(infos.len());
        for (buffer, offset, size) in &launch.bindings {
            contents.push(self.read_raw(buffer, *offset, *size)?);
        }
        let tensors = contents.iter_mut().zip(infos).enumerate();
        let tensors = tensors.map(|(i, (bytes, info))| {
            let binding = match info.kind {
                BindingKind::Read => Binding::Read(bytes),
                BindingKind::ReadWrite => Binding::ReadWrite(bytes),
                BindingKind::Texture => Binding::Texels(bytes, TEXTURE_WIDTH),
            };
            (i as u32 + 1, binding)
        });
        let mut bindings = vec![(0, Binding::Read(&launch.params))];
        bindings.extend(tensors);
        let result = program.run(&mut bindings, launch.grid);
        for ((info, (buffer, offset, _)), bytes) in
            infos.iter().zip(&launch.bindings).zip(&contents)
        {
            if info.kind == BindingKind::ReadWrite {
                self.0.queue.write_buffer(buffer, *offset, bytes);
            }
        }
        let lines = result.map_err(|fault| {
            let (kernel, message) = (launch.kernel.name.clone(), fault.to_string());
            match fault.is_broken {
                true => Error::Fault { kernel, message },
                false => Error::Kernel { kernel, message },
            }
        })?;
        if !lines.is_empty() {
            let mut kernels = self.lock(&self.0.counts);
            let counted = kernels.entry(launch.kernel.name.clone()).or_default();
            counted.launches += 1;
            for (number, counts) in lines {
                counted.all += counts;
                let line = program.text_line(number).to_owned();
                *counted.lines.entry(line).or_default() += counts;
            }
        }
        Ok(())
    }

    /// What kernels did since the last call on an emulated device that counts it, by name.
    pub fn take_counts(&self) -> Result<BTreeMap<String, KernelCounts>> {
        self.flush()?;
        Ok(std::mem::take(&mut *self.lock(&self.0.counts)))
    }
}
