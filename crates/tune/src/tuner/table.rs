//! What a run found, as entries of a table of variants.

use std::collections::BTreeMap;

use wgrad_runtime::variants::{Entry, bucket, shader_hash};

use super::expr::{Scope, Value};
use super::job::Job;
use super::session::Report;

/// One entry a tuned size; of several shader files of ours it names the chosen one, so that a change of
/// another leaves it as it is. Choices with values that are no whole numbers from 0 on have none: a table is for
/// constants of kernels.
pub fn entries(job: &Job, report: &Report) -> Vec<Entry> {
    let machine = &report.head.machine;
    let rows = report.tuned.iter().filter_map(|row| {
        let mut values = whole(&row.best.values)?;
        let (files, hash) = match job.files.is_empty() {
            true => (Vec::new(), job.hash()),
            false => {
                let at = values.remove("KERNEL").unwrap_or(0) as usize;
                let chosen = vec![job.files.get(at)?.clone()];
                let hash = shader_hash(&chosen)?;
                (chosen, hash)
            }
        };
        Some(Entry {
            kernel: job.name.clone(),
            files,
            hash,
            adapter: machine.adapter.clone(),
            driver: machine.driver.clone(),
            backend: machine.backend.clone(),
            device_type: machine.device_type.clone(),
            bucket: bucket(&sizes(&row.sizes)),
            values,
            invocations: row.best.needs.invocations,
            workgroup_bytes: row.best.needs.workgroup_bytes,
            seconds: row.best_time.median,
            default_seconds: row.default_time.median.max(row.best_time.median),
        })
    });
    rows.collect()
}

fn sizes(scope: &Scope) -> Vec<(&str, u64)> {
    let int = |value: &Value| match value {
        Value::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    scope
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), int(value)?)))
        .collect()
}

fn whole(values: &Scope) -> Option<BTreeMap<String, u32>> {
    let of = |value: &Value| match value {
        Value::Bool(on) => Some(u32::from(*on)),
        Value::Int(n) => u32::try_from(*n).ok(),
        Value::Float(_) => None,
    };
    values
        .iter()
        .map(|(name, value)| Some((name.clone(), of(value)?)))
        .collect()
}
