//! The WGSL kernels of wgrad, embedded. The files beside this crate's manifest are the source; their
//! name without `.wgsl` is the kernel's name everywhere else.

/// Every shader file: (name, text), sorted by name. Files under `common/` are for `#import` only.
pub const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The text of one shader file by its name, such as `softmax` or `common/reduce`.
pub fn source(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}
