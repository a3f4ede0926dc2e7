//! What a reduction computes from two values, as WGSL.

use crate::dtype::DType;

/// How two values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sum,
    Max,
    Min,
}

impl Kind {
    /// Two values in one, as WGSL, computed in `compute`, four at a time if `fours`.
    pub fn combine(self, compute: DType, fours: bool) -> &'static str {
        match (self, compute, fours) {
            (Kind::Sum, _, _) => "a + b",
            (Kind::Max, DType::F32, true) => "maximum4(a, b)",
            (Kind::Max, DType::F32, false) => "maximum(a, b)",
            (Kind::Max, _, _) => "max(a, b)",
            (Kind::Min, DType::F32, true) => "minimum4(a, b)",
            (Kind::Min, DType::F32, false) => "minimum(a, b)",
            (Kind::Min, _, _) => "min(a, b)",
        }
    }

    /// The values of all lanes in one, as WGSL.
    pub fn across(self) -> &'static str {
        match self {
            Kind::Sum => "row_sum(v, lane)",
            Kind::Max => "row_max(v, lane)",
            Kind::Min => "-row_max(-v, lane)",
        }
    }

    /// What changes no value, as WGSL.
    pub fn identity(self, compute: DType) -> &'static str {
        match (self, compute) {
            (Kind::Sum, _) => "0",
            (Kind::Max, DType::U32) => "0",
            (Kind::Max, DType::I32) => "-2147483648",
            (Kind::Min, DType::U32) => "4294967295",
            (Kind::Min, DType::I32) => "2147483647",
            (Kind::Max, _) => "from_bits(0xff800000u)",
            (Kind::Min, _) => "from_bits(0x7f800000u)",
        }
    }
}
