//! Training tasks, from files to a report.

pub mod causal_lm;
mod facts;
mod fit;
pub mod text_classification;
