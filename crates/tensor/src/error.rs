//! Errors of tensor operations.

/// An error that names the op, what it was given and what would fix it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The op refuses what it was given.
    #[error("{op}: {message}")]
    Op { op: &'static str, message: String },
    /// The device failed underneath.
    #[error(transparent)]
    Device(#[from] wgrad_runtime::Error),
}

impl Error {
    /// The same for whoever called `op`: what a kernel refuses of its tensors is the op's refusal.
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
