//! Runs WGSL compute kernels on the host, as a GPU with any subgroup size and any matrix units would, and
//! detects faults that drivers do not report: data races, indices out of bounds, reads of unwritten workgroup memory, and
//! barriers that not all invocations reach.
//!
//! A kernel's workgroup runs in lockstep, statement after statement with a mask of active invocations, over
//! the intermediate representation of naga, which every driver's shader is made from. The order of
//! execution hides no race: each place in memory remembers who touched it since the last barrier.
//!
//! It takes the rules of WGSL at their word. `subgroupBarrier()` orders execution and no memory (naga
//! writes it so for Vulkan); two invocations that write the same value to one place race; an index out of
//! bounds is an error even where a driver would clamp it.
//!
//! Not emulated: 64-bit and 16-bit integers, f64, matrices other than cooperative ones, sampled textures,
//! and pipeline-overridable constants; a kernel with one of these is refused with an error that names it.

mod arithmetic;
#[cfg(test)]
mod cap_tests;
mod cooperative;
mod counting;
mod counts;
mod expressions;
mod group;
mod math;
mod memory;
mod pointers;
mod room;
mod statements;
mod subgroups;
#[cfg(test)]
mod tests;
mod types;
mod value;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

pub use counts::Counts;
use counts::Tally;
use group::{Group, Position};
use memory::Buffer;
use types::Types;

/// The GPU that a program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Invocations in a subgroup: a power of two.
    pub subgroup_size: u32,
    /// Whether workgroup memory starts as zeros and indices end at the last element, as WGSL lets drivers see to;
    /// a trusted kernel must not rely on either.
    pub checked: bool,
    /// How long a run may take.
    pub limit: Option<Duration>,
    /// Whether operations and requests to memory are counted.
    pub counts: bool,
}

/// The memory of one `@binding` of group 0.
#[derive(Debug)]
pub enum Binding<'a> {
    /// A uniform or a buffer for reading.
    Read(&'a [u8]),
    /// A buffer for reading and writing.
    ReadWrite(&'a mut [u8]),
    /// Texels of 16 bytes of a `texture_storage_2d<rgba32float, read>`, and how many make up a row.
    Texels(&'a [u8], u32),
}

/// Why a kernel did not run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether the kernel broke a rule of WGSL; else it has something that is not emulated.
    pub is_broken: bool,
    /// What happened, and to whom.
    pub message: String,
    /// The line of the kernel's text where it happened, and its number.
    pub line: Option<(u32, String)>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.line {
            Some((number, text)) => {
                write!(f, "{} (line {number}: `{}`)", self.message, text.trim())
            }
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Fault {}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Fault {
            is_broken: false,
            message: message.into(),
            line: None,
        }
    }

    fn broken(message: impl Into<String>) -> Self {
        Fault {
            is_broken: true,
            ..Fault::new(message)
        }
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// A kernel ready to run.
#[derive(Debug)]
pub struct Program {
    module: naga::Module,
    info: ModuleInfo,
    types: Types,
    text: String,
    machine: Machine,
}

impl Program {
    /// Reads WGSL with one entry point.
    ///
    /// # Errors
    /// naga's error for an invalid text, or a feature that is not emulated.
    pub fn new(text: &str, machine: Machine) -> Result<Program> {
        let module = naga::front::wgsl::parse_str(text)
            .map_err(|e| Fault::new(e.emit_to_string(text).trim().to_owned()))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .map_err(|e| Fault::new(e.emit_to_string(text).trim().to_owned()))?;
        if module.entry_points.len() != 1 {
            let found = module.entry_points.len();
            return Err(Fault::new(format!(
                "one entry point is expected, {found} found"
            )));
        }
        if !machine.subgroup_size.is_power_of_two() {
            let size = machine.subgroup_size;
            return Err(Fault::new(format!(
                "a subgroup of {size} invocations: give a power of two"
            )));
        }
        let types = Types::new(&module, machine.subgroup_size)?;
        Ok(Program {
            module,
            info,
            types,
            text: text.to_owned(),
            machine,
        })
    }

    /// Runs `grid` workgroups one after the other. `bindings` pairs numbers of `@binding` with memory. What was counted
    /// comes by line of the text, if it was asked for.
    ///
    /// # Errors
    /// The first rule that the kernel breaks, or a timeout; the buffers then hold the values written until
    /// there.
    pub fn run(
        &self,
        bindings: &mut [(u32, Binding)],
        grid: [u32; 3],
    ) -> Result<BTreeMap<u32, Counts>> {
        let entry = &self.module.entry_points[0];
        let lanes = entry.workgroup_size.iter().product::<u32>() as usize;
        let mut buffers = Vec::new();
        for (handle, variable) in self.module.global_variables.iter() {
            let buffer = match &variable.binding {
                None => None,
                Some(at) => {
                    let found = bindings
                        .iter()
                        .find(|(number, _)| at.group == 0 && *number == at.binding);
                    let name = variable.name.clone().unwrap_or_default();
                    let (_, binding) = found.ok_or_else(|| {
                        Fault::new(format!(
                            "nothing is bound to `{name}` (binding {})",
                            at.binding
                        ))
                    })?;
                    Some(Buffer::new(
                        name,
                        binding,
                        self.types.narrow(handle.index()),
                    ))
                }
            };
            buffers.push(buffer);
        }
        let mut tally = self.machine.counts.then(Tally::default);
        let result = self.groups(&mut buffers, &mut tally, lanes, grid);
        for ((_, variable), buffer) in self.module.global_variables.iter().zip(&buffers) {
            let (Some(at), Some(buffer)) = (&variable.binding, buffer) else {
                continue;
            };
            for (number, binding) in bindings.iter_mut() {
                if let Binding::ReadWrite(bytes) = binding
                    && *number == at.binding
                {
                    bytes.copy_from_slice(buffer.bytes());
                }
            }
        }
        result.map(|()| tally.map_or_else(BTreeMap::new, |tally| tally.by_line(&self.text)))
    }

    /// A line of the text, by its number.
    pub fn text_line(&self, number: u32) -> &str {
        let line = self.text.lines().nth(number.saturating_sub(1) as usize);
        line.unwrap_or_default().trim()
    }

    fn groups(
        &self,
        buffers: &mut [Option<Buffer>],
        tally: &mut Option<Tally>,
        lanes: usize,
        grid: [u32; 3],
    ) -> Result<()> {
        let mut number = 0;
        let end = self.machine.limit.map(|limit| Instant::now() + limit);
        for z in 0..grid[2] {
            for y in 0..grid[1] {
                for x in 0..grid[0] {
                    let id = [x, y, z];
                    let position = Position { id, grid, number };
                    Group::new(self, buffers, tally, lanes, position, end)?.run()?;
                    number += 1;
                }
            }
        }
        Ok(())
    }

    /// The line of the text that `span` starts in.
    fn line(&self, span: naga::Span) -> Option<(u32, String)> {
        if !span.is_defined() {
            return None;
        }
        let number = span.location(&self.text).line_number;
        let text = self.text.lines().nth(number as usize - 1)?;
        Some((number, text.to_owned()))
    }
}
