//! Errors of tensor operations.

/// An error that names the op, what it was given and what would fix it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The op refuses its inputs.
    #[error("{op}: {message}")]
    Op {
        /// The operation, by the name of its function.
        op: &'static str,
        /// What was given, and what would fix it.
        message: String,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] wgrad_runtime::Error),
}

impl Error {
    /// The error as one of `op`: if a kernel refuses its tensors, the op refuses them.
    pub(crate) fn called(self, op: &'static str) -> Self {
        match self {
            Error::Device(other @ wgrad_runtime::Error::OtherDevice { .. }) => {
                Error::op(op, other.to_string())
            }
            other => other,
        }
    }

    /// A refusal of `op`.
    pub fn op(op: &'static str, message: impl Into<String>) -> Self {
        Error::Op {
            op,
            message: message.into(),
        }
    }
}

/// The result of tensor operations.
pub type Result<T> = std::result::Result<T, Error>;
