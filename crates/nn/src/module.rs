//! What all layers and models have in common: they visit their parameters and buffers by name.

use std::collections::HashMap;
use std::marker::PhantomData;

use wgrad_tensor::Tensor;

use crate::lora::Lora;

/// Tensors with their full names, in the order of the model.
pub type Parameters = Vec<(String, Tensor)>;

/// The role of a visited tensor in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is trained, unless it is frozen.
    Parameter,
    /// It is saved and loaded with the parameters, but not trained: running statistics, tables.
    Buffer,
}

/// A layer or a model: it visits its parameters and buffers under the names that PyTorch gives them.
///
/// `#[derive(Module)]` writes the implementation from the fields of a struct. A field of type [`Tensor`] is a
/// parameter, a field that is a module is visited under the field's name, and `Option`, `Vec`, arrays, `Box` and
/// tuples of these work too; the elements of a `Vec` are called `0`, `1`, …. Numbers, `bool` and `String` hold no
/// tensors. Attributes of a field change this:
///
/// - `#[module(buffer)]`: its tensors are buffers.
/// - `#[module(skip)]`: it is not visited. Use it for settings and for tensors that are not to be saved.
/// - `#[module(rename = "LayerNorm")]`: another name, which may hold dots: `"attention.self"`.
/// - `#[module(flatten)]`: its tensors have the prefix of the module itself.
///
/// In an enum the current variant is visited; the field of a variant such as `Rms(RMSNorm)` needs no name.
///
/// ```
/// use wgrad_nn::{Linear, Module, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result, Tensor};
///
/// #[derive(Module)]
/// struct Mlp {
///     hidden: Linear,
///     #[module(rename = "head")]
///     output: Linear,
///     scale: f32,
/// }
///
/// impl Mlp {
///     fn new(vb: &VarBuilder) -> Result<Self> {
///         Ok(Self {
///             hidden: Linear::new(4, 8, &vb.pp("hidden"))?,
///             output: Linear::new(8, 2, &vb.pp("head"))?,
///             scale: 0.5,
///         })
///     }
///
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         self.output.forward(&self.hidden.forward(x)?.relu()?)?.mul_scalar(self.scale)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let model = Mlp::new(&VarBuilder::fresh(&device, &generator))?;
/// let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "head.weight", "head.bias"]);
/// assert_eq!(model.num_parameters(), 4 * 8 + 8 + 8 * 2 + 2);
/// let x = Tensor::ones(&device, &[3, 4], wgrad_tensor::DType::F32)?;
/// assert_eq!(model.forward(&x)?.shape(), [3, 2]);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module: it has no parameters to visit",
    label = "the derive of `Module` cannot visit this field",
    note = "if it holds layers, write `#[derive(Module)]` on it",
    note = "if it holds no tensors to train or to save, write `#[module(skip)]` above the field"
)]
pub trait Module {
    /// Calls `visitor` with every tensor and every sub-module, in the order of the model.
    fn visit(&self, visitor: &mut Visitor<'_>);

    /// The parameters with their names. A tensor with two names (tied weights) is listed once, under
    /// its first name.
    fn named_parameters(&self) -> Parameters {
        let of_kind = |entry: Entry| (entry.kind == Kind::Parameter).then(|| entry.named());
        entries(self).into_iter().filter_map(of_kind).collect()
    }

    /// The buffers with their names, each once.
    fn named_buffers(&self) -> Parameters {
        let of_kind = |entry: Entry| (entry.kind == Kind::Buffer).then(|| entry.named());
        entries(self).into_iter().filter_map(of_kind).collect()
    }

    /// Parameters and buffers with their names, each once: what [`save`](crate::save) writes. The tensors are
    /// the model's own, not copies.
    fn state_dict(&self) -> Parameters {
        entries(self).into_iter().map(Entry::named).collect()
    }

    /// The number of elements of all parameters, tied weights counted once.
    fn num_parameters(&self) -> usize {
        let parameters = self.named_parameters();
        parameters.iter().map(|(_, tensor)| tensor.numel()).sum()
    }
}

/// Goes through a module: [`Module::visit`] hands it tensors and sub-modules.
pub struct Visitor<'a> {
    prefix: String,
    /// Whether everything below is a buffer.
    buffers: bool,
    call: &'a mut dyn FnMut(Leaf<'_>),
}

/// One visited thing.
pub(crate) enum Leaf<'a> {
    Tensor {
        name: String,
        kind: Kind,
        tensor: &'a Tensor,
    },
    /// The adapter of a linear layer with this weight.
    Adapter { weight: &'a Tensor, lora: &'a Lora },
}

impl Visitor<'_> {
    /// Visits a parameter of the module.
    pub fn parameter(&mut self, name: &str, tensor: &Tensor) {
        let kind = match self.buffers {
            true => Kind::Buffer,
            false => Kind::Parameter,
        };
        let name = join(&self.prefix, name);
        (self.call)(Leaf::Tensor { name, kind, tensor });
    }

    /// Visits a buffer of the module.
    pub fn buffer(&mut self, name: &str, tensor: &Tensor) {
        self.buffers(name, tensor);
    }

    /// Visits a sub-module. Its names follow `name` and a dot; an empty name adds nothing.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let length = self.prefix.len();
        if !name.is_empty() {
            if length > 0 {
                self.prefix.push('.');
            }
            self.prefix.push_str(name);
        }
        module.visit(self);
        self.prefix.truncate(length);
    }

    /// Visits the adapter of a linear layer.
    pub(crate) fn adapter(&mut self, weight: &Tensor, lora: &Lora) {
        (self.call)(Leaf::Adapter { weight, lora });
        self.parameter("lora_A.weight", lora.a());
        self.parameter("lora_B.weight", lora.b());
    }

    /// Visits a sub-module all of whose tensors are buffers.
    pub fn buffers(&mut self, name: &str, module: &dyn Module) {
        let before = std::mem::replace(&mut self.buffers, true);
        self.module(name, module);
        self.buffers = before;
    }
}

impl std::fmt::Debug for Visitor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A tensor of a module with all the names it has there.
pub(crate) struct Entry {
    /// The first is the one that counts; the others are those of tied weights.
    pub(crate) names: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) tensor: Tensor,
}

impl Entry {
    fn named(self) -> (String, Tensor) {
        let name = self.names.into_iter().next().unwrap_or_default();
        (name, self.tensor)
    }
}

/// Calls `call` with every tensor of `module`.
pub(crate) fn visit<M: Module + ?Sized>(module: &M, call: &mut dyn FnMut(Leaf<'_>)) {
    module.visit(&mut Visitor {
        prefix: String::new(),
        buffers: false,
        call,
    });
}

/// Every tensor of `module`, each once. A tensor that is a parameter in one place is one.
pub(crate) fn entries<M: Module + ?Sized>(module: &M) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    visit(module, &mut |leaf| {
        let Leaf::Tensor { name, kind, tensor } = leaf else {
            return;
        };
        let place = *places.entry(tensor.id()).or_insert(all.len());
        match all.get_mut(place) {
            Some(entry) => {
                entry.names.push(name);
                if kind == Kind::Parameter {
                    entry.kind = Kind::Parameter;
                }
            }
            None => all.push(Entry {
                names: vec![name],
                kind,
                tensor: tensor.clone(),
            }),
        }
    });
    all
}

/// The name of `name` inside of `prefix`: joined by a dot, or the one of them that is not empty.
pub fn join(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}.{name}"),
    }
}

/// A tensor field is a parameter.
impl Module for Tensor {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.parameter("", self);
    }
}

/// `None` has no tensors.
impl<M: Module> Module for Option<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        (**self).visit(visitor);
    }
}

impl<M: Module + ?Sized> Module for &M {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        (**self).visit(visitor);
    }
}

/// The elements are called 0, 1, …, as in `nn.ModuleList`.
impl<M: Module> Module for [M] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (i, module) in self.iter().enumerate() {
            visitor.module(&i.to_string(), module);
        }
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.as_slice().visit(visitor);
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.as_slice().visit(visitor);
    }
}

macro_rules! tuples {
    ($(($($name:ident $at:tt),+))*) => {$(
        /// The elements are called 0, 1, …
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                $(visitor.module(stringify!($at), &self.$at);)+
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

macro_rules! without_tensors {
    ($($type:ty),+) => {$(
        /// It holds no tensor.
        impl Module for $type {
            fn visit(&self, _visitor: &mut Visitor<'_>) {}
        }
    )+};
}

without_tensors!(
    (),
    bool,
    f32,
    f64,
    i32,
    i64,
    isize,
    u32,
    u64,
    usize,
    String,
    &'static str
);

/// It holds no tensor.
impl<T> Module for PhantomData<T> {
    fn visit(&self, _visitor: &mut Visitor<'_>) {}
}
