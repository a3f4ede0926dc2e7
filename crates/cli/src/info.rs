//! `wgrad info`: the adapters of this machine, and the measured limits of the chosen one.

use anyhow::Result;
use serde_json::{Map, Value, json};
use wgrad_runtime::{AdapterDescription, DeviceOptions, MatrixUnit, Peak, adapters};

use crate::args::AdapterArg;

/// List the adapters, mark the one that would be used, and measure it
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct InfoArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Print an array of objects, one an adapter
    #[arg(long)]
    json: bool,
    /// Do not measure copy bandwidth and multiply-add rates
    #[arg(long)]
    fast: bool,
}

/// Runs `wgrad info`.
pub fn run(args: InfoArgs) -> Result<()> {
    let device = args.adapter.open(DeviceOptions::default())?;
    let peak = (!args.fast).then(|| device.measure_peak()).transpose()?;
    let unit = device.matrix_unit();
    let selected = device.adapter().index;
    let all = adapters();
    if args.json {
        let objects: Vec<Value> = all
            .iter()
            .map(|a| object(a, a.index == selected, peak, unit))
            .collect();
        println!("{}", serde_json::to_string_pretty(&objects)?);
        return Ok(());
    }
    for adapter in &all {
        table(adapter, adapter.index == selected, peak, unit);
    }
    Ok(())
}

fn object(
    adapter: &AdapterDescription,
    selected: bool,
    peak: Option<Peak>,
    unit: Option<MatrixUnit>,
) -> Value {
    let limits: Map<String, Value> = adapter
        .limits
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let peak = peak.filter(|_| selected);
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    json!({
        "index": adapter.index,
        "name": adapter.name,
        "backend": adapter.backend,
        "device_type": adapter.device_type,
        "driver": adapter.driver,
        "features": adapter.features,
        "subgroup_min_size": adapter.subgroup_sizes.map(|s| s.0),
        "subgroup_max_size": adapter.subgroup_sizes.map(|s| s.1),
        "limits": limits,
        "selected": selected,
        "copy_gbps": peak.map(|p| rounded(p.copy_gbps)),
        "fma_gflops": peak.map(|p| rounded(p.fma_gflops)),
        "fma_f16_gflops": peak.and_then(|p| p.fma_f16_gflops).map(rounded),
        "matrix_unit": unit.filter(|_| selected).map(|unit| unit.to_string()),
        "matrix_gflops": peak.and_then(|p| p.matrix_gflops).map(rounded),
    })
}

fn table(
    adapter: &AdapterDescription,
    selected: bool,
    peak: Option<Peak>,
    unit: Option<MatrixUnit>,
) {
    let mark = if selected { "  <- selected" } else { "" };
    println!("{}: {}{mark}", adapter.index, adapter.name);
    let row = |name: &str, value: &str| println!("   {name:<10} {value}");
    row(
        "type",
        &format!("{}, {}", adapter.device_type, adapter.backend),
    );
    row("driver", &adapter.driver);
    row("features", &adapter.features.join(", "));
    let subgroups = match adapter.subgroup_sizes {
        Some((low, high)) if low == high => low.to_string(),
        Some((low, high)) => format!("{low} to {high}"),
        None => "none".to_owned(),
    };
    row("subgroups", &subgroups);
    for (i, (name, value)) in adapter.limits.iter().enumerate() {
        row(
            if i == 0 { "limits" } else { "" },
            &format!("{name} {}", grouped(*value)),
        );
    }
    if let Some(unit) = unit.filter(|_| selected) {
        row("matrices", &format!("{unit} in matrix units, sums in f32"));
    }
    let Some(peak) = peak.filter(|_| selected) else {
        return;
    };
    row(
        "copy",
        &format!("{:.1} GB/s, read and written", peak.copy_gbps),
    );
    row("fma f32", &format!("{:.1} GFLOP/s", peak.fma_gflops));
    if let Some(rate) = peak.fma_f16_gflops {
        row("fma f16", &format!("{rate:.1} GFLOP/s"));
    }
    if let Some(rate) = peak.matrix_gflops {
        row("matrices", &format!("{rate:.1} GFLOP/s"));
    }
}

/// `1234567` as `1,234,567`.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(
            ["7", "128", "65,535", "2,147,483,647"].map(String::from),
            [7, 128, 65_535, 2_147_483_647].map(grouped)
        );
    }
}
