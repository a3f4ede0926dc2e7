//! Loading the tensors of a module, with a report of missing and unexpected names.

use std::collections::{BTreeMap, BTreeSet};

use wgrad_tensor::{DType, Error, Result, Tensor, no_grad};

use crate::module::{Entry, Module, Parameters, entries};
use crate::var_builder::TensorSource;

/// What did not fit while tensors were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "call strict() unless some names may be missing or unexpected"]
pub struct LoadReport {
    /// Names that the module has and the source does not. These tensors keep their values.
    pub missing: Vec<String>,
    /// Names that the source has and the module does not.
    pub unexpected: Vec<String>,
}

impl LoadReport {
    /// Whether every name was found on both sides.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }

    /// Refuses names that are missing or unexpected, as PyTorch's `load_state_dict` does by default.
    pub fn strict(self) -> Result<()> {
        match self.is_complete() {
            true => Ok(()),
            false => Err(Error::op("load", self.to_string())),
        }
    }

    /// Refuses unexpected names only.
    pub fn allow_missing(self) -> Result<()> {
        match self.unexpected.is_empty() {
            true => Ok(()),
            false => Err(Error::op("load", self.to_string())),
        }
    }
}

impl std::fmt::Display for LoadReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if names.is_empty() {
                continue;
            }
            let some: Vec<String> = names.iter().take(5).map(|n| format!("`{n}`")).collect();
            let more = match names.len() > some.len() {
                true => ", …",
                false => "",
            };
            parts.push(format!("{} {what}: {}{more}", names.len(), some.join(", ")));
        }
        match parts.is_empty() {
            true => write!(f, "all names were found"),
            false => write!(
                f,
                "the names do not fit, {}; was this saved from another model?",
                parts.join("; ")
            ),
        }
    }
}

/// Copies the tensors of `source` into the module of the same names. Tied weights are found under any of
/// their names.
///
/// Errors, before anything is changed: a tensor of another shape than the module's; what the source cannot read is
/// an error when its turn comes.
pub fn load_from<M, S>(module: &M, source: &S) -> Result<LoadReport>
where
    M: Module + ?Sized,
    S: TensorSource + ?Sized,
{
    let (found, report) = matched(module, source)?;
    for (entry, key) in found {
        let values = source.read(&key)?;
        write(&entry.tensor, &key, &values)?;
    }
    Ok(report)
}

/// Copies named tensors, such as those of [`Module::state_dict`], into the module of the same names, as
/// PyTorch's `load_state_dict`.
///
/// Errors, before anything is changed: a tensor of another shape than the module's.
pub fn load_state_dict<M: Module + ?Sized>(module: &M, state: &Parameters) -> Result<LoadReport> {
    let source = StateDict(state.iter().map(|(name, t)| (name.as_str(), t)).collect());
    let (found, report) = matched(module, &source)?;
    for (entry, key) in found {
        if let Some(tensor) = source.0.get(key.as_str())
            && tensor.id() != entry.tensor.id()
        {
            no_grad(|| tensor.cast(entry.tensor.dtype())?.copy_into(&entry.tensor))?;
        }
    }
    Ok(report)
}

/// The entries of `module` with the names in `source` that they are loaded from.
fn matched<M, S>(module: &M, source: &S) -> Result<(Vec<(Entry, String)>, LoadReport)>
where
    M: Module + ?Sized,
    S: TensorSource + ?Sized,
{
    let mut unexpected: BTreeSet<String> = source.names().into_iter().collect();
    let mut report = LoadReport::default();
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for entry in entries(module) {
        for name in &entry.names {
            unexpected.remove(name);
        }
        let named = entry
            .names
            .iter()
            .find_map(|name| Some((name.clone(), source.shape(name)?)));
        match named {
            Some((name, shape)) if shape == entry.tensor.shape() => found.push((entry, name)),
            Some((name, shape)) => wrong.push(format!(
                "`{name}` has shape {shape:?}, the module {:?}",
                entry.tensor.shape()
            )),
            None => report.missing.extend(entry.names.into_iter().next()),
        }
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(5);
        wrong.truncate(5);
        let mut message = wrong.join("; ");
        if more > 0 {
            message += &format!("; and {more} more");
        }
        return Err(Error::op("load", message));
    }
    report.unexpected = unexpected.into_iter().collect();
    Ok((found, report))
}

/// Overwrites `tensor`, whatever float type it has.
fn write(tensor: &Tensor, name: &str, values: &[f32]) -> Result<()> {
    if values.len() != tensor.numel() {
        return Err(Error::op(
            "load",
            format!("`{name}` has {} elements for {tensor:?}", values.len()),
        ));
    }
    match tensor.dtype() {
        DType::F32 if tensor.is_contiguous() => tensor.copy_from_slice(values),
        DType::U32 => Err(Error::op(
            "load",
            format!(
                "`{name}` is {tensor:?}; only float tensors are loaded, mark it #[module(skip)]"
            ),
        )),
        dtype => {
            let plain = Tensor::from_slice(tensor.device(), values, tensor.shape())?;
            no_grad(|| plain.cast(dtype)?.copy_into(tensor))
        }
    }
}

/// Tensors by name as a source.
struct StateDict<'a>(BTreeMap<&'a str, &'a Tensor>);

impl TensorSource for StateDict<'_> {
    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.get(name).map(|tensor| tensor.shape().to_vec())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        match self.0.get(name) {
            Some(tensor) => no_grad(|| tensor.cast(DType::F32)?.to_vec::<f32>()),
            None => Err(Error::op("load", format!("there is no tensor `{name}`"))),
        }
    }
}
