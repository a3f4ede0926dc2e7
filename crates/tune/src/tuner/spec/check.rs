//! Checks of a spec before anything runs: names exist, sizes agree, there is one reference.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{Fill, OneOrMore, Spec, show};

impl Spec {
    /// Checks a parsed spec.
    pub(super) fn check_names(&self) -> Result<()> {
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
        let problems = self.check.iter().chain(&self.time);
        for scope in problems.chain(&self.time_software) {
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
            if values.len() > usize::from(u16::MAX) {
                let (given, most) = (values.len(), u16::MAX);
                bail!(
                    "parameter `{name}` has {given} values, {most} at most are tried; leave out some"
                );
            }
            if sizes.contains(name) {
                bail!("`{name}` is a parameter and a size; rename one");
            }
        }
        for name in self.constants.keys() {
            let other = match (self.parameters.contains_key(name), sizes.contains(name)) {
                (true, _) => "parameter",
                (_, true) => "size",
                _ => continue,
            };
            bail!("`{name}` is a constant and a {other}; rename one");
        }
        if let Some(name) = self
            .default
            .keys()
            .find(|name| !self.parameters.contains_key(*name))
        {
            bail!("[default] names `{name}`, which is no parameter");
        }
        let own = sizes.iter().chain(self.parameters.keys());
        if let Some(name) = own
            .chain(self.constants.keys())
            .find(|name| self.facts.contains_key(*name))
        {
            bail!("`{name}` is what the adapter says; give yours another name");
        }
        let mut given: BTreeSet<String> = sizes.iter().cloned().collect();
        given.extend(self.facts.keys().cloned());
        for expr in self.default.values() {
            expr.check_names(&given)?;
        }
        for problem in &self.time {
            self.default_at(problem)?;
        }
        let mut all: BTreeSet<String> = sizes
            .iter()
            .chain(self.parameters.keys())
            .cloned()
            .collect();
        all.extend(self.facts.keys().cloned());
        for expr in self.constraints.iter().chain(self.constants.values()) {
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
        if let Some(buffer) = self.buffers.iter().find(|b| b.unchecked && !b.output) {
            bail!(
                "buffer `{}`: unchecked = true is for outputs, and it is none",
                buffer.name
            );
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
        let named: Vec<&String> = match reference.builtin.is_some() {
            true => self.builtin_outputs(),
            false => reference.files.keys().collect(),
        };
        for name in reference.output.all().iter().chain(named.iter().copied()) {
            if !outputs.contains(&name.as_str()) {
                bail!(
                    "[reference] names `{name}`, which is no output; outputs: {}",
                    outputs.join(", ")
                );
            }
        }
        // The outputs of a reference kernel are known only when it is built.
        for output in self.outputs().iter().filter(|_| reference.kernel.is_none()) {
            let name = &output.name;
            match (output.unchecked, named.contains(&name)) {
                (false, false) => bail!(
                    "[reference] says nothing of the output `{name}`; name it there, or give the buffer \
                     unchecked = true"
                ),
                (true, true) => {
                    bail!("`{name}` is unchecked, and [reference] is for it; leave out one")
                }
                _ => {}
            }
        }
        if let Some(name) = reference.inputs.iter().find(|name| !seen.contains(name)) {
            bail!("[reference] reads `{name}`, which is no buffer");
        }
        Ok(())
    }

    /// The outputs that the built-in reference computes, in the order of its results.
    pub fn builtin_outputs(&self) -> Vec<&String> {
        let given = self.reference.output.all();
        if !given.is_empty() {
            return given.iter().collect();
        }
        let checked = self.buffers.iter().filter(|b| b.output && !b.unchecked);
        checked.map(|b| &b.name).take(1).collect()
    }
}
