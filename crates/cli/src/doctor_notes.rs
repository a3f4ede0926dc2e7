//! What `wgrad doctor` says about an adapter besides the op matrix.

use anyhow::Result;
use serde_json::{Value, json};
use wgrad_runtime::Device;
use wgrad_tensor::cases::{SpecialValue, special_values};
use wgrad_tensor::ops::{attention, matmul};

/// Seconds of compilation and first launch from which on a kernel is named.
const SLOW: f64 = 2.0;
/// Kernels named at most.
const MOST: usize = 10;

/// Prints the adapter's name, its matrix units, and its special values, which it returns.
pub(crate) fn print_adapter(device: &Device) -> Result<Vec<SpecialValue>> {
    let description = device.adapter();
    let (backend, driver) = (&description.backend, &description.driver);
    println!("{} ({backend}, {driver})", description.name);
    if let Some(unit) = device.matrix_unit() {
        let found = |verdict: wgrad_runtime::SelfTest| match verdict {
            Ok(()) => "right".to_owned(),
            Err(why) => format!("not used unless named: {why}"),
        };
        println!(
            "matrix units {unit}: products {}, attention {}",
            found(matmul::cooperative_self_test(device)),
            found(attention::cooperative_self_test(device))
        );
    }
    if device.small_kernels() {
        println!("small kernels: this driver's compiler may take minutes for large ones");
    }
    let values = special_values(device)?;
    let other: Vec<String> = values
        .iter()
        .filter(|value| !value.agrees())
        .map(|value| format!("{} is {}", value.expression, value.here))
        .collect();
    match other.is_empty() {
        true => println!("NaN, infinities and denormals: as in PyTorch"),
        false => println!(
            "NaN, infinities and denormals: as in PyTorch, but {}",
            other.join(", ")
        ),
    }
    Ok(values)
}

/// The special values that differ from PyTorch's, for the JSON line.
pub(crate) fn as_json(values: &[SpecialValue]) -> Value {
    let other = values.iter().filter(|value| !value.agrees());
    let pairs = other.map(|value| (value.expression.to_owned(), json!(value.here.to_string())));
    Value::Object(pairs.collect())
}

/// Prints the kernels that compiled slowly, and returns the sum and the largest of all times.
pub(crate) fn print_compile_times(device: &Device) -> (f64, f64) {
    let times = device.compile_times();
    if times.is_empty() {
        return (0.0, 0.0);
    }
    let seconds = |time: &wgrad_runtime::CompileTime| time.time.as_secs_f64();
    let slow = times.iter().take_while(|time| seconds(time) >= SLOW);
    let (named, more) = (slow.clone().take(MOST), slow.count().saturating_sub(MOST));
    for time in named {
        let variant: String = time.variant.chars().take(90).collect();
        println!(
            "compiles slowly: {:.1} s for {} [{variant}]",
            seconds(time),
            time.name
        );
    }
    if more > 0 {
        println!("compiles slowly: {more} more");
    }
    let sum = times.iter().map(seconds).sum();
    let largest = times.first().map_or(0.0, seconds);
    println!(
        "{} kernels compiled and first launched in {sum:.1} s, the slowest in {largest:.1} s",
        times.len()
    );
    (sum, largest)
}
