//! The file formats in which weights come: safetensors, which is read and written, and GGUF, which is read.
//!
//! Every file is untrusted: a size found in a file is compared with what the file holds before memory
//! is taken for it, and pickles, which can run code, are never read.

pub mod gguf;
pub mod safetensors;
