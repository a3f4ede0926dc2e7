//! Where the tensors of new layers come from: initial values, or tensors that were saved.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use wgrad_tensor::{Device, Error, Generator, Result, Tensor};

use crate::lora::{Lora, LoraConfig};
use crate::state::LoadReport;
use crate::{Init, join};

/// Named tensors to load from: a file, a folder of shards, or values in memory.
///
/// Implement it for a format of your own, and [`VarBuilder::from_source`] and
/// [`load_from`](crate::load_from) read it.
pub trait TensorSource {
    /// The names of all tensors.
    fn names(&self) -> Vec<String>;
    /// The shape of a tensor, outermost side first; nothing if there is no tensor of this name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// The elements in row-major order. Errors: there is no such tensor, or it cannot be read.
    fn read(&self, name: &str) -> Result<Vec<f32>>;
}

impl<S: TensorSource + ?Sized> TensorSource for &S {
    fn names(&self) -> Vec<String> {
        (**self).names()
    }
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        (**self).shape(name)
    }
    fn read(&self, name: &str) -> Result<Vec<f32>> {
        (**self).read(name)
    }
}

impl<S: TensorSource + ?Sized> TensorSource for Box<S> {
    fn names(&self) -> Vec<String> {
        (**self).names()
    }
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        (**self).shape(name)
    }
    fn read(&self, name: &str) -> Result<Vec<f32>> {
        (**self).read(name)
    }
}

/// Makes the tensors of layers: the one way in which layers are constructed.
///
/// A builder either draws initial values from a generator ([`VarBuilder::fresh`]) or takes tensors from a
/// source by their names ([`VarBuilder::from_source`]); the code of a model is the same for both. It stands at a
/// place in the model: [`VarBuilder::pp`] goes one name deeper.
///
/// ```
/// use wgrad_nn::{Init, LayerNorm, Linear, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let vb = VarBuilder::fresh(&device, &generator);
/// let layer = vb.pp("encoder").pp("layer").pp(0);
/// let dense = Linear::new(8, 4, &layer.pp("dense"))?;
/// let norm = LayerNorm::new(4, 1e-5, &layer.pp("norm"))?;
/// let scale = layer.get(&[4], "scale", Init::Ones)?;
/// assert_eq!(layer.path("scale"), "encoder.layer.0.scale");
/// assert!(scale.requires_grad());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VarBuilder<'a> {
    shared: Rc<Shared<'a>>,
    prefix: String,
    adapters: Option<Rc<(LoraConfig, Generator)>>,
}

/// From the name in the model to the name in the source.
type Rename<'a> = Box<dyn Fn(&str) -> String + 'a>;

struct Shared<'a> {
    device: Device,
    generator: Option<Generator>,
    source: Option<Box<dyn TensorSource + 'a>>,
    rename: Option<Rename<'a>>,
    requested: RefCell<Requested>,
}

/// The names requested so far.
#[derive(Default)]
struct Requested {
    /// Names in the source that were read.
    used: BTreeSet<String>,
    /// Names in the model, in order, that the source does not have.
    missing: Vec<String>,
}

impl<'a> VarBuilder<'a> {
    fn new(
        device: &Device,
        generator: Option<Generator>,
        source: Option<Box<dyn TensorSource + 'a>>,
        rename: Option<Rename<'a>>,
    ) -> Self {
        Self {
            shared: Rc::new(Shared {
                device: device.clone(),
                generator,
                source,
                rename,
                requested: RefCell::default(),
            }),
            prefix: String::new(),
            adapters: None,
        }
    }

    /// A builder that draws initial values from `generator`. Equal seeds and an equal order of layers give
    /// equal values.
    pub fn fresh(device: &Device, generator: &Generator) -> Self {
        Self::new(device, Some(generator.clone()), None, None)
    }

    /// A builder that takes every tensor from `source`. A tensor that the source does not have is an error.
    pub fn from_source(device: &Device, source: Box<dyn TensorSource + 'a>) -> Self {
        Self::new(device, None, Some(source), None)
    }

    /// A builder that takes from `source` what it has and draws the rest, such as a new head for a pretrained
    /// encoder, from `generator`. [`VarBuilder::report`] names what was drawn.
    pub fn from_source_or_fresh(
        device: &Device,
        source: Box<dyn TensorSource + 'a>,
        generator: &Generator,
    ) -> Self {
        Self::new(device, Some(generator.clone()), Some(source), None)
    }

    /// The same with other names: `rename` gives for a name in the model the name in the source. Call it
    /// before [`VarBuilder::pp`].
    ///
    /// Errors: the builder has no source, was cloned, or is not at the root of the model any more.
    pub fn renamed(self, rename: impl Fn(&str) -> String + 'a) -> Result<Self> {
        let refuse = |message| Err(Error::op("VarBuilder", message));
        if !self.prefix.is_empty() {
            return refuse("renamed: call it on the builder of the whole model, before pp");
        }
        let Ok(mut shared) = Rc::try_unwrap(self.shared) else {
            return refuse("renamed: call it before the builder is cloned");
        };
        if shared.source.is_none() {
            return refuse("renamed: this builder draws fresh values and has no names to map");
        }
        shared.rename = Some(match shared.rename.take() {
            Some(first) => Box::new(move |name| first(&rename(name))),
            None => Box::new(rename),
        });
        Ok(Self {
            shared: Rc::new(shared),
            prefix: String::new(),
            adapters: self.adapters,
        })
    }

    /// A builder that gives the linear layers whose names `config` targets an adapter, and freezes them. Matrices
    /// that the source has are taken from there, the others are drawn from `generator`.
    ///
    /// Errors: a rank of 0, numbers out of range, no target.
    pub fn with_lora(self, config: LoraConfig, generator: &Generator) -> Result<Self> {
        config.check()?;
        Ok(Self {
            adapters: Some(Rc::new((config, generator.clone()))),
            ..self
        })
    }

    /// The adapter of the linear layer with this name, if the configuration requests one.
    pub(crate) fn lora(&self, inputs: usize, outputs: usize) -> Result<Option<Lora>> {
        match self.adapters.as_deref() {
            Some((config, generator)) if config.targets(&self.prefix) => {
                Lora::new(inputs, outputs, config, generator, self).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The builder one name deeper ("push prefix"); `name` may hold dots, and may be a number.
    pub fn pp(&self, name: impl fmt::Display) -> Self {
        Self {
            shared: self.shared.clone(),
            prefix: join(&self.prefix, &name.to_string()),
            adapters: self.adapters.clone(),
        }
    }

    /// The device that tensors are made on.
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// The builder's prefix in the model; empty at the root.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name of a tensor `name` here.
    pub fn path(&self, name: &str) -> String {
        join(&self.prefix, name)
    }

    /// Whether tensors are taken from a source.
    pub fn has_source(&self) -> bool {
        self.shared.source.is_some()
    }

    /// Whether the source has a tensor `name` here. False without a source.
    pub fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The shape of tensor `name` in the source; nothing if it has none, or there is no source.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let source = self.shared.source.as_ref()?;
        source.shape(&self.name_in_source(name))
    }

    /// A parameter `name` of this shape: read from the source, or made by `init`. It requires a gradient.
    ///
    /// Errors: the source does not have it, or has it in another shape; what [`Init::tensor`] refuses.
    pub fn get(&self, shape: &[usize], name: &str, init: Init) -> Result<Tensor> {
        let tensor = self.make(shape, name, init)?;
        tensor.set_requires_grad(true)?;
        Ok(tensor)
    }

    /// A buffer `name` of this shape, which is not trained. Errors as [`VarBuilder::get`].
    pub fn get_buffer(&self, shape: &[usize], name: &str, init: Init) -> Result<Tensor> {
        let tensor = self.make(shape, name, init)?;
        tensor.set_requires_grad(false)?;
        Ok(tensor)
    }

    fn make(&self, shape: &[usize], name: &str, init: Init) -> Result<Tensor> {
        let full = self.path(name);
        if let Some(source) = &self.shared.source {
            let key = self.name_in_source(name);
            match source.shape(&key) {
                Some(found) => {
                    self.shared.requested.borrow_mut().used.insert(key.clone());
                    return self.read(source.as_ref(), &full, &key, shape, &found);
                }
                None => self
                    .shared
                    .requested
                    .borrow_mut()
                    .missing
                    .push(full.clone()),
            }
        }
        let Some(generator) = &self.shared.generator else {
            return Err(Error::op(
                "VarBuilder",
                format!(
                    "there is no tensor `{full}`, which has shape {shape:?}; are the weights those of another architecture?{}",
                    self.similar(name)
                ),
            ));
        };
        init.tensor(self.device(), shape, generator)
    }

    fn read(
        &self,
        source: &dyn TensorSource,
        full: &str,
        key: &str,
        shape: &[usize],
        found: &[usize],
    ) -> Result<Tensor> {
        let shown = match key == full {
            true => format!("`{full}`"),
            false => format!("`{key}` (`{full}` in the model)"),
        };
        if found != shape {
            return Err(Error::op(
                "VarBuilder",
                format!(
                    "{shown} has shape {found:?}, the model asks for {shape:?}; are weights and configuration of the same model?"
                ),
            ));
        }
        let values = source.read(key)?;
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::op(
                "VarBuilder",
                format!("{shown} has {} elements for shape {shape:?}", values.len()),
            ));
        }
        Tensor::from_slice(self.device(), &values, shape)
    }

    /// What was missing in the source and drawn instead, by its name in the model, and what of the source
    /// nothing asked for, by its name there. Both are empty for a builder without a source.
    pub fn report(&self) -> LoadReport {
        let requested = self.shared.requested.borrow();
        let names = match &self.shared.source {
            Some(source) => source.names(),
            None => Vec::new(),
        };
        LoadReport {
            missing: requested.missing.clone(),
            unexpected: names
                .into_iter()
                .filter(|name| !requested.used.contains(name))
                .collect(),
        }
    }

    fn name_in_source(&self, name: &str) -> String {
        let full = self.path(name);
        match &self.shared.rename {
            Some(rename) => rename(&full),
            None => full,
        }
    }

    /// Names in the source that end like `name`, for messages.
    fn similar(&self, name: &str) -> String {
        let names = match &self.shared.source {
            Some(source) => source.names(),
            None => return String::new(),
        };
        let fitting = |n: &&String| n.rsplit('.').next() == name.rsplit('.').next();
        let some: Vec<&str> = names
            .iter()
            .filter(fitting)
            .take(3)
            .map(String::as_str)
            .collect();
        match some.is_empty() {
            true => format!(" There are {} other tensors.", names.len()),
            false => format!(
                " There are {} others, such as {}.",
                names.len(),
                some.join(", ")
            ),
        }
    }
}

impl fmt::Debug for VarBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VarBuilder")
            .field("prefix", &self.prefix)
            .field("source", &self.has_source())
            .field("fresh", &self.shared.generator.is_some())
            .finish_non_exhaustive()
    }
}
