//! Low-rank adapters (LoRA, arXiv:2106.09685): a linear layer stays as it is, and the product of two small
//! matrices beside it is trained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad_tensor::{Error, Generator, LinearOptions, Result, Tensor, no_grad};

use crate::module::{Leaf, entries, visit};
use crate::{Dropout, Init, Mode, Module, Parameters, VarBuilder};

/// Which layers get an adapter, and of which size: PEFT's `LoraConfig`. Give it to
/// [`VarBuilder::with_lora`] before the model is made.
///
/// ```
/// use wgrad_nn::lora::{self, LoraConfig};
/// use wgrad_nn::{Mode, Module, MultiHeadAttention, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let config = LoraConfig { r: 2, ..LoraConfig::new(["query", "value"]) };
/// let vb = VarBuilder::fresh(&device, &generator).with_lora(config, &generator)?;
/// let attention = MultiHeadAttention::new(8, 2, 0.0, &vb)?;
/// // Two matrices (2, 8) and (8, 2) for the query, two for the value.
/// let adapters = lora::mark_only_lora_as_trainable(&attention)?;
/// assert_eq!(adapters.len(), 4);
/// assert_eq!(adapters[0].0, "query.lora_A.weight");
/// // Afterwards the model is a plain one again.
/// assert_eq!(lora::merge(&attention)?, 2);
/// assert_eq!(attention.named_parameters().len(), 8);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// The rank: the inner side of the two matrices.
    pub r: usize,
    /// The adapter's output is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// The dropout of the adapter's input.
    pub lora_dropout: f32,
    /// Multiply by `lora_alpha / sqrt(r)` instead (arXiv:2312.03732).
    pub use_rslora: bool,
    /// Names of linear layers: the whole path, or its last parts, such as `query` or `attention.self.query`.
    pub target_modules: Vec<String>,
}

impl LoraConfig {
    /// PEFT's defaults: rank 8, alpha 8, no dropout.
    pub fn new<S: Into<String>>(target_modules: impl IntoIterator<Item = S>) -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: target_modules.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether the layer at `path` gets an adapter.
    pub fn targets(&self, path: &str) -> bool {
        self.target_modules.iter().any(|target| {
            path.strip_suffix(target.as_str())
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
    }

    /// The factor of the adapter's output.
    pub fn scaling(&self) -> f64 {
        match self.use_rslora {
            true => self.lora_alpha / (self.r as f64).sqrt(),
            false => self.lora_alpha / self.r as f64,
        }
    }

    /// Errors: a rank of 0, numbers that are not finite, no target.
    pub(crate) fn check(&self) -> Result<()> {
        if self.r == 0 || !self.lora_alpha.is_finite() || self.target_modules.is_empty() {
            return Err(Error::op(
                "lora",
                format!("{self:?}: r must be at least 1, lora_alpha finite, and a target named"),
            ));
        }
        Dropout::new(self.lora_dropout).map(|_| ())
    }
}

/// The adapter of one linear layer: `scaling * B(A(dropout(x)))` is added to the layer's output.
#[derive(Debug, Clone)]
pub struct Lora {
    a: Tensor,
    b: Tensor,
    scaling: f32,
    dropout: Dropout,
    /// Clones of the layer are the same layer.
    merged: Arc<AtomicBool>,
}

impl Lora {
    /// `lora_A.weight` (r, inputs) as PyTorch draws a linear layer, and `lora_B.weight` (outputs, r) of zeros, so
    /// that nothing changes at first. Taken from the source of `vb` if it has them.
    pub fn new(
        inputs: usize,
        outputs: usize,
        config: &LoraConfig,
        generator: &Generator,
        vb: &VarBuilder,
    ) -> Result<Self> {
        config.check()?;
        let own = |name: &str, shape: &[usize], init: Init| match vb.contains(name) {
            true => vb.get(shape, name, init),
            false => init.tensor(vb.device(), shape, generator),
        };
        Ok(Self {
            a: own("lora_A.weight", &[config.r, inputs], Init::linear_default())?,
            b: own("lora_B.weight", &[outputs, config.r], Init::Zeros)?,
            scaling: config.scaling() as f32,
            dropout: Dropout::new(config.lora_dropout)?,
            merged: Arc::default(),
        })
    }

    /// (r, in)
    pub fn a(&self) -> &Tensor {
        &self.a
    }

    /// (out, r)
    pub fn b(&self) -> &Tensor {
        &self.b
    }

    /// The factor of the product.
    pub fn scaling(&self) -> f32 {
        self.scaling
    }

    pub(crate) fn is_merged(&self) -> bool {
        self.merged.load(Ordering::Relaxed)
    }

    /// `base + scaling * B(A(dropout(x)))`.
    pub(crate) fn add_to(&self, base: &Tensor, x: &Tensor, mode: Option<&Mode>) -> Result<Tensor> {
        let x = match mode {
            Some(mode) => self.dropout.forward(x, mode)?,
            None if self.dropout.p() == 0.0 => x.clone(),
            None => {
                return Err(Error::op(
                    "lora",
                    "this layer's adapter has dropout and has to know the mode; call forward_with and give it, or \
                     use lora_dropout 0",
                ));
            }
        };
        let plain = LinearOptions::default();
        let options = LinearOptions {
            scale: self.scaling,
            residual: Some(base),
            ..LinearOptions::default()
        };
        x.linear_with(&self.a, &plain)?
            .linear_with(&self.b, &options)
    }

    /// Adds the product of the two matrices to `weight` (out, in), in place.
    pub(crate) fn merge_into(&self, weight: &Tensor) -> Result<()> {
        no_grad(|| {
            let delta = self.b.matmul(&self.a)?.mul_scalar(self.scaling)?;
            weight.add(&delta)?.copy_into(weight)
        })?;
        self.merged.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Freezes every parameter of `module` but those of its adapters, and returns these: what an optimizer is
/// given.
///
/// Errors: the module has no adapter.
pub fn mark_only_lora_as_trainable<M: Module + ?Sized>(module: &M) -> Result<Parameters> {
    let of_adapters = lora_state_dict(module)?;
    for (_, tensor) in module.named_parameters() {
        tensor.set_requires_grad(false)?;
    }
    for (_, tensor) in &of_adapters {
        tensor.set_requires_grad(true)?;
    }
    Ok(of_adapters)
}

/// The tensors of the adapters of `module` with their names: what is saved of a model whose base is known. Read
/// them back with [`load_from`](crate::load_from) or a [`VarBuilder`] whose source holds them.
///
/// Errors: the module has no adapter.
pub fn lora_state_dict<M: Module + ?Sized>(module: &M) -> Result<Parameters> {
    let mut ids = Vec::new();
    visit(module, &mut |leaf| {
        if let Leaf::Adapter { lora, .. } = leaf {
            ids.extend([lora.a.id(), lora.b.id()]);
        }
    });
    if ids.is_empty() {
        return Err(Error::op(
            "lora",
            "the module has no adapter; make it with VarBuilder::with_lora, and name linear layers in target_modules",
        ));
    }
    let mut all = module.named_parameters();
    all.retain(|(_, tensor)| ids.contains(&tensor.id()));
    Ok(all)
}

/// Adds every adapter of `module` to the weight of its layer, in place, and removes it: the model computes the same,
/// as fast as one without adapters, and saves as one. Returns the number of adapters.
///
/// Errors: a weight with two names in the model (tied weights), whose other use must not change; the
/// module has no adapter. Nothing is changed then.
pub fn merge<M: Module + ?Sized>(module: &M) -> Result<usize> {
    let mut found: Vec<(Tensor, Lora)> = Vec::new();
    visit(module, &mut |leaf| {
        if let Leaf::Adapter { weight, lora } = leaf {
            found.push((weight.clone(), lora.clone()));
        }
    });
    if found.is_empty() {
        return Err(Error::op("lora", "merge: the module has no adapter"));
    }
    for entry in entries(module) {
        if entry.names.len() > 1 && found.iter().any(|(w, _)| w.id() == entry.tensor.id()) {
            return Err(Error::op(
                "lora",
                format!(
                    "merge: one tensor is the weight of {}; the adapter belongs to one of them only",
                    entry.names.join(" and ")
                ),
            ));
        }
    }
    for (weight, lora) in &found {
        lora.merge_into(weight)?;
    }
    Ok(found.len())
}
