//! Errors of the runtime.

/// An error of the runtime. Every variant names what was tried, what was given and what would fix it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no adapter, or none matches the requested name.
    #[error("{0}")]
    Adapter(String),
    /// A kernel's source could not be assembled, parsed or compiled. A defect of the kernel.
    #[error("kernel `{kernel}`: {message}")]
    Kernel {
        /// Its name.
        kernel: String,
        /// The mistake.
        message: String,
    },
    /// A kernel broke a rule of WGSL on an emulated device. A defect of the kernel.
    #[error("kernel `{kernel}`: {message}")]
    Fault {
        /// Its name.
        kernel: String,
        /// The rule, and the line that broke it.
        message: String,
    },
    /// A launch does not fit the kernel: a missing parameter, a wrong number of buffers, a limit.
    #[error("kernel `{kernel}`: {message}")]
    Launch {
        /// Its name, or the call's.
        kernel: String,
        /// What does not fit.
        message: String,
    },
    /// The device is out of memory, even after the pool gave back its free buffers.
    #[error(
        "out of device memory: {what} with {in_use} bytes in use and {pooled} pooled; use a smaller batch or a shorter max_seq_length"
    )]
    OutOfMemory {
        /// The request.
        what: String,
        /// Bytes held by live buffers.
        in_use: u64,
        /// Bytes that are free in the pool.
        pooled: u64,
    },
    /// A size is beyond what the adapter can hold or bind.
    #[error("{what}: {bytes} bytes is beyond this adapter's limit of {limit} bytes; {fix}")]
    Limit {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: u64,
        /// The largest size.
        limit: u64,
        /// How to avoid the error.
        fix: &'static str,
    },
    /// A tensor of one device was used on another device.
    #[error(
        "{what} lies on {there}, the work is on {here}; copy the values over: to_vec there, from_slice here"
    )]
    OtherDevice {
        /// The call or kernel, and the tensor.
        what: String,
        /// The device of the tensor.
        there: String,
        /// The device of the work.
        here: String,
    },
    /// The values were to be computed by a submit that failed. They stay lost until they are computed or uploaded
    /// again.
    #[error(
        "`{reader}` would read values that were lost when an earlier submit failed; compute or upload them again"
    )]
    ResultLost {
        /// The kernel or call that would read them.
        reader: String,
    },
    /// The device was lost. Open it again and continue from the last checkpoint.
    #[error(
        "the device was lost ({0}); open it again and resume from the last checkpoint; if it happens again, use a smaller batch"
    )]
    DeviceLost(String),
    /// wgpu refused a call. A defect of this library.
    #[error("wgpu refused a call while running [{recent}]: {message}")]
    Validation {
        /// The kernels recorded last.
        recent: String,
        /// wgpu's message.
        message: String,
    },
}

/// The result of the runtime's calls.
pub type Result<T> = std::result::Result<T, Error>;
