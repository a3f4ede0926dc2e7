//! From a spec to T1.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value as Json, json};

use super::{
    AXES, Argument, Condition, ConfigurationSpace, KernelSpecification, Parameter,
    ReferenceArgument, Size, T1,
};
use crate::tuner::data::file_name;
use crate::tuner::expr::{Expr, Scope, Value};
use crate::tuner::job::Job;
use crate::tuner::spec::{BufferSpec, Dtype, Fill, Spec};
use crate::tuner::wgsl;

/// The T1 file of `job` at its first timed size, and notes on the parts that T1 cannot express.
///
/// # Errors
/// T1 cannot express more than three sizes, or an expression that uses facts of the adapter.
pub fn export(job: &Job) -> Result<(String, Vec<String>)> {
    let spec = job.spec()?;
    let sizes = &spec.time[0];
    let mut notes = Vec::new();
    if spec.time.len() > 1 {
        notes.push("T1 knows one problem size: it is the first of `time`".to_owned());
    }
    if job.kernels.len() > 1 {
        notes.push("T1 has room for one kernel file; the other values of KERNEL name the files that are left out".into());
    }
    let writer = Writer::new(&spec, sizes)?;
    let local = writer.local_size(job).unwrap_or_else(|| {
        notes.push("LocalSize is only in the WGSL: T1 has 1".into());
        vec![json!("1")]
    });
    let local = |axis: usize| local.get(axis).cloned();
    let kernel = job
        .kernels
        .first()
        .map_or(String::new(), |k| k.name.clone());
    let mut global = spec.workgroups.iter().map(|e| writer.expression(e));
    let t1 = T1 {
        general: json!({ "FormatVersion": 1, "BenchmarkName": job.name }),
        configuration_space: ConfigurationSpace {
            tuning_parameters: writer.parameters()?,
            conditions: writer.conditions()?,
        },
        kernel_specification: KernelSpecification {
            kernel_name: spec.entry.clone().unwrap_or_else(|| job.name.clone()),
            kernel_file: kernel,
            // Counts workgroups, as a spec does.
            global_size_type: "CUDA".into(),
            language: "Vulkan".into(),
            global_size: Size {
                x: global.next().transpose()?.unwrap_or(json!("1")),
                y: global.next().transpose()?,
                z: global.next().transpose()?,
            },
            local_size: Size {
                x: local(0).unwrap_or(json!("1")),
                y: local(1),
                z: local(2),
            },
            problem_size: sizes.values().map(|n| json!(n)).collect(),
            arguments: writer.arguments(&mut notes)?,
            reference_arguments: writer.references(&mut notes),
        },
    };
    Ok((serde_json::to_string_pretty(&t1)? + "\n", notes))
}

struct Writer<'a> {
    spec: &'a Spec,
    sizes: &'a Scope,
    /// A sample value for each name.
    sample: Scope,
    /// The replacement of a name that T1 does not know.
    names: BTreeMap<String, String>,
}

impl<'a> Writer<'a> {
    fn new(spec: &'a Spec, sizes: &'a Scope) -> Result<Writer<'a>> {
        let most = AXES.len();
        if sizes.len() > most {
            let given = sizes.len();
            bail!("T1 knows {most} problem sizes at most, the spec has {given}");
        }
        let mut sample = spec.default_at(sizes)?;
        sample.extend(sizes.iter().map(|(name, n)| (name.clone(), *n)));
        let names = sizes.keys().enumerate();
        let mut writer = Writer {
            spec,
            sizes,
            sample,
            names: names
                .map(|(i, name)| (name.clone(), format!("ProblemSize[{i}]")))
                .collect(),
        };
        // A constant is replaced by its expression.
        for (name, expr) in &spec.constants {
            if let Ok(Json::String(text)) = writer.expression(expr) {
                writer.names.insert(name.clone(), format!("({text})"));
                let value = expr.eval(&writer.sample).map_err(|e| anyhow!("{e}"))?;
                writer.sample.insert(name.clone(), value);
            }
        }
        Ok(writer)
    }

    fn expression(&self, expr: &Expr) -> Result<Json> {
        for (_, name) in expr.names() {
            if !self.names.contains_key(name) && !self.spec.parameters.contains_key(name) {
                let text = expr.text();
                bail!("T1 knows nothing of adapters: `{name}` in \"{text}\"");
            }
        }
        let name = |name: &str| match self.names.get(name) {
            Some(other) => other.clone(),
            None => name.to_owned(),
        };
        Ok(json!(expr.to_python(&name, &self.sample)))
    }

    /// The sides of the first kernel's workgroup, if they are expressions of names that T1 knows.
    fn local_size(&self, job: &Job) -> Option<Vec<Json>> {
        let text = &job.kernels.first()?.text;
        let sides = wgsl::workgroup_size(text, self.spec.entry.as_deref())?;
        let side = |side: &String| {
            let expr = Expr::parse(side.trim_end_matches(['u', 'i'])).ok()?;
            self.expression(&expr).ok()
        };
        sides.iter().map(side).collect()
    }

    fn parameters(&self) -> Result<Vec<Parameter>> {
        let default = self.spec.default_at(self.sizes)?;
        let of = |(name, values): (&String, &Vec<Value>)| {
            let kind = match values[0] {
                Value::Bool(_) => "bool",
                Value::Int(_) => "int",
                Value::Float(_) => "float",
            };
            let words: Vec<String> = values.iter().map(|v| python(*v)).collect();
            Parameter {
                name: name.clone(),
                ty: kind.into(),
                values: json!(format!("[{}]", words.join(", "))),
                default: default.get(name).map(|value| json!(value)),
            }
        };
        Ok(self.spec.parameters.iter().map(of).collect())
    }

    fn conditions(&self) -> Result<Vec<Condition>> {
        let of = |expr: &Expr| {
            let Json::String(expression) = self.expression(expr)? else {
                bail!("\"{}\" is no condition", expr.text());
            };
            let names = expr.names().into_iter().map(|(_, name)| name);
            let mut parameters: Vec<String> = names
                .filter(|name| self.spec.parameters.contains_key(*name))
                .map(str::to_owned)
                .collect();
            parameters.sort();
            parameters.dedup();
            Ok(Condition {
                parameters,
                expression,
            })
        };
        self.spec.constraints.iter().map(of).collect()
    }

    /// The buffers, then sizes and the uniform's members as scalars.
    fn arguments(&self, notes: &mut Vec<String>) -> Result<Vec<Argument>> {
        let mut all = Vec::new();
        for buffer in &self.spec.buffers {
            all.push(self.vector(buffer, notes)?);
        }
        for (name, value) in self.sizes {
            all.push(scalar(name, *value));
        }
        for (name, list) in &self.spec.uniform {
            match list.all() {
                [one] if one.eval(self.sizes).is_ok() => {
                    all.extend(one.eval(self.sizes).map(|value| scalar(name, value)));
                }
                _ => notes.push(format!("the uniform's member `{name}` is left out")),
            }
        }
        Ok(all)
    }

    fn vector(&self, buffer: &BufferSpec, notes: &mut Vec<String>) -> Result<Argument> {
        let name = &buffer.name;
        let ty = match buffer.dtype {
            Dtype::F32 => "float",
            Dtype::F16 => "half",
            Dtype::U32 => "uint32",
            Dtype::I32 => "int32",
        };
        let fill = buffer.fill.or((!buffer.output).then_some(Fill::Normal));
        let high = buffer
            .high
            .unwrap_or(if buffer.dtype.integer() { 100.0 } else { 1.0 });
        let (fill_type, fill_value) = match fill {
            None | Some(Fill::Zeros) => ("Constant", Some(0.0)),
            Some(Fill::Ones) => ("Constant", Some(1.0)),
            Some(Fill::Uniform) if buffer.low == Some(high) => ("Constant", Some(high)),
            Some(Fill::Uniform) if buffer.low == Some(0.0) => ("Random", Some(high)),
            Some(Fill::File) => ("BinaryRaw", None),
            Some(_) => {
                notes.push(format!("`{name}` is filled by numbers from 0 to {high}"));
                ("Random", Some(high))
            }
        };
        let access = match (buffer.output, buffer.fill) {
            (false, _) => "ReadOnly",
            (true, None) => "WriteOnly",
            (true, Some(_)) => "ReadWrite",
        };
        let file = buffer.file.as_ref();
        Ok(Argument {
            name: Some(name.clone()),
            ty: ty.into(),
            memory_type: "Vector".into(),
            size: Some(self.expression(&buffer.size)?),
            fill_type: Some(fill_type.into()),
            fill_value,
            data_source: file.map(|file| file_name(file, self.sizes)),
            access_type: Some(access.into()),
            output: Some(json!(u8::from(buffer.output))),
        })
    }

    fn references(&self, notes: &mut Vec<String>) -> Vec<ReferenceArgument> {
        let files = &self.spec.reference.files;
        if files.is_empty() {
            notes.push("T1 takes a reference from files only: yours is left out".into());
        }
        let of = |(name, file): (&String, &String)| ReferenceArgument {
            target_name: name.clone(),
            data_source: Some(file_name(file, self.sizes)),
            validation_threshold: self.spec.atol,
        };
        files.iter().map(of).collect()
    }
}

fn scalar(name: &str, value: Value) -> Argument {
    let (ty, value) = match value {
        Value::Float(value) => ("float", value),
        Value::Int(value) => ("int32", value as f64),
        Value::Bool(value) => ("bool", f64::from(u8::from(value))),
    };
    Argument {
        name: Some(name.to_owned()),
        ty: ty.into(),
        memory_type: "Scalar".into(),
        size: None,
        fill_type: Some("Constant".into()),
        fill_value: Some(value),
        data_source: None,
        access_type: Some("ReadOnly".into()),
        output: None,
    }
}

fn python(value: Value) -> String {
    match value {
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        other => other.to_string(),
    }
}
