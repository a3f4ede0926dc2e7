//! Device memory: the pool of buffers, buffers laid side by side, buffers seen as textures.

pub(crate) mod pack;
pub(crate) mod pool;
pub(crate) mod texture;
