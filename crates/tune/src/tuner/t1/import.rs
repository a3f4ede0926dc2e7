//! From T1 to a spec.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;

use super::values::{value, values};
use super::{AXES, KernelSpecification, Size, T1};
use crate::tuner::expr::Expr;

/// Values of all parameters together, and conditions, at most: texts such as `range(60000)` are written out.
const VALUES: usize = u16::MAX as usize;
const CONDITIONS: usize = 1000;

/// The spec for the T1 file `text`, and the name of its kernel.
///
/// # Errors
/// `text` is not a T1 file, or a required part has no counterpart in a spec.
pub fn import(text: &str) -> Result<(String, String)> {
    let t1: T1 = serde_json::from_str(text).context("this is no T1 input")?;
    let kernel = t1.kernel_specification;
    let mut notes = Vec::new();
    let mut out = String::new();
    let name = identifier("kernel", &kernel.kernel_name)?;
    out.push_str(&format!("kernel = \"{name}.wgsl\"\nentry = \"{name}\"\n"));
    let groups = workgroups(&kernel)?;
    out.push_str(&format!("workgroups = {}\n", list(&groups)));
    let conditions = t1.configuration_space.conditions.len();
    if conditions > CONDITIONS {
        bail!(
            "it has {conditions} conditions, {CONDITIONS} at most are read; join some with `and`"
        );
    }
    let constraints: Vec<String> = t1
        .configuration_space
        .conditions
        .iter()
        .map(|c| expression(&c.expression))
        .collect::<Result<_>>()?;
    out.push_str(&format!("constraints = {}\n", list(&constraints)));
    let threshold = kernel
        .reference_arguments
        .iter()
        .find_map(|r| r.validation_threshold);
    if let Some(threshold) = threshold {
        out.push_str(&format!("atol = {threshold:?}\n"));
    }
    let problem = problem_size(&kernel.problem_size)?;
    let mut sizes: Vec<String> = AXES
        .iter()
        .zip(&problem)
        .map(|(axis, n)| format!("PROBLEM_{axis} = {n}"))
        .collect();
    if sizes.is_empty() {
        sizes.push("PROBLEM_X = 1".into());
        notes.push("it gives no ProblemSize".to_owned());
    }
    let sizes = sizes.join(", ");
    notes.push("T1 knows one problem size; add some to `check` that no tile divides".into());
    out.push_str(&format!(
        "check = [{{ {sizes} }}]\ntime = [{{ {sizes} }}]\n\n[parameters]\n"
    ));
    let mut defaults = String::new();
    let mut written = 0;
    for parameter in &t1.configuration_space.tuning_parameters {
        identifier("parameter", &parameter.name)?;
        let values =
            values(&parameter.values).with_context(|| format!("parameter `{}`", parameter.name))?;
        written += values.len();
        if written > VALUES {
            bail!("the parameters have more than {VALUES} values together; leave out some");
        }
        out.push_str(&format!("{} = [{}]\n", parameter.name, values.join(", ")));
        if let Some(default) = &parameter.default {
            let default = value(default).unwrap_or_else(|_| default.to_string());
            match values.contains(&default) {
                true => defaults.push_str(&format!("{} = {default}\n", parameter.name)),
                false => notes.push(format!(
                    "the default {default} of {} is none of its values",
                    parameter.name
                )),
            }
        }
    }
    if !defaults.is_empty() {
        out.push_str(&format!("\n[default]\n{defaults}"));
    }
    buffers(&kernel, &mut out, &mut notes)?;
    reference(&kernel, &mut out, &mut notes)?;
    if kernel.language != "Vulkan" {
        let language = &kernel.language;
        notes.push(format!(
            "the kernel is {language}: write {name}.wgsl with the same names"
        ));
    }
    toml::from_str::<toml::Table>(&out).map_err(|e| anyhow!("no spec of it: {}", e.message()))?;
    // A note must be one line, even if the file's text has several.
    let line = |note: &String| note.replace(|c: char| c.is_control(), " ");
    let notes = notes.iter().map(line);
    let head: String = notes.map(|note| format!("# - {note}\n")).collect();
    Ok((
        name.to_owned(),
        format!("# Made from a T1 input by wgrad tune. To look at:\n{head}\n{out}"),
    ))
}

/// `word`, if it is a valid WGSL name. It also becomes a file's name.
fn identifier<'a>(what: &str, word: &'a str) -> Result<&'a str> {
    let mut letters = word.chars();
    let first = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(word);
    }
    bail!(
        "`{word}` cannot be the name of a {what}: letters, digits and _ are allowed, no digit first"
    )
}

/// A TOML string; TOML accepts JSON's escapes.
fn quoted(text: &str) -> String {
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn list(texts: &[String]) -> String {
    let all: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", all.join(", "))
}

/// A number, its text, or a list of either.
fn problem_size(given: &Json) -> Result<Vec<u64>> {
    let one = |value: &Json| {
        let number = match value {
            Json::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        number.ok_or_else(|| anyhow!("ProblemSize is of whole numbers, not {value}"))
    };
    match given {
        Json::Null => Ok(Vec::new()),
        Json::Array(all) => all.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// An expression of T1, which uses Python's syntax. Only the part that a spec's expressions share is accepted.
fn expression(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (i, axis) in AXES.iter().enumerate() {
        text = text.replace(&format!("ProblemSize[{i}]"), &format!("PROBLEM_{axis}"));
        let lower = format!("problem_size_{}", axis.to_lowercase());
        text = text.replace(&lower, &format!("PROBLEM_{axis}"));
    }
    let expr = Expr::from_python(&text).map_err(|e| anyhow!("{e}"))?;
    Ok(expr.text().to_owned())
}

pub(super) fn of_json(value: &Json) -> Result<String> {
    match value {
        Json::String(text) => expression(text),
        other => expression(&other.to_string()),
    }
}

fn workgroups(kernel: &KernelSpecification) -> Result<Vec<String>> {
    let one = Json::from(1);
    let mut found = Vec::new();
    let axes = |size: &Size| [Some(size.x.clone()), size.y.clone(), size.z.clone()];
    for (global, local) in axes(&kernel.global_size)
        .into_iter()
        .zip(axes(&kernel.local_size))
    {
        let global = of_json(global.as_ref().unwrap_or(&one))?;
        let local = of_json(local.as_ref().unwrap_or(&one))?;
        // OpenCL counts invocations, the others count workgroups.
        found.push(match kernel.global_size_type.as_str() {
            "OpenCL" => format!("ceil_div({global}, {local})"),
            _ => global,
        });
    }
    Ok(found)
}

fn buffers(kernel: &KernelSpecification, out: &mut String, notes: &mut Vec<String>) -> Result<()> {
    let mut uniform = String::new();
    for (i, argument) in kernel.arguments.iter().enumerate() {
        let name = argument
            .name
            .clone()
            .unwrap_or_else(|| format!("argument{i}"));
        identifier("buffer", &name)?;
        if argument.memory_type == "Scalar" {
            let value = argument.fill_value.unwrap_or(0.0);
            uniform.push_str(&format!("{name} = {value}\n"));
            continue;
        }
        if argument.memory_type != "Vector" {
            notes.push(format!("`{name}` ({}) is left out", argument.memory_type));
            continue;
        }
        let dtype = match argument.ty.as_str() {
            "float" | "float2" | "float4" | "float8" | "float16" => "f32",
            "half" | "half2" | "half4" | "half8" | "half16" => "f16",
            "int32" => "i32",
            "uint32" | "bool" => "u32",
            other => bail!("argument `{name}`: no buffers of {other} here"),
        };
        let size = argument
            .size
            .as_ref()
            .ok_or_else(|| anyhow!("argument `{name}` has no size"))?;
        let lanes: u32 = argument
            .ty
            .trim_start_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap_or(1);
        let lanes = if matches!(dtype, "f32" | "f16") {
            lanes
        } else {
            1
        };
        let size = match lanes {
            1 => of_json(size)?,
            n => format!("({}) * {n}", of_json(size)?),
        };
        out.push_str(&format!(
            "\n[[buffers]]\nname = \"{name}\"\ndtype = \"{dtype}\"\nsize = {}\n",
            quoted(&size)
        ));
        let value = argument.fill_value.unwrap_or(1.0);
        let write_only = argument.access_type.as_deref() == Some("WriteOnly");
        match (
            argument.fill_type.as_deref(),
            argument.data_source.as_deref(),
        ) {
            (Some("BinaryRaw"), Some(file)) => {
                out.push_str(&format!("fill = \"file\"\nfile = {}\n", quoted(file)))
            }
            // An output that the kernel does not write must not be right by chance.
            (Some("Constant"), _) if write_only => {}
            (Some("Constant"), _) if value == 0.0 => out.push_str("fill = \"zeros\"\n"),
            (Some("Constant"), _) => out.push_str(&format!(
                "fill = \"uniform\"\nlow = {value:?}\nhigh = {value:?}\n"
            )),
            (Some("Random"), _) => out.push_str(&format!(
                "fill = \"uniform\"\nlow = 0.0\nhigh = {value:?}\n"
            )),
            (None, _) => {}
            (Some(other), _) => notes.push(format!("`{name}` is filled by {other}: choose a fill")),
        }
        let marked = argument
            .output
            .as_ref()
            .is_some_and(|o| o.as_bool() == Some(true) || o.as_i64().is_some_and(|n| n != 0));
        if marked || write_only {
            out.push_str("output = true\n");
        }
    }
    if !uniform.is_empty() {
        out.push_str(&format!("\n[uniform]\n{uniform}"));
    }
    Ok(())
}

fn reference(
    kernel: &KernelSpecification,
    out: &mut String,
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut files = Vec::new();
    for argument in &kernel.reference_arguments {
        let name = identifier("reference", &argument.target_name)?;
        let file = argument.data_source.as_ref();
        files.extend(file.map(|file| format!("{name} = {}", quoted(file))));
    }
    out.push_str("\n[reference]\n");
    if files.is_empty() {
        let name = &kernel.kernel_name;
        notes.push(format!(
            "write {name}_reference.wgsl, a plain kernel to be equalled, or name a built-in"
        ));
        out.push_str(&format!(
            "kernel = \"{name}_reference.wgsl\"\nworkgroups = [1]\n"
        ));
    } else {
        out.push_str(&format!("files = {{ {} }}\n", files.join(", ")));
    }
    Ok(())
}
