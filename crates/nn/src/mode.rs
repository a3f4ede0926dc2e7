//! Whether a forward pass trains, and dropout, which depends on it.

use wgrad_tensor::{Activation, DType, Error, Generator, Result, Tensor};

use crate::{Module, Visitor};

/// How a forward pass runs. Cheap to clone; a model can keep one: the generator in it is a handle, which the training
/// loop moves on.
///
/// ```
/// use wgrad_nn::{Dropout, Mode};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let train = Mode::train(&generator);
/// let x = Tensor::ones(&device, &[1000], DType::F32)?;
/// let dropout = Dropout::new(0.5)?;
/// generator.begin_step(0, 0)?;
/// assert!(dropout.forward(&x, &train)?.to_vec::<f32>()?.contains(&0.0));
/// assert!(!dropout.forward(&x, &Mode::eval())?.to_vec::<f32>()?.contains(&0.0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Mode {
    generator: Option<Generator>,
    dtype: DType,
}

impl Mode {
    /// For training: dropout draws from `generator`, which the training loop moves with `begin_step`.
    pub fn train(generator: &Generator) -> Self {
        Self {
            generator: Some(generator.clone()),
            dtype: DType::F32,
        }
    }

    /// For evaluation: dropout does nothing.
    pub fn eval() -> Self {
        Self {
            generator: None,
            dtype: DType::F32,
        }
    }

    /// With another type of activations: f16 for mixed precision. Parameters stay f32; a model casts what it
    /// reads from its tables to this type, and its layers follow the type of their input.
    pub fn with_dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// The type that a model's activations are to have.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The generator while training, else nothing.
    pub fn generator(&self) -> Option<&Generator> {
        self.generator.as_ref()
    }

    /// Whether dropout is on.
    pub fn is_training(&self) -> bool {
        self.generator.is_some()
    }
}

impl Default for Mode {
    /// For evaluation.
    fn default() -> Self {
        Self::eval()
    }
}

/// Zeros each element with probability `p` while training and scales the others by 1 / (1 - p)
/// (Srivastava et al., JMLR 15, 2014).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    p: f32,
}

impl Dropout {
    /// Errors unless `p` is at least 0 and below 1.
    pub fn new(p: f32) -> Result<Self> {
        if (0.0..1.0).contains(&p) {
            return Ok(Self { p });
        }
        Err(Error::op(
            "dropout",
            format!("p = {p} must be at least 0 and below 1"),
        ))
    }

    /// The probability of a zero.
    pub fn p(&self) -> f32 {
        self.p
    }

    /// The result has the shape of `x`; in evaluation it is `x`.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        match mode.generator() {
            Some(generator) => x.dropout(self.p, generator),
            None => Ok(x.clone()),
        }
    }
}

/// It has no tensors.
impl Module for Dropout {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}

/// It has no tensors.
impl Module for Activation {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}
