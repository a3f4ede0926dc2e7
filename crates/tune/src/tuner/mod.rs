pub mod expr;
pub mod spec;
pub mod wgsl;
