//! From a choice of parameters to a kernel's text, its launch and its limits.

use std::collections::{BTreeMap, BTreeSet};

use wgrad_runtime::{
    BindingKind, Defines, Device, KernelInfo, Padding, ParamInfo, assemble_text, reflect,
};

use super::expr::{Expr, Scope, Value};
use super::facts;
use super::job::Source;
use super::spec::Spec;
use super::wgsl;

/// Why a choice cannot be built, by the names of [`super::outcome::Status`].
#[derive(Debug)]
pub enum Refused {
    /// The preprocessor or naga refuses it, or a member of the uniform has no value; the message says which.
    Compile(String),
    /// A constraint of the spec or a limit of the adapter forbids it; the message names it.
    Constraint(String),
}

/// A choice at one problem size, ready to be compiled.
#[derive(Debug)]
pub struct Built {
    /// The whole WGSL.
    pub text: String,
    /// The bindings, parameters and workgroup size, reflected from the text.
    pub info: KernelInfo,
    /// Workgroups along x, y and z.
    pub workgroups: [u64; 3],
    /// Values of the uniform's members, in their order, as 32-bit words.
    pub uniform: Vec<(String, Vec<u32>)>,
}

/// The WGSL of `source` with `values` (parameters) at `sizes`, and how to launch it.
///
/// # Errors
/// `Compile` if the preprocessor or naga refuses the text, or if a member of the uniform has no value.
pub fn build(
    spec: &Spec,
    source: &Source,
    entry: Option<&str>,
    workgroups: &[Expr],
    values: &Scope,
    sizes: &Scope,
) -> Result<Built, Refused> {
    let compile = |e: &dyn std::fmt::Display| Refused::Compile(e.to_string());
    let scope = scope(spec, values, sizes).map_err(Refused::Compile)?;
    let text = assembled(spec, source, sizes, &scope).map_err(Refused::Compile)?;
    let text = wgsl::isolate(&text, entry).map_err(Refused::Compile)?;
    let info = reflect(&text).map_err(Refused::Compile)?;
    let mut grid = [1; 3];
    for (slot, expr) in grid.iter_mut().zip(workgroups) {
        *slot = expr.count(&scope).map_err(|e| compile(&e))?;
    }
    let uniform = uniform(&info, spec, &scope).map_err(Refused::Compile)?;
    whole_elements(&info, spec, sizes).map_err(Refused::Compile)?;
    Ok(Built {
        text,
        info,
        workgroups: grid,
        uniform,
    })
}

/// The file of `source` with `values` as its constants, for the user to keep. A constant that the file does not
/// declare is put in front of it.
pub fn tuned_text(
    spec: &Spec,
    source: &Source,
    values: &Scope,
    sizes: &Scope,
) -> Result<String, String> {
    let scope = scope(spec, values, sizes)?;
    let text = assembled(spec, source, sizes, &scope)?;
    // Constants that moved from the front into the file leave lines of spaces behind.
    let left = |line: &&str| line.is_empty() || !line.trim().is_empty();
    let lines: Vec<&str> = text.lines().filter(left).collect();
    Ok(wgsl::directives_first(&(lines.join("\n") + "\n")))
}

/// Parameters, sizes, facts of the adapter and constants.
fn scope(spec: &Spec, values: &Scope, sizes: &Scope) -> Result<Scope, String> {
    let mut scope = values.clone();
    scope.extend(
        sizes
            .iter()
            .chain(&spec.facts)
            .map(|(n, v)| (n.clone(), *v)),
    );
    let mut constants = Scope::new();
    for (name, expr) in &spec.constants {
        constants.insert(name.clone(), expr.eval(&scope).map_err(|e| e.to_string())?);
    }
    scope.extend(constants);
    Ok(scope)
}

/// The text with all constants set.
fn assembled(spec: &Spec, source: &Source, sizes: &Scope, scope: &Scope) -> Result<String, String> {
    let with_sizes = spec
        .size_constants
        .unwrap_or(!wgsl::has_uniform(&source.text));
    let mut defines = Defines::new();
    let mut names = BTreeSet::new();
    for (name, value) in scope {
        let size = sizes.contains_key(name) && !with_sizes;
        if size || spec.facts.contains_key(name) || name == "KERNEL" {
            continue;
        }
        defines = define(defines, name, *value);
        names.insert(name.clone());
    }
    for (name, ty) in &spec.alias {
        defines = defines.alias(name, ty);
    }
    for flag in &spec.flags {
        defines = defines.flag(flag);
    }
    if let Some(unit) = facts::matrix_unit(&spec.facts).filter(|_| source.text.contains("MatrixA"))
    {
        defines = defines.matrices(unit);
    }
    let text = assemble_text(&source.name, &source.text, &defines)?;
    Ok(wgsl::settle(&text, &names))
}

fn define(defines: Defines, name: &str, value: Value) -> Defines {
    match value {
        Value::Bool(on) => defines
            .flag_if(on, name)
            .code(name, &format!("const {name}: bool = {on};")),
        Value::Float(v) => defines.code(name, &format!("const {name}: f32 = {v:?}f;")),
        Value::Int(v) => match u32::try_from(v) {
            Ok(v) => defines.constant(name, v),
            Err(_) => defines.code(name, &format!("const {name}: i32 = {v}i;")),
        },
    }
}

fn uniform(
    info: &KernelInfo,
    spec: &Spec,
    scope: &Scope,
) -> Result<Vec<(String, Vec<u32>)>, String> {
    let mut out = Vec::new();
    for param in &info.params {
        let values: Vec<Value> = match (spec.uniform.get(&param.name), scope.get(&param.name)) {
            (Some(list), _) => {
                let all: Result<_, _> = list.all().iter().map(|e| e.eval(scope)).collect();
                all.map_err(|e| e.to_string())?
            }
            (None, Some(value)) => vec![*value],
            (None, None) => {
                return Err(without_value(param, spec));
            }
        };
        if values.len() > param.words {
            return Err(format!(
                "[uniform] {} has {} values, the member holds {}",
                param.name,
                values.len(),
                param.words
            ));
        }
        let words: Result<Vec<u32>, String> = values
            .iter()
            .map(|v| word(&param.name, *v, param.float))
            .collect();
        out.push((param.name.clone(), words?));
    }
    Ok(out)
}

/// What to write for a member of the uniform that nothing gives a value.
fn without_value(param: &ParamInfo, spec: &Spec) -> String {
    let name = &param.name;
    let mut message = format!(
        "the uniform's member `{name}` is neither a size nor a parameter; give it a line in [uniform]"
    );
    if param.words > 1 {
        let sizes = spec.size_names();
        let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
        let last = sizes.last().copied().unwrap_or("n");
        message += &format!(
            " with its {} values in the kernel's order, such as {name} = [\"{}\"], or put them into a struct by the names of the sizes \
             (struct Params {{ {}: u32 }}) and use {name}.{last}",
            param.words,
            sizes.join("\", \""),
            sizes.join(": u32, "),
        );
    }
    message
}

/// An error if a buffer ends inside of an element that has padding: its size was counted without.
fn whole_elements(info: &KernelInfo, spec: &Spec, sizes: &Scope) -> Result<(), String> {
    for binding in &info.bindings {
        let buffer = spec.buffers.iter().find(|b| b.name == binding.name);
        let (Some(padding), Some(buffer)) = (&binding.padding, buffer) else {
            continue;
        };
        let bytes = buffer.bytes(sizes).map_err(|e| e.to_string())?;
        if !bytes
            .saturating_sub(padding.start as u64)
            .is_multiple_of(padding.period as u64)
        {
            return Err(format!("`{}`: {}", binding.name, padded(padding)));
        }
    }
    Ok(())
}

/// What a user should know of a buffer whose elements have padding.
pub fn padded(padding: &Padding) -> String {
    let filled: usize = padding.gaps.iter().map(|gap| gap.len()).sum();
    format!(
        "an element takes {} bytes, {filled} of them padding (a vec3 takes 16 bytes, its fourth word is padding); \
         count them in the buffer's size, or declare array<f32> or vec4",
        padding.period
    )
}

fn word(name: &str, value: Value, float: bool) -> Result<u32, String> {
    match (value, float) {
        (Value::Float(v), true) => Ok((v as f32).to_bits()),
        (Value::Int(v), true) => Ok((v as f32).to_bits()),
        (Value::Bool(v), false) => Ok(u32::from(v)),
        (Value::Int(v), false) => u32::try_from(v)
            .or_else(|_| i32::try_from(v).map(|v| v as u32))
            .map_err(|_| format!("[uniform] {name} = {v} does not fit 32 bits")),
        (value, _) => Err(format!(
            "[uniform] {name} = {value} is not of the member's type"
        )),
    }
}

/// Checks `built` against the device's limits, so that a driver does not have to.
pub fn check_limits(device: &Device, built: &Built) -> Result<(), Refused> {
    let limits: BTreeMap<&str, u64> = device.adapter().limits.iter().copied().collect();
    let limit = |name: &str| limits.get(name).copied().unwrap_or(u64::MAX);
    let [x, y, z] = built.info.workgroup_size.map(u64::from);
    let buffers = built
        .info
        .bindings
        .iter()
        .filter(|b| b.kind != BindingKind::Texture)
        .count() as u64;
    let grid = built.workgroups.iter().copied().max().unwrap_or(0);
    for (what, used, limit) in [
        (
            "invocations in a workgroup",
            x * y * z,
            limit("maxComputeInvocationsPerWorkgroup"),
        ),
        (
            "bytes of workgroup memory",
            built.info.workgroup_bytes,
            limit("maxComputeWorkgroupStorageSize"),
        ),
        (
            "storage buffers",
            buffers,
            limit("maxStorageBuffersPerShaderStage"),
        ),
        (
            "workgroups along one side",
            grid,
            limit("maxComputeWorkgroupsPerDimension"),
        ),
    ] {
        if used > limit {
            return Err(Refused::Constraint(format!(
                "{used} {what}, the device allows {limit}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
