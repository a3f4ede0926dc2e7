//! The spec: a TOML file that says how to run, check and tune a kernel.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::expr::{Expr, ExprError, Scope, Value};
use super::facts;

mod check;

/// A kernel's tuning problem. `wgrad tune --new NAME` writes a commented example.
///
/// Parameters, sizes and constants reach the WGSL as `const NAME: u32 = …;` in front of the file (`i32` for
/// negative values, `f32` for floats); a truth value is a `const NAME: bool` and makes `#ifdef NAME` true.
/// Expressions of constraints, constants, launch geometry and the uniform may also use [`super::facts`] of the adapter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The WGSL files, relative to the spec. With several, the parameter `KERNEL` is the index of one.
    #[serde(default)]
    pub kernel: OneOrMore<String>,
    /// The entry point, where a file has several.
    pub entry: Option<String>,
    /// Workgroups along x, y and z.
    pub workgroups: Vec<Expr>,
    /// Conditions that a choice of parameters must meet to be built. A condition that names sizes applies to each size.
    #[serde(default)]
    pub constraints: Vec<Expr>,
    /// An output fails where |y - expected| > atol + rtol * |expected|. Default: 1e-5 and 1e-6; for integers 0.
    pub rtol: Option<f64>,
    /// The absolute part of the tolerance: see `rtol`.
    pub atol: Option<f64>,
    /// Whether sizes also reach the WGSL as constants. Default: true if the kernel has no uniform.
    pub size_constants: Option<bool>,
    /// Whether the timed sizes are checked too. Default: true.
    #[serde(default = "default_true")]
    pub check_timed: bool,
    /// The least bytes that the kernel must move. Default: every buffer once.
    pub bytes: Option<Expr>,
    /// Operations, for the share of the roofline.
    pub flops: Option<Expr>,
    /// The tunable parameters and their values.
    pub parameters: BTreeMap<String, Vec<Value>>,
    /// Where the search starts and what a speed-up is measured against, from sizes and the adapter. Default: the
    /// first value of each.
    #[serde(default)]
    pub default: BTreeMap<String, Expr>,
    /// Further constants, from parameters and sizes.
    #[serde(default)]
    pub constants: BTreeMap<String, Expr>,
    /// Type aliases put in front of the WGSL.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// Flags for `#ifdef`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Members of the uniform struct. A member with the name of a size or parameter needs no line.
    #[serde(default)]
    pub uniform: BTreeMap<String, OneOrMore<Expr>>,
    /// The storage buffers, by the name of their variable.
    pub buffers: Vec<BufferSpec>,
    /// Problem sizes at which every candidate is checked, if the constraints allow it at that size.
    pub check: Vec<Scope>,
    /// Problem sizes that are tuned, each on its own.
    pub time: Vec<Scope>,
    /// Problem sizes that are tuned on a software adapter, if they differ from `time`.
    #[serde(default)]
    pub time_software: Vec<Scope>,
    /// The adapter's facts: see [`Spec::on`].
    #[serde(skip, default = "facts::none")]
    pub facts: Scope,
    /// The expected outputs.
    pub reference: Reference,
}

fn default_true() -> bool {
    true
}

/// One value, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    /// A single value.
    One(T),
    /// A list of values.
    More(Vec<T>),
}

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        OneOrMore::More(Vec::new())
    }
}

impl<T> OneOrMore<T> {
    /// Its values.
    pub fn all(&self) -> &[T] {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(more) => more,
        }
    }
}

/// One storage buffer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferSpec {
    /// The variable's name in the WGSL.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Elements.
    pub size: Expr,
    /// The contents before the launch. Default: normal for inputs; undefined for outputs.
    pub fill: Option<Fill>,
    /// The lowest value of `uniform`. Default: -1 and 1, for integers 0 and 100.
    pub low: Option<f64>,
    /// The highest value of `uniform`: see `low`.
    pub high: Option<f64>,
    /// The file of `file`: raw little-endian values; `{NAME}` stands for a size.
    pub file: Option<String>,
    /// Whether the kernel writes its result to this buffer.
    #[serde(default)]
    pub output: bool,
    /// For an output: the reference has no values for it. The kernel must write it, with the same bytes in both runs.
    #[serde(default)]
    pub unchecked: bool,
}

impl BufferSpec {
    /// Its bytes at the problem `sizes`, at most `u64::MAX`.
    pub fn bytes(&self, sizes: &Scope) -> Result<u64, ExprError> {
        Ok(self.size.count(sizes)?.saturating_mul(self.dtype.bytes()))
    }
}

/// The type of a buffer's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Unsigned 32-bit integers.
    U32,
    /// Signed 32-bit integers.
    I32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F16 => 2,
            _ => 4,
        }
    }

    /// Whether its values are whole numbers.
    pub fn integer(self) -> bool {
        matches!(self, Dtype::U32 | Dtype::I32)
    }
}

/// The first contents of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// 0, 1, 2, …
    Iota,
    /// Evenly between `low` and `high`.
    Uniform,
    /// Mean 0, deviation 1 (floats).
    Normal,
    /// The content of the buffer's `file`.
    File,
}

/// Where the expected outputs come from: one of `builtin`, `kernel` and `files`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Computed on the host in float64 (see [`super::reference`]).
    pub builtin: Option<String>,
    /// The buffers that the built-in reads, in its own order. Default: all that are not outputs, in the spec's order.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// The outputs that its results are compared with. Default: the only output that is checked.
    #[serde(default)]
    pub output: OneOrMore<String>,
    /// The sizes that the built-in needs, such as `rows` and `columns`.
    #[serde(default)]
    pub shape: BTreeMap<String, Expr>,
    /// Another WGSL kernel over the same buffers, run with the default parameters.
    pub kernel: Option<String>,
    /// The entry point of `kernel`, where the file has several.
    pub entry: Option<String>,
    /// Workgroups of `kernel` along x, y and z.
    #[serde(default)]
    pub workgroups: Vec<Expr>,
    /// Files of raw little-endian values by output; `{NAME}` stands for a size.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl Spec {
    /// Reads the TOML `text`; `name` is for messages.
    ///
    /// # Errors
    /// One line with the position: invalid TOML, an unknown key or type, a mistake in an expression, an undefined
    /// name, a size that a problem does not give, a default that is not a valid choice.
    pub fn parse(name: &str, text: &str) -> Result<Spec> {
        let mut spec: Spec = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start.min(text.len()));
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            anyhow!("{name}:{line}:{column}: {}", e.message())
        })?;
        let kernels = spec.kernel.all().len();
        if kernels > 1 {
            let indices = (0..kernels).map(|i| Value::Int(i as i64)).collect();
            spec.parameters.entry("KERNEL".into()).or_insert(indices);
        }
        spec.check_names().map_err(|e| anyhow!("{name}: {e}"))?;
        Ok(spec)
    }

    /// The spec for an adapter with these facts: it holds the sizes that are tuned on that adapter, without those that
    /// need a buffer larger than the adapter allows.
    ///
    /// # Errors
    /// No size is left, or a size of `check` needs a larger buffer.
    pub fn on(mut self, facts: &Scope) -> Result<Spec> {
        self.facts = facts.clone();
        if facts.get("software") == Some(&Value::Bool(true)) && !self.time_software.is_empty() {
            self.time = std::mem::take(&mut self.time_software);
        }
        let Some(Value::Int(most)) = facts.get("max_buffer_bytes").copied() else {
            return Ok(self);
        };
        let fits = |bytes: u64| i64::try_from(bytes).is_ok_and(|bytes| bytes <= most);
        for sizes in &self.check {
            for buffer in &self.buffers {
                let bytes = buffer.bytes(sizes)?;
                if !fits(bytes) {
                    bail!(
                        "buffer `{}` has {bytes} bytes at {} in `check`, this adapter's have {most} at most; check \
                         at a smaller size",
                        buffer.name,
                        show(sizes)
                    );
                }
            }
        }
        let mut fitting = Vec::new();
        for sizes in std::mem::take(&mut self.time) {
            let bytes = self.buffers.iter().map(|buffer| buffer.bytes(&sizes));
            let bytes: Vec<u64> = bytes.collect::<Result<_, _>>()?;
            if bytes.into_iter().all(fits) {
                fitting.push(sizes);
            }
        }
        if fitting.is_empty() {
            bail!(
                "no problem size of `time` fits into this adapter's buffers of {most} bytes at most"
            );
        }
        self.time = fitting;
        Ok(self)
    }

    /// The default choice at the problem `sizes`.
    ///
    /// # Errors
    /// A value that is not in the parameter's list.
    pub fn default_at(&self, sizes: &Scope) -> Result<Scope> {
        let mut scope = self.facts.clone();
        scope.extend(sizes.iter().map(|(n, v)| (n.clone(), *v)));
        let mut choice = Scope::new();
        for (name, values) in &self.parameters {
            let value = match self.default.get(name) {
                Some(expr) => expr.eval(&scope)?,
                None => values[0],
            };
            if !values.contains(&value) {
                bail!("the default {value} of `{name}` is not among its values");
            }
            choice.insert(name.clone(), value);
        }
        Ok(choice)
    }

    /// Whether the constraints allow `values` at the problem `sizes`.
    pub fn allows(&self, values: &Scope, sizes: &Scope) -> Result<bool, ExprError> {
        let mut scope = self.facts.clone();
        scope.extend(sizes.iter().chain(values).map(|(n, v)| (n.clone(), *v)));
        self.allowed_in(&scope)
    }

    /// The same as [`Spec::allows`], with all names in one scope.
    pub(super) fn allowed_in(&self, scope: &Scope) -> Result<bool, ExprError> {
        for constraint in &self.constraints {
            if !constraint.truth(scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names of the problem's sizes.
    pub fn size_names(&self) -> BTreeSet<String> {
        self.time
            .iter()
            .chain(&self.time_software)
            .chain(&self.check)
            .flat_map(|s| s.keys().cloned())
            .collect()
    }

    /// The relative and absolute tolerance of values of type `dtype`. Integers must be exact unless the spec sets one.
    pub fn tolerance(&self, dtype: Dtype) -> (f64, f64) {
        let (rtol, atol) = match dtype.integer() {
            true => (0.0, 0.0),
            false => (1e-5, 1e-6),
        };
        (self.rtol.unwrap_or(rtol), self.atol.unwrap_or(atol))
    }

    /// The outputs' names.
    pub fn outputs(&self) -> Vec<&BufferSpec> {
        self.buffers.iter().filter(|b| b.output).collect()
    }
}

/// `A=1 B=2`.
pub fn show(scope: &Scope) -> String {
    let parts: Vec<String> = scope
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests;
