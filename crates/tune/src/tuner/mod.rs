//! Searches the best parameters of any WGSL kernel that has a spec in TOML (see [`spec::Spec`]).
//!
//! The path of a candidate: [`space`] lists the choices that the constraints allow, [`search`] picks one,
//! a [`worker`] process builds it ([`build`]), checks it and times it by turns with the best so far
//! ([`runner`]). A candidate that hangs or loses the device costs one worker.

pub mod build;
pub mod builtin;
pub mod data;
pub mod expr;
pub mod facts;
pub mod job;
pub mod outcome;
pub mod reference;
pub mod results;
pub mod runner;
pub mod search;
pub mod session;
pub mod space;
pub mod spec;
pub mod t1;
pub mod t4;
pub mod table;
pub mod template;
pub mod wgsl;
pub mod worker;
