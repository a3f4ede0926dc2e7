//! The op matrix: for every op the rows that check it, and the code that runs a row. A row holds
//! the inputs (shape, type, layout, range), the op as called, its float64 reference with the same
//! parameters and the PyTorch expression; forward, gradient, guard bytes, error texts, the comparison
//! with PyTorch and the benchmark all read the same row.

mod host;
mod run;
pub mod shapes;
mod special;

pub use host::HostArray;
pub use run::{Dump, Outcome, inputs, run};
pub use special::{SpecialValue, special_values};

use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

/// How an input lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row-major, from the start of its buffer.
    Contiguous,
    /// The last two dimensions swapped in memory.
    Transposed,
    /// A window into a larger tensor: gaps between rows, and an offset.
    Sliced,
    /// The first dimension repeated with stride 0.
    Expanded,
}

/// What an input holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Uniform in the range.
    Uniform(f64, f64),
    /// Multiples of 1/n in -1..=1: equal values happen.
    Steps(u32),
    /// Whole numbers in 0..n.
    Index(u32),
}

/// One input of a case.
#[derive(Debug, Clone)]
pub struct Input {
    /// The sides, outermost first.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub dtype: DType,
    /// How it lies in memory.
    pub layout: Layout,
    /// Its values.
    pub fill: Fill,
    /// Whether its gradient is checked. Integers have none.
    pub requires_grad: bool,
}

impl Input {
    /// Uniform in -1..1, contiguous, with a gradient if it is a float.
    pub fn new(shape: &[usize], dtype: DType) -> Self {
        Self {
            shape: shape.to_vec(),
            dtype,
            layout: Layout::Contiguous,
            fill: Fill::Uniform(-1.0, 1.0),
            requires_grad: dtype.is_float(),
        }
    }
    /// Lies in memory like this.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
    /// Uniform in `low..high`.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.fill = Fill::Uniform(low, high);
        self
    }
    /// Multiples of 1/n in -1..=1.
    pub fn steps(mut self, n: u32) -> Self {
        self.fill = Fill::Steps(n);
        self
    }
    /// Whole numbers in 0..n.
    pub fn index(mut self, n: u32) -> Self {
        self.fill = Fill::Index(n);
        self
    }
    /// Without a gradient.
    pub fn frozen(mut self) -> Self {
        self.requires_grad = false;
        self
    }
}

type Run = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;
type Reference = Box<dyn Fn(&[HostArray]) -> HostArray + Send + Sync>;

/// The expected result of a case.
pub enum Expect {
    /// The values, and by finite differences the gradients, of this float64 function.
    Values(Reference),
    /// An error whose text holds this.
    Error(&'static str),
}

/// One row of the op matrix.
pub struct Case {
    /// The op's name: of its file, its function, its shader and its bench row.
    pub op: &'static str,
    /// The op in PyTorch, over inputs `x0`, `x1`, … with `torch` and `F` in scope.
    pub torch: String,
    /// The inputs, in the order in which `run` and the reference receive them.
    pub inputs: Vec<Input>,
    /// The call that is checked.
    pub run: Run,
    /// The expected result.
    pub expect: Expect,
    /// Largest error allowed, relative to max(1, largest reference value).
    pub tolerance: f64,
    /// Shown behind the op's name if shapes do not distinguish the cases.
    pub note: String,
}

impl Case {
    /// A row that must give the reference's values and gradients.
    pub fn new(
        op: &'static str,
        torch: &str,
        inputs: Vec<Input>,
        run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
        reference: impl Fn(&[HostArray]) -> HostArray + Send + Sync + 'static,
    ) -> Self {
        // One rounding to f16 is 2^-11 of the value; sums of a few such roundings stay below 4e-3.
        let half = inputs.iter().any(|i| i.dtype == DType::F16);
        Self {
            op,
            torch: torch.to_owned(),
            inputs,
            run: Box::new(run),
            expect: Expect::Values(Box::new(reference)),
            tolerance: if half { 4e-3 } else { 1e-5 },
            note: String::new(),
        }
    }

    /// A row that must be refused with a text that holds `text`.
    pub fn rejects(
        op: &'static str,
        inputs: Vec<Input>,
        run: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
        text: &'static str,
    ) -> Self {
        Self {
            op,
            torch: String::new(),
            inputs,
            run: Box::new(run),
            expect: Expect::Error(text),
            tolerance: 0.0,
            note: "rejects".into(),
        }
    }

    /// Another tolerance; say why at the call.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// A note for the name.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// A name for tables and failures.
    pub fn name(&self) -> String {
        let inputs: Vec<String> = self
            .inputs
            .iter()
            .map(|i| {
                let layout = match i.layout {
                    Layout::Contiguous => "",
                    Layout::Transposed => " transposed",
                    Layout::Sliced => " sliced",
                    Layout::Expanded => " expanded",
                };
                format!("{}{:?}{layout}", i.dtype, i.shape)
            })
            .collect();
        let note = if self.note.is_empty() {
            &self.torch
        } else {
            &self.note
        };
        format!("{}({}) {note}", self.op, inputs.join(", "))
    }
}
