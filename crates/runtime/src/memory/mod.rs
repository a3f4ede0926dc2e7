//! Device memory: the pool of buffers and the handles to them, copies and fills as data, buffers laid side by side,
//! buffers seen as textures, staging. Nothing here depends on kernels or recordings.

pub(crate) mod buffer;
pub(crate) mod pack;
pub(crate) mod pool;
pub(crate) mod staging;
pub(crate) mod texture;
pub(crate) mod transfer;
pub(crate) mod upload;
pub(crate) mod versions;
pub(crate) mod watch;
