//! From a kernel's name and defines to a compiled pipeline, cached.

mod layout;
mod message;
pub mod reflect;
mod repeat;
pub mod source;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "emulator")]
use crate::device::emulated::Emulated;
use crate::device::open::Gpu;
use crate::error::{Error, Result};
use message::{in_one_line, validation_error};
use reflect::{BindingKind, KernelInfo};
pub use source::Defines;

/// A compiled kernel: its reflected interface and its pipeline.
pub struct Kernel {
    /// The shader file's name.
    pub name: String,
    /// The interface reflected from the WGSL.
    pub info: KernelInfo,
    /// Unique in this process; a part of the bind-group key.
    pub(crate) id: u64,
    pub(crate) code: Code,
    text: String,
    /// The time that its pipeline took.
    compile_time: Duration,
    /// The time of the first launch, if it was measured (see `handle/compile_times`).
    pub(crate) first_nanos: AtomicU64,
}

/// The compiled form that a launch runs.
pub(crate) enum Code {
    Compiled {
        pipeline: wgpu::ComputePipeline,
        layout: wgpu::BindGroupLayout,
    },
    #[cfg(feature = "emulator")]
    Emulated(Box<wgrad_emulator::Program>),
}

/// One compiled variant of a kernel, as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelText {
    /// The shader file's name.
    pub name: String,
    /// The variant, by [`Defines::key`].
    pub variant: String,
    /// The complete WGSL, with imports and defines.
    pub text: String,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({}, {:?})", self.name, self.info)
    }
}

/// The kernels compiled on one device so far: by shader file, then by variant.
#[derive(Default)]
pub(crate) struct Kernels(Mutex<HashMap<String, HashMap<Defines, Arc<Kernel>>>>);

impl Kernels {
    /// The kernel of shader file `name` in the variant `defines`, compiled on first use.
    pub(crate) fn get(&self, gpu: &Gpu, name: &str, defines: &Defines) -> Result<Arc<Kernel>> {
        let mut kernels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kernels.get(name).and_then(|variants| variants.get(defines)) {
            return Ok(found.clone());
        }
        let text = source::assemble(name, defines).map_err(|message| Error::Kernel {
            kernel: name.to_owned(),
            message,
        })?;
        let kernel = Arc::new(Kernel::compile(gpu, name, &text, gpu.options.checked)?);
        kernels
            .entry(name.to_owned())
            .or_default()
            .insert(defines.clone(), kernel.clone());
        Ok(kernel)
    }

    /// All of them, sorted.
    pub(crate) fn texts(&self) -> Vec<KernelText> {
        let kernels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<KernelText> = kernels
            .iter()
            .flat_map(|(name, variants)| {
                variants.iter().map(|(defines, kernel)| KernelText {
                    name: name.clone(),
                    variant: defines.key(),
                    text: kernel.text.clone(),
                })
            })
            .collect();
        all.sort();
        all
    }

    /// Those whose first launch was timed: name, variant, and the time with the compilation.
    pub(crate) fn compile_times(&self) -> Vec<(String, String, Duration)> {
        let kernels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let variants = kernels.iter().flat_map(|(name, variants)| {
            variants.iter().filter_map(|(defines, kernel)| {
                let first = kernel.first_nanos.load(Ordering::Relaxed);
                let time = kernel.compile_time + Duration::from_nanos(first);
                (first > 0).then(|| (name.clone(), defines.key(), time))
            })
        });
        variants.collect()
    }
}

impl Kernel {
    /// Compiles any WGSL text that follows the conventions: a uniform `Params` struct at binding 0,
    /// tensors from binding 1; `checked` says whether with checks of indices, loops and workgroup memory.
    pub(crate) fn compile(gpu: &Gpu, name: &str, text: &str, checked: bool) -> Result<Kernel> {
        let fail = |message: String| Error::Kernel {
            kernel: name.to_owned(),
            message,
        };
        let start = Instant::now();
        let info = reflect::reflect(text).map_err(&fail)?;
        check_limits(&gpu.limits, &info).map_err(&fail)?;
        let code = Code::new(gpu, name, text, &info, checked).map_err(&fail)?;
        Ok(Kernel {
            name: name.to_owned(),
            info,
            id: gpu.next_id(),
            code,
            text: text.to_owned(),
            compile_time: start.elapsed(),
            first_nanos: AtomicU64::new(0),
        })
    }
}

impl Code {
    fn new(
        gpu: &Gpu,
        name: &str,
        text: &str,
        info: &KernelInfo,
        checked: bool,
    ) -> std::result::Result<Code, String> {
        #[cfg(feature = "emulator")]
        if let Some(shape) = gpu.options.emulated {
            return Code::emulated(shape, gpu.options.checked, text);
        }
        Code::pipeline(gpu, name, text, info, checked)
    }

    /// A kernel's text made ready for the emulator.
    #[cfg(feature = "emulator")]
    fn emulated(shape: Emulated, checked: bool, text: &str) -> std::result::Result<Code, String> {
        let machine = wgrad_emulator::Machine {
            subgroup_size: shape.subgroup_size,
            checked,
            limit: shape.limit,
            counts: shape.counts,
        };
        let program =
            wgrad_emulator::Program::new(text, machine).map_err(|fault| fault.to_string())?;
        Ok(Code::Emulated(Box::new(program)))
    }

    fn pipeline(
        gpu: &Gpu,
        name: &str,
        text: &str,
        info: &KernelInfo,
        checked: bool,
    ) -> std::result::Result<Code, String> {
        let make = |raw: &wgpu::Device| compiled(gpu, raw, (name, text), info, checked);
        match gpu.caught(wgpu::ErrorFilter::Validation, make) {
            (_, Some(error)) => {
                Err(validation_error(text).unwrap_or_else(|| in_one_line(&error.to_string())))
            }
            (code, None) => Ok(code),
        }
    }
}

/// The pipeline of `text`. wgpu reports errors through the device.
fn compiled(
    gpu: &Gpu,
    raw: &wgpu::Device,
    (name, text): (&str, &str),
    info: &KernelInfo,
    checked: bool,
) -> Code {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    let module = if checked {
        raw.create_shader_module(descriptor)
    } else {
        // SAFETY: a kernel of our own, or one that a caller of `compile_trusted` vouches for. The op matrix runs each
        // of ours in checked mode and with guard bytes behind every buffer too, where a stray index would show.
        unsafe {
            raw.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    };
    let entries: Vec<_> = std::iter::once(uniform_entry())
        .filter(|_| info.params_size > 0)
        .chain(
            info.bindings
                .iter()
                .enumerate()
                .map(|(i, b)| tensor_entry(i as u32 + 1, b.kind)),
        )
        .collect();
    let layout = raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(name),
        entries: &entries,
    });
    let pipeline_layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(&info.entry_point),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[],
            zero_initialize_workgroup_memory: checked,
        },
        cache: gpu.pipeline_cache.as_ref(),
    });
    Code::Compiled { pipeline, layout }
}

fn check_limits(limits: &wgpu::Limits, info: &KernelInfo) -> std::result::Result<(), String> {
    let [x, y, z] = info.workgroup_size;
    let checks = [
        (
            "invocations in a workgroup",
            u64::from(x) * u64::from(y) * u64::from(z),
            u64::from(limits.max_compute_invocations_per_workgroup),
        ),
        (
            "bytes of workgroup memory",
            info.workgroup_bytes,
            u64::from(limits.max_compute_workgroup_storage_size),
        ),
        (
            "storage buffers",
            info.bindings
                .iter()
                .filter(|b| b.kind != BindingKind::Texture)
                .count() as u64,
            u64::from(limits.max_storage_buffers_per_shader_stage),
        ),
    ];
    for (what, used, limit) in checks {
        if used > limit {
            return Err(format!("it uses {used} {what}, the device allows {limit}"));
        }
    }
    Ok(())
}

fn uniform_entry() -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: None,
        },
        count: None,
    }
}

fn tensor_entry(binding: u32, kind: BindingKind) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        BindingKind::Texture => wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::ReadOnly,
            format: wgpu::TextureFormat::Rgba32Float,
            view_dimension: wgpu::TextureViewDimension::D2,
        },
        BindingKind::Read | BindingKind::ReadWrite => wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage {
                read_only: kind == BindingKind::Read,
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty,
        count: None,
    }
}
