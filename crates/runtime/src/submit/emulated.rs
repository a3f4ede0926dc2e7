//! A device that runs its kernels on the host, as a GPU of another shape would, and reports their faults
//! (`wgrad-emulator`). Buffers, copies and everything else use the real adapter.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wgrad_emulator::{Binding, Counts};

use super::command::{Command, Emulate};
use super::encode::encode;
use super::readback;
use super::wait::Waiting;
use crate::error::{Error, Result};
use crate::kernel::Code;
use crate::kernel::reflect::BindingKind;
use crate::memory::pool::Pool;
use crate::memory::staging::Staging;
use crate::memory::transfer::TEXTURE_WIDTH;

/// The counts of a kernel's launches on an emulated device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// How often it was launched.
    pub launches: u64,
    /// The counts of all lines together.
    pub all: Counts,
    /// The counts by the text of the line.
    pub lines: BTreeMap<String, Counts>,
}

/// The counts of kernels, by name.
pub(crate) type Counted = BTreeMap<String, KernelCounts>;

/// Runs what was recorded: launches on the host, everything else on the real device. It waits for the device before
/// each launch, while the caller holds the recorder's lock, so that everything runs in the order of recording.
pub(crate) fn run(
    pool: &Pool,
    staging: &Staging,
    counted: &Mutex<Counted>,
    commands: &[Command],
) -> Result<()> {
    let mut from = 0;
    for (at, command) in commands.iter().enumerate() {
        if let Command::Emulate(launch) = command {
            submit(pool, &commands[from..at]);
            run_launch(pool, staging, counted, launch)?;
            from = at + 1;
        }
    }
    submit(pool, &commands[from..]);
    pool.check(|| "copies".into())
}

fn submit(pool: &Pool, commands: &[Command]) {
    if commands.is_empty() {
        return;
    }
    let gpu = pool.gpu();
    let mut encoder = gpu.raw.create_command_encoder(&Default::default());
    encode(&mut encoder, commands, None);
    gpu.queue.submit([encoder.finish()]);
}

fn run_launch(
    pool: &Pool,
    staging: &Staging,
    counted: &Mutex<Counted>,
    launch: &Emulate,
) -> Result<()> {
    let Code::Emulated(program) = &launch.kernel.code else {
        return Ok(());
    };
    let infos = &launch.kernel.info.bindings;
    let mut contents = Vec::with_capacity(infos.len());
    for (buffer, offset, size) in &launch.bindings {
        let mut bytes = vec![0; *size as usize];
        let from = (buffer, *offset);
        let read = readback::read(pool, staging, from, &mut bytes, Waiting::Here);
        pollster::block_on(read)?;
        contents.push(bytes);
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
    for ((info, (buffer, offset, _)), bytes) in infos.iter().zip(&launch.bindings).zip(&contents) {
        if info.kind == BindingKind::ReadWrite {
            pool.gpu().queue.write_buffer(buffer, *offset, bytes);
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
        let mut kernels = counted.lock().unwrap_or_else(PoisonError::into_inner);
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
