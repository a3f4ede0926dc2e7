//! The spec: what a kernel needs to run, to be checked and to be tuned, as a TOML file.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::expr::{Expr, Scope, Value};

/// A kernel's tuning problem. `wgrad tune --new NAME` writes a commented example.
///
/// Parameters, sizes and constants reach the WGSL as `const NAME: u32 = …;` in front of the file (`i32` for
/// negative values, `f32` for floats); a truth value is a `const NAME: bool` and makes `#ifdef NAME` true.
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
    /// What must hold for a choice of parameters to be built at all.
    #[serde(default)]
    pub constraints: Vec<Expr>,
    /// An output fails where |y - expected| > atol + rtol * |expected|.
    #[serde(default = "default_rtol")]
    pub rtol: f64,
    #[serde(default = "default_atol")]
    pub atol: f64,
    /// Whether sizes reach the WGSL as constants too; they do where it has no uniform.
    pub size_constants: Option<bool>,
    /// Whether the timed sizes are checked too. Default: true.
    #[serde(default = "default_true")]
    pub check_timed: bool,
    /// Bytes that must move at least. Default: every buffer once.
    pub bytes: Option<Expr>,
    /// Operations, for the share of the roofline.
    pub flops: Option<Expr>,
    /// The tunable parameters and their values.
    pub parameters: BTreeMap<String, Vec<Value>>,
    /// Where the search starts and what a speed-up is measured against. Default: the first value of each.
    #[serde(default)]
    pub default: BTreeMap<String, Value>,
    /// Further constants, from parameters and sizes.
    #[serde(default)]
    pub constants: BTreeMap<String, Expr>,
    /// Type aliases put in front of the WGSL.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// Flags for `#ifdef`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Members of the uniform struct; one of a size's or parameter's name needs no line.
    #[serde(default)]
    pub uniform: BTreeMap<String, OneOrMore<Expr>>,
    /// The storage buffers, by the name of their variable.
    pub buffers: Vec<BufferSpec>,
    /// Problem sizes that every candidate is checked at.
    pub check: Vec<Scope>,
    /// Problem sizes that are tuned, each for itself.
    pub time: Vec<Scope>,
    /// What the outputs must be.
    pub reference: Reference,
}

fn default_rtol() -> f64 {
    1e-5
}
fn default_atol() -> f64 {
    1e-6
}
fn default_true() -> bool {
    true
}

/// One value, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    One(T),
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
    pub dtype: Dtype,
    /// Elements.
    pub size: Expr,
    /// What it holds before the launch. Default: normal for inputs; an output that says nothing holds
    /// nothing that the kernel may rely on.
    pub fill: Option<Fill>,
    /// Lowest and highest value of `uniform`. Default: -1 and 1, for integers 0 and 100.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The file of `file`: raw little-endian values; `{NAME}` stands for a size.
    pub file: Option<String>,
    /// Whether the kernel's result is in it.
    #[serde(default)]
    pub output: bool,
}

/// The type of a buffer's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    F32,
    F16,
    U32,
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
}

/// What a buffer holds at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    Zeros,
    Ones,
    /// 0, 1, 2, …
    Iota,
    /// Evenly between `low` and `high`.
    Uniform,
    /// Mean 0, deviation 1 (floats).
    Normal,
    File,
}

/// Where the expected outputs come from: one of `builtin`, `kernel` and `files`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Computed on the host in float64 (see [`super::reference`]).
    pub builtin: Option<String>,
    /// The buffers it reads, in its order. Default: those that are no outputs, in the spec's order.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// The buffer that its result is for. Default: the only output.
    pub output: Option<String>,
    /// The sizes it asks for, such as `rows` and `columns`.
    #[serde(default)]
    pub shape: BTreeMap<String, Expr>,
    /// Another WGSL kernel over the same buffers, run with the default parameters.
    pub kernel: Option<String>,
    pub entry: Option<String>,
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
    /// One line with the place: what TOML refuses, an unknown key or type, a mistake in an expression, a
    /// name that nothing defines, a size that not every problem gives, a default that is no valid choice.
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

    /// The names of the problem's sizes.
    pub fn size_names(&self) -> BTreeSet<String> {
        self.time
            .iter()
            .chain(&self.check)
            .flat_map(|s| s.keys().cloned())
            .collect()
    }

    /// The outputs' names.
    pub fn outputs(&self) -> Vec<&BufferSpec> {
        self.buffers.iter().filter(|b| b.output).collect()
    }

    fn check_names(&self) -> Result<()> {
        if self.time.is_empty() {
            bail!("no problem size to time; add one as `time = [{{ N = 1024 }}]`");
        }
        if self.check.is_empty() {
            bail!(
                "no problem size to check at; add some that no tile divides, as `check = [{{ N = 33 }}]`"
            );
        }
        if !(1..=3).contains(&self.workgroups.len()) {
            bail!(
                "`workgroups` takes one to three expressions, {} are given",
                self.workgroups.len()
            );
        }
        let sizes = self.size_names();
        for scope in self.check.iter().chain(&self.time) {
            if let Some(missing) = sizes.iter().find(|name| !scope.contains_key(*name)) {
                bail!(
                    "the size `{missing}` is given in some of `check` and `time`, not in {}",
                    show(scope)
                );
            }
        }
        if self.parameters.is_empty() {
            bail!("nothing to tune: [parameters] is empty");
        }
        for (name, values) in &self.parameters {
            if values.is_empty() {
                bail!("parameter `{name}` has no values");
            }
            if sizes.contains(name) {
                bail!("`{name}` is a parameter and a size; rename one");
            }
            if let Some(value) = self.default.get(name)
                && !values.contains(value)
            {
                bail!("the default {value} of `{name}` is not among its values");
            }
        }
        if let Some(name) = self
            .default
            .keys()
            .find(|name| !self.parameters.contains_key(*name))
        {
            bail!("[default] names `{name}`, which is no parameter");
        }
        let tunable: BTreeSet<String> = self.parameters.keys().cloned().collect();
        let mut all: BTreeSet<String> = sizes.union(&tunable).cloned().collect();
        for expr in &self.constraints {
            // Sizes differ from problem to problem; what is a valid choice must not.
            expr.check_names(&tunable)?;
        }
        for expr in self.constants.values() {
            expr.check_names(&all)?;
        }
        all.extend(self.constants.keys().cloned());
        let uniform = self.uniform.values().flat_map(OneOrMore::all);
        for expr in uniform.chain(&self.workgroups) {
            expr.check_names(&all)?;
        }
        let of_problem = self.buffers.iter().map(|b| &b.size);
        let of_reference = self
            .reference
            .shape
            .values()
            .chain(&self.reference.workgroups);
        let costs = self.bytes.iter().chain(&self.flops);
        for expr in of_problem.chain(of_reference).chain(costs) {
            expr.check_names(&sizes)?;
        }
        self.check_buffers()
    }

    fn check_buffers(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for buffer in &self.buffers {
            if !seen.insert(&buffer.name) {
                bail!("buffer `{}` is given twice", buffer.name);
            }
            if (buffer.fill == Some(Fill::File)) != buffer.file.is_some() {
                bail!(
                    "buffer `{}`: fill = \"file\" and file = \"…\" go together",
                    buffer.name
                );
            }
        }
        let outputs: Vec<&str> = self.outputs().iter().map(|b| b.name.as_str()).collect();
        if outputs.is_empty() {
            bail!("no buffer is an output; mark one with `output = true`");
        }
        let reference = &self.reference;
        let given = [
            reference.builtin.is_some(),
            reference.kernel.is_some(),
            !reference.files.is_empty(),
        ];
        if given.iter().filter(|g| **g).count() != 1 {
            bail!("[reference] takes one of `builtin`, `kernel` and `files`");
        }
        if reference.kernel.is_some() && !(1..=3).contains(&reference.workgroups.len()) {
            bail!("[reference] with a kernel needs its own `workgroups`");
        }
        let named = reference.files.keys().chain(&reference.output);
        for name in named {
            if !outputs.contains(&name.as_str()) {
                bail!(
                    "[reference] names `{name}`, which is no output; outputs: {}",
                    outputs.join(", ")
                );
            }
        }
        if reference.builtin.is_some() && reference.output.is_none() && outputs.len() > 1 {
            bail!(
                "[reference] must say which output it is for: {}",
                outputs.join(", ")
            );
        }
        if let Some(name) = reference.inputs.iter().find(|name| !seen.contains(name)) {
            bail!("[reference] reads `{name}`, which is no buffer");
        }
        Ok(())
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
