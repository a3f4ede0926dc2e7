//! The preprocessor: a kernel file and its defines become one WGSL text.
//!
//! It knows `#import NAME` (once each), `#ifdef NAME`, `#ifndef NAME`, `#else`, `#endif`,
//! `#repeat i N` … `#endrepeat` (see [`super::repeat`]), and puts `enable`, `const` and `alias` lines in
//! front. Nothing else: what WGSL can say stays in WGSL.

use std::collections::{BTreeMap, BTreeSet};

use super::repeat;
use crate::adapter::MatrixUnit;

/// The choices that turn one kernel file into one variant. Sorted, so equal choices give equal keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Defines {
    flags: BTreeSet<String>,
    lines: BTreeMap<String, String>,
    constants: BTreeMap<String, u32>,
}

impl Defines {
    /// No choice made: the kernel file's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `#ifdef name` true.
    pub fn flag(mut self, name: &str) -> Self {
        self.flags.insert(name.to_owned());
        self
    }

    /// Makes `#ifdef name` true if `on`.
    pub fn flag_if(self, on: bool, name: &str) -> Self {
        if on { self.flag(name) } else { self }
    }

    /// Puts `const name = value;` in front, for sizes that WGSL wants at compile time.
    pub fn constant(mut self, name: &str, value: u32) -> Self {
        self.lines
            .insert(name.to_owned(), format!("const {name}: u32 = {value}u;"));
        self.constants.insert(name.to_owned(), value);
        self
    }

    /// Puts `alias name = ty;` in front. An `f16` type also puts `enable f16;` at the top.
    pub fn alias(mut self, name: &str, ty: &str) -> Self {
        if ty.contains("f16") {
            self.flags.insert("F16".to_owned());
        }
        self.lines
            .insert(name.to_owned(), format!("alias {name} = {ty};"));
        self
    }

    /// Puts `text` in front under the key `name`: the one line of a pointwise op.
    pub fn code(mut self, name: &str, text: &str) -> Self {
        self.lines.insert(name.to_owned(), text.to_owned());
        self
    }

    /// The types of cooperative matrices: `H` of their factors' elements, `MatrixA`, `MatrixB` and
    /// `MatrixC`, and `SIDE`.
    pub fn matrices(self, unit: MatrixUnit) -> Self {
        let MatrixUnit { side, half } = unit;
        let h = if half { "f16" } else { "f32" };
        self.flag("COOPERATIVE_MATRIX")
            .alias("H", h)
            .alias("MatrixA", &format!("coop_mat{side}x{side}<{h}, A>"))
            .alias("MatrixB", &format!("coop_mat{side}x{side}<{h}, B>"))
            .alias("MatrixC", &format!("coop_mat{side}x{side}<f32, C>"))
            .constant("SIDE", side)
    }

    /// A readable key of this variant.
    pub fn key(&self) -> String {
        let mut parts: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        parts.extend(self.lines.values().map(String::as_str));
        parts.join(" ")
    }
}

/// The WGSL text of kernel `name` with `defines`.
pub fn assemble(name: &str, defines: &Defines) -> Result<String, String> {
    let text = wgrad_shaders::source(name)
        .ok_or_else(|| format!("there is no shader file {name}.wgsl"))?;
    assemble_text(name, text, defines)
}

/// The same for a text that is not one of the embedded files.
pub fn assemble_text(name: &str, text: &str, defines: &Defines) -> Result<String, String> {
    let mut out = String::new();
    if defines.flags.contains("F16") {
        out.push_str("enable f16;\n");
    }
    if defines.flags.contains("COOPERATIVE_MATRIX") {
        out.push_str("enable wgpu_cooperative_matrix;\n");
    }
    for line in defines.lines.values() {
        out.push_str(line);
        out.push('\n');
    }
    let mut seen = BTreeSet::new();
    let mut live = String::new();
    expand(name, text, defines, &mut seen, &mut live)?;
    repeat::unroll(name, &live, &defines.constants, &mut out)?;
    Ok(out)
}

fn expand(
    name: &str,
    text: &str,
    defines: &Defines,
    seen: &mut BTreeSet<String>,
    out: &mut String,
) -> Result<(), String> {
    // Each level: (this branch is taken, an earlier branch or an outer level forbids `else`).
    let mut levels: Vec<(bool, bool)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let live = levels.iter().all(|(on, _)| *on);
        let trimmed = line.trim_start();
        let word = trimmed.split_whitespace().next().unwrap_or("");
        let later = matches!(word, "#repeat" | "#endrepeat");
        let Some(directive) = trimmed.strip_prefix('#').filter(|_| !later) else {
            if live {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let mut words = directive.split_whitespace();
        let word = words.next().unwrap_or("");
        let argument = words.next();
        let need =
            || argument.ok_or_else(|| format!("{name}:{}: #{word} needs a name", number + 1));
        let unmatched = || format!("{name}:{}: #{word} without #ifdef", number + 1);
        match word {
            "ifdef" | "ifndef" => {
                let on = defines.flags.contains(need()?) == (word == "ifdef");
                levels.push((on, on));
            }
            "else" => {
                let level = levels.last_mut().ok_or_else(unmatched)?;
                *level = (!level.1, true);
            }
            "endif" => {
                levels.pop().ok_or_else(unmatched)?;
            }
            "import" => {
                let file = need()?;
                if live && seen.insert(file.to_owned()) {
                    let inner = wgrad_shaders::source(file)
                        .ok_or_else(|| format!("{name}:{}: there is no {file}.wgsl", number + 1))?;
                    expand(file, inner, defines, seen, out)?;
                }
            }
            _ => return Err(format!("{name}:{}: unknown directive #{word}", number + 1)),
        }
    }
    if levels.is_empty() {
        Ok(())
    } else {
        Err(format!("{name}: #ifdef without #endif"))
    }
}
