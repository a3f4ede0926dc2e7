//! The choices that a table may hold for the ops; `doctor --all-variants` checks all of them.

use super::{matmul, rows};

/// A choice for all shapes of some kernels.
#[derive(Debug, Clone, Copy)]
pub struct Tunable {
    /// The names that a table has the kernels under, each with `file`.
    pub kernels: &'static [&'static str],
    /// The shader file.
    pub file: &'static str,
    /// Its parameters and their values.
    pub values: &'static [(&'static str, u32)],
    /// Ops of the matrix that launch them.
    pub ops: &'static [&'static str],
}

/// All choices. If a device or a shape does not allow one, the op's rule decides.
pub fn all() -> impl Iterator<Item = &'static Tunable> {
    matmul::TUNABLE.iter().chain(rows::TUNABLE)
}
