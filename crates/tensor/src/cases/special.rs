//! What an adapter makes of NaN, infinities and denormals. WGSL lets a compiler assume that there are none, so the
//! results may differ from IEEE 754, which PyTorch follows.

use wgrad_runtime::{Defines, Device};

use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

/// An expression, and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecialValue {
    /// In WGSL; true is 1.
    pub expression: &'static str,
    /// As PyTorch and IEEE 754 have it; their maximum and minimum keep NaN.
    pub expected: f32,
    /// As the adapter has it.
    pub here: f32,
}

impl SpecialValue {
    /// Whether the adapter's value is the expected one.
    pub fn agrees(&self) -> bool {
        self.expected == self.here || (self.expected.is_nan() && self.here.is_nan())
    }
}

const DENORMAL: f32 = f32::from_bits(1);

/// In the order of `special_values.wgsl`.
const EXPRESSIONS: [(&str, f32); 16] = [
    ("NaN + 1", f32::NAN),
    ("NaN * 0", f32::NAN),
    ("max(NaN, 1)", f32::NAN),
    ("min(1, NaN)", f32::NAN),
    ("clamp(NaN, 0, 1)", f32::NAN),
    ("NaN != NaN", 1.0),
    ("NaN < 1", 0.0),
    ("!(NaN < 1)", 1.0),
    ("inf - inf", f32::NAN),
    ("0 * inf", f32::NAN),
    ("1 / 0", f32::INFINITY),
    ("0 / 0", f32::NAN),
    ("2 * the largest f32", f32::INFINITY),
    ("sqrt(-1)", f32::NAN),
    ("max(-inf, inf)", f32::INFINITY),
    ("the smallest denormal * 1", DENORMAL),
];

/// Evaluates the expressions on `device`.
pub fn special_values(device: &Device) -> Result<Vec<SpecialValue>> {
    let inputs = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        1.0,
        f32::MAX,
        DENORMAL,
    ];
    let x = Tensor::from_slice(device, &inputs.map(f32::to_bits), &[inputs.len()])?;
    let y = Tensor::empty(device, &[EXPRESSIONS.len()], DType::U32)?;
    let kernel = device.kernel("special_values", &Defines::new())?;
    let launch = device.launch(&kernel);
    launch.bind(x.buffer()).bind(y.buffer()).groups(1)?;
    let values = y.to_vec::<u32>()?.into_iter().map(f32::from_bits);
    let pairs = EXPRESSIONS.into_iter().zip(values);
    Ok(pairs
        .map(|((expression, expected), here)| SpecialValue {
            expression,
            expected,
            here,
        })
        .collect())
}
