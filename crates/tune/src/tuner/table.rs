//! Tables of tuned choices: a run's results become entries, and existing entries are tried at the start of a run.

use std::collections::BTreeMap;

use wgrad_runtime::variants::{Entry, Target, VariantTable, bucket, shader_hash};

use super::expr::{Scope, Value};
use super::job::{Job, Machine};
use super::session::{Report, Tuned};
use super::space::Space;

/// One entry for each tuned size. For wgrad's own kernels it names only the shader file that was chosen, so that
/// a change of another file does not invalidate the entry. Choices with negative or fractional values get no entry,
/// since a table holds constants of kernels. A default that was not compared with every choice gets none either:
/// without an entry the engine uses the default anyway, and a choice in another table has not lost against it. A size
/// without a winner gets none.
pub fn entries(job: &Job, report: &Report) -> Vec<Entry> {
    let machine = &report.head.machine;
    let beaten = |row: &&Tuned| row.best.values != row.default || row.exhausted || row.in_table;
    let won = report.tuned.iter().filter(|row| row.no_winner.is_none());
    let rows = won.filter(beaten).filter_map(|row| {
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

/// The index in `space` of the choice that `table` has for `job` at `problem`, if the engine would use it.
pub fn choice(
    table: &VariantTable,
    job: &Job,
    machine: &Machine,
    problem: &Scope,
    space: &Space,
) -> Option<usize> {
    let hash = job.hash();
    let current = |e: &&Entry| match e.files.is_empty() {
        true => job.files.is_empty() && e.hash == hash,
        false => {
            let ours = e.files.iter().all(|file| job.files.contains(file));
            ours && shader_hash(&e.files).as_ref() == Some(&e.hash)
        }
    };
    let mut ours = VariantTable::default();
    for entry in table.entries().iter().rev().filter(current) {
        ours.insert(entry.clone());
    }
    let most = |name: &str| match machine.facts.get(name) {
        Some(Value::Int(most)) => u64::try_from(*most).unwrap_or(0),
        _ => u64::MAX,
    };
    let target = Target {
        adapter: &machine.adapter,
        driver: &machine.driver,
        backend: &machine.backend,
        device_type: &machine.device_type,
        invocations: u32::try_from(most("max_invocations")).unwrap_or(u32::MAX),
        workgroup_bytes: most("max_workgroup_bytes"),
    };
    let found = ours.lookup(&job.name, &sizes(problem), &target)?;
    let file = |name: &str| job.files.iter().position(|file| file == name);
    let mut values = Scope::new();
    for (name, all) in &space.parameters {
        let given = match (name.as_str(), found.file().and_then(file)) {
            ("KERNEL", Some(at)) => at as u32,
            _ => found.get(name)?,
        };
        let same = |value: &&Value| number(value) == Some(given);
        values.insert(name.clone(), *all.iter().find(same)?);
    }
    space.locate(&values)
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
    values
        .iter()
        .map(|(name, value)| Some((name.clone(), number(value)?)))
        .collect()
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Bool(on) => Some(u32::from(*on)),
        Value::Int(n) => u32::try_from(*n).ok(),
        Value::Float(_) => None,
    }
}
