//! Tasks: what a model is trained for, from files to a report.

pub mod text_classification;
