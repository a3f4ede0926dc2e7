//! The op matrix for ops of your own: the checks that the library's ops pass, in the same modes.
//!
//! An op is described by [`Case`]s: inputs (shape, type, layout, range), the op as a closure, and a reference in float64
//! on the host. [`check`] runs them on every kind of device that this machine can make: values against the reference,
//! gradients against finite differences of the reference, bytes behind every buffer against stray writes.
//!
//! ```
//! use wgrad_tensor::testing::{Case, HostArray, Input, Layout, check};
//! use wgrad_tensor::{DType, Result, Tensor};
//!
//! fn swish(x: &Tensor) -> Result<Tensor> {
//!     x.mul(&x.sigmoid()?)
//! }
//!
//! let case = |shape: &[usize], layout| {
//!     Case::new(
//!         "swish",
//!         "F.silu(x0)",
//!         vec![Input::new(shape, DType::F32).layout(layout)],
//!         |x| swish(&x[0]),
//!         |x: &[HostArray]| x[0].map(|v| v / (1.0 + (-v).exp())),
//!     )
//! };
//! check(&[case(&[1], Layout::Contiguous), case(&[3, 5], Layout::Transposed)])?;
//! # Ok::<(), wgrad_tensor::testing::Failures>(())
//! ```

use wgrad_runtime::{Device, DeviceOptions};

use crate::cases::run;
pub use crate::cases::{Case, Expect, Fill, HostArray, Input, Layout, Outcome, shapes};

/// The kinds of devices that [`check`] opens, by name.
pub fn modes() -> Vec<(&'static str, DeviceOptions)> {
    let guard = DeviceOptions {
        guard: true,
        ..DeviceOptions::default()
    };
    vec![
        ("guard bytes", guard.clone()),
        (
            "checked shaders",
            DeviceOptions {
                checked: true,
                ..guard.clone()
            },
        ),
        (
            "WebGPU's default limits",
            DeviceOptions {
                webgpu_limits: true,
                ..guard
            },
        ),
    ]
}

/// The failures of a check: for each the mode, the case and the message.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} of {rows} rows failed:\n{}", failures.len(), failures.join("\n"))]
pub struct Failures {
    /// Rows that were run, in all modes together.
    pub rows: usize,
    /// One line each.
    pub failures: Vec<String>,
}

/// Runs `cases` in every one of the [`modes`].
///
/// Errors: the rows that failed, each with its mode; cases of f16 are left out where the adapter has no f16.
pub fn check(cases: &[Case]) -> Result<(), Failures> {
    let mut found = Failures {
        rows: 0,
        failures: Vec::new(),
    };
    for (mode, options) in modes() {
        let device = match Device::open(options) {
            Ok(device) => device,
            Err(error) => {
                found.failures.push(format!("{mode}: {error}"));
                continue;
            }
        };
        for case in cases {
            found.rows += 1;
            if let Outcome::Failed(text) = run(&device, case, None) {
                found
                    .failures
                    .push(format!("{mode}: {}: {text}", case.name()));
            }
        }
    }
    if found.failures.is_empty() {
        return Ok(());
    }
    Err(found)
}
