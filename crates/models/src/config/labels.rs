//! The names of a head's labels.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Keys;

/// More labels than this are no label map.
const MAX: usize = 1 << 20;

/// The names of the labels, as `transformers` counts them: those of `id2label`, whatever `num_labels` says; without
/// it `num_labels` numbered names, or two. And what is wrong with the map, where something is: that is an error
/// only where a head is needed.
pub(super) fn labels(keys: &Keys) -> Result<(Vec<String>, Option<String>)> {
    let Some(value) = keys.get("id2label") else {
        let count = ["num_labels", "_num_labels"]
            .iter()
            .find_map(|key| Some((key, keys.get(key)?)));
        let count = match count {
            None => 2,
            Some((key, value)) => value
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count <= MAX)
                .with_context(|| {
                    format!("{key} is {value}; it must be a whole number from 1 to {MAX}")
                })?,
        };
        let problem = (count == 0).then(|| "num_labels is 0; a head needs a label".to_owned());
        return Ok(((0..count).map(numbered).collect(), problem));
    };
    let map = value
        .as_object()
        .filter(|map| map.len() <= MAX)
        .context("id2label must map \"0\", \"1\", … to label names")?;
    let mut names: BTreeMap<i64, &Value> = BTreeMap::new();
    for (key, name) in map {
        // Python's int() allows space around the digits.
        let Ok(id) = key.trim().parse() else {
            bail!("id2label has the key {key:?}; its keys must be whole numbers");
        };
        names.insert(id, name);
    }
    let mut problem = names
        .is_empty()
        .then(|| "id2label is empty; a head needs a label".to_owned());
    let mut labels = Vec::with_capacity(names.len());
    for i in 0..names.len() {
        let name = match names.get(&(i as i64)) {
            Some(Value::String(name)) => Some(name.clone()),
            Some(scalar @ (Value::Number(_) | Value::Bool(_))) => Some(scalar.to_string()),
            Some(other) => {
                problem.get_or_insert_with(|| {
                    format!("id2label names {i} {other}; a name must be a string")
                });
                None
            }
            None => {
                problem.get_or_insert_with(|| {
                    format!(
                        "id2label has {} entries but no name for \"{i}\"",
                        names.len()
                    )
                });
                None
            }
        };
        labels.push(name.unwrap_or_else(|| numbered(i)));
    }
    Ok((labels, problem))
}

/// The name that `transformers` gives a label without one.
fn numbered(i: usize) -> String {
    format!("LABEL_{i}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn read(map: Value) -> Result<(Vec<String>, Option<String>)> {
        let map: Map<String, Value> = map.as_object().unwrap().clone();
        labels(&Keys(&map))
    }

    /// As `PretrainedConfig` of `transformers` 5.24 reads them.
    #[test]
    fn counts_as_transformers_does() {
        for (map, names) in [
            (json!({}), vec!["LABEL_0", "LABEL_1"]),
            (json!({"num_labels": 1}), vec!["LABEL_0"]),
            (json!({"id2label": null}), vec!["LABEL_0", "LABEL_1"]),
            (
                json!({"label2id": {"neg": 0, "pos": 1}}),
                vec!["LABEL_0", "LABEL_1"],
            ),
            (
                json!({"id2label": {"1": "b", "0": "a"}, "num_labels": 3}),
                vec!["a", "b"],
            ),
            (json!({"id2label": {"0": 0, "1": true}}), vec!["0", "true"]),
            (json!({"id2label": {"0": "a", " 1": "a"}}), vec!["a", "a"]),
        ] {
            let (labels, problem) = read(map.clone()).unwrap();
            assert_eq!(labels, names, "{map}");
            assert_eq!(problem, None, "{map}");
        }
    }

    #[test]
    fn what_only_a_head_needs_is_no_error() {
        for (map, count, said) in [
            (
                json!({"id2label": {"0": "a", "2": "b"}}),
                2,
                "no name for \"1\"",
            ),
            (json!({"id2label": {}}), 0, "id2label is empty"),
            (json!({"id2label": {"0": null}}), 1, "id2label names 0 null"),
            (json!({"id2label": {"0": ["a"]}}), 1, "must be a string"),
            (json!({"num_labels": 0}), 0, "num_labels is 0"),
        ] {
            let (labels, problem) = read(map.clone()).unwrap();
            assert_eq!(labels.len(), count, "{map}");
            let problem = problem.unwrap();
            assert!(problem.contains(said), "{map}: {problem}");
        }
        // These fail in `transformers` too.
        for (map, said) in [
            (json!({"id2label": ["a", "b"]}), "must map"),
            (json!({"id2label": {"x": "a"}}), "key \"x\""),
            (json!({"num_labels": "2"}), "num_labels is \"2\""),
        ] {
            let line = read(map.clone()).unwrap_err().to_string();
            assert!(line.contains(said), "{map}: {line}");
        }
    }
}
