//! Kernel Tuner's T1 input (the "tuning format" of TuningSchema) turned into a spec, as far as it maps.
//!
//! T1 speaks of CUDA, OpenCL and Vulkan kernels: the WGSL is the user's to write, under the names that T1
//! gives. What has no counterpart is listed at the head of the spec.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value as Json;

use super::expr::Expr;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct T1 {
    configuration_space: ConfigurationSpace,
    kernel_specification: KernelSpecification,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationSpace {
    tuning_parameters: Vec<Parameter>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    values: Json,
    default: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KernelSpecification {
    kernel_name: String,
    #[serde(default)]
    global_size_type: String,
    #[serde(default)]
    language: String,
    global_size: Size,
    local_size: Size,
    #[serde(default)]
    problem_size: Vec<u64>,
    #[serde(default)]
    arguments: Vec<Argument>,
    #[serde(default)]
    reference_arguments: Vec<ReferenceArgument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    x: Json,
    y: Option<Json>,
    z: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Argument {
    name: Option<String>,
    #[serde(rename = "Type")]
    ty: String,
    memory_type: String,
    size: Option<Json>,
    fill_type: Option<String>,
    fill_value: Option<f64>,
    data_source: Option<String>,
    access_type: Option<String>,
    output: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReferenceArgument {
    target_name: String,
    data_source: Option<String>,
    validation_threshold: Option<f64>,
}

const AXES: [&str; 3] = ["X", "Y", "Z"];

/// The spec for the T1 file `text`, and the name of its kernel.
///
/// # Errors
/// No T1, or a part that cannot be left out and does not map.
pub fn import(text: &str) -> Result<(String, String)> {
    let t1: T1 = serde_json::from_str(text).context("this is no T1 input")?;
    let kernel = t1.kernel_specification;
    let mut notes = Vec::new();
    let mut out = String::new();
    let name = &kernel.kernel_name;
    out.push_str(&format!("kernel = \"{name}.wgsl\"\nentry = \"{name}\"\n"));
    let groups = workgroups(&kernel)?;
    out.push_str(&format!("workgroups = {groups:?}\n"));
    let constraints: Vec<String> = t1
        .configuration_space
        .conditions
        .iter()
        .map(|c| expression(&c.expression))
        .collect::<Result<_>>()?;
    out.push_str(&format!("constraints = {constraints:?}\n"));
    let threshold = kernel
        .reference_arguments
        .iter()
        .find_map(|r| r.validation_threshold);
    out.push_str(&format!(
        "rtol = 1e-5\natol = {:?}\n",
        threshold.unwrap_or(1e-6)
    ));
    let mut sizes: Vec<String> = AXES
        .iter()
        .zip(&kernel.problem_size)
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
    for parameter in &t1.configuration_space.tuning_parameters {
        let values =
            values(&parameter.values).with_context(|| format!("parameter `{}`", parameter.name))?;
        out.push_str(&format!("{} = [{}]\n", parameter.name, values.join(", ")));
        if let Some(default) = &parameter.default {
            let default = default.to_string().replace('"', "");
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
    reference(&kernel, &mut out, &mut notes);
    if kernel.language != "Vulkan" {
        let language = &kernel.language;
        notes.push(format!(
            "the kernel is {language}: write {name}.wgsl with the same names"
        ));
    }
    let head: String = notes.iter().map(|note| format!("# - {note}\n")).collect();
    Ok((
        name.clone(),
        format!("# Made from a T1 input by wgrad tune. To look at:\n{head}\n{out}"),
    ))
}

/// An expression of T1, which are Python's: what ours and theirs have in common.
fn expression(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for (i, axis) in AXES.iter().enumerate() {
        text = text.replace(&format!("ProblemSize[{i}]"), &format!("PROBLEM_{axis}"));
        let lower = format!("problem_size_{}", axis.to_lowercase());
        text = text.replace(&lower, &format!("PROBLEM_{axis}"));
    }
    Expr::parse(&text).map_err(|e| anyhow!("{e}"))?;
    Ok(text)
}

fn of_json(value: &Json) -> Result<String> {
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

/// `[1, 2]` or Python's `list(range(1, 9))`, or a list of JSON.
fn values(values: &Json) -> Result<Vec<String>> {
    let text = match values {
        Json::Array(list) => return list.iter().map(of_json).collect(),
        Json::String(text) => text.trim(),
        other => bail!("values are a list, not {other}"),
    };
    let inner = text
        .strip_prefix("list(")
        .and_then(|t| t.strip_suffix(')'))
        .unwrap_or(text);
    if let Some(range) = inner
        .strip_prefix("range(")
        .and_then(|t| t.strip_suffix(')'))
    {
        let numbers: Vec<i64> = range
            .split(',')
            .map(|n| {
                n.trim()
                    .parse()
                    .with_context(|| format!("`{n}` in `{text}`"))
            })
            .collect::<Result<_>>()?;
        let (first, end, step) = match numbers[..] {
            [end] => (0, end, 1),
            [first, end] => (first, end, 1),
            [first, end, step] if step > 0 => (first, end, step),
            _ => bail!("`{text}` is no range that goes up"),
        };
        return Ok((first..end)
            .step_by(step as usize)
            .map(|n| n.to_string())
            .collect());
    }
    let list = inner
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .ok_or_else(|| anyhow!("`{text}` is no list of numbers; write the values out"))?;
    list.split(',')
        .map(|word| match word.trim() {
            "True" => Ok("true".to_owned()),
            "False" => Ok("false".to_owned()),
            number if number.parse::<f64>().is_ok() => Ok(number.to_owned()),
            other => Err(anyhow!("`{other}` is no number")),
        })
        .collect()
}

fn buffers(kernel: &KernelSpecification, out: &mut String, notes: &mut Vec<String>) -> Result<()> {
    let mut uniform = String::new();
    for (i, argument) in kernel.arguments.iter().enumerate() {
        let name = argument
            .name
            .clone()
            .unwrap_or_else(|| format!("argument{i}"));
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
            "\n[[buffers]]\nname = \"{name}\"\ndtype = \"{dtype}\"\nsize = \"{size}\"\n"
        ));
        let value = argument.fill_value.unwrap_or(1.0);
        let write_only = argument.access_type.as_deref() == Some("WriteOnly");
        match (
            argument.fill_type.as_deref(),
            argument.data_source.as_deref(),
        ) {
            (Some("BinaryRaw"), Some(file)) => {
                out.push_str(&format!("fill = \"file\"\nfile = \"{file}\"\n"))
            }
            // What is not written must not look right by chance.
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

fn reference(kernel: &KernelSpecification, out: &mut String, notes: &mut Vec<String>) {
    let files: Vec<String> = kernel
        .reference_arguments
        .iter()
        .filter_map(|r| {
            Some(format!(
                "{} = \"{}\"",
                r.target_name,
                r.data_source.as_ref()?
            ))
        })
        .collect();
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
}

#[cfg(test)]
mod tests;
