//! Kernel Tuner's T1 input (the "tuning format" of TuningSchema) turned into a spec and back, as far as it maps.
//!
//! T1 describes CUDA, OpenCL and Vulkan kernels. The user writes the WGSL, with the names that T1 gives. Parts without
//! a counterpart are listed at the head of an imported spec, and printed when a spec is exported.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

mod export;
mod import;
mod values;

pub use export::export;
pub use import::import;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct T1 {
    #[serde(default)]
    general: Json,
    configuration_space: ConfigurationSpace,
    kernel_specification: KernelSpecification,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationSpace {
    tuning_parameters: Vec<Parameter>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    #[serde(default, rename = "Type")]
    ty: String,
    values: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Json>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    #[serde(default)]
    parameters: Vec<String>,
    expression: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct KernelSpecification {
    kernel_name: String,
    #[serde(default)]
    kernel_file: String,
    #[serde(default)]
    global_size_type: String,
    #[serde(default)]
    language: String,
    global_size: Size,
    local_size: Size,
    /// A number, its text, or a list of either.
    #[serde(default)]
    problem_size: Json,
    #[serde(default)]
    arguments: Vec<Argument>,
    #[serde(default)]
    reference_arguments: Vec<ReferenceArgument>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    x: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    z: Option<Json>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Argument {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "Type")]
    ty: String,
    memory_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fill_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fill_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReferenceArgument {
    target_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_threshold: Option<f64>,
}

const AXES: [&str; 3] = ["X", "Y", "Z"];

#[cfg(test)]
mod tests;
