//! The meaning of a label column's cells: classes, sets of classes, or numbers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::match_labels::{canonical_number, match_labels, number};
use super::rows::{Label, Row, quote_list};
use super::{LabelOptions, Labels, ProblemType};

/// Where the labels stand, for errors.
pub struct Place<'a> {
    pub path: &'a Path,
    pub column: &'a str,
}

/// Labels of rows, and the labels' names.
pub fn read_labels(
    place: &Place,
    rows: &[Row],
    options: &LabelOptions,
) -> Result<(Labels, Vec<String>)> {
    match options
        .problem_type
        .unwrap_or_else(|| detect(rows, options))
    {
        ProblemType::SingleLabel => classes(place, rows, options),
        ProblemType::MultiLabel => sets(place, rows, options),
        ProblemType::Regression => values(place, rows),
    }
}

/// What labels look like: lists, decimal numbers, or names. Whole numbers are names of classes, as in
/// `transformers`, where the type of the column decides. Where a number stands there in two spellings, `1` and `1.0`,
/// it names a class too, and so does a number that a label of the model is called.
fn detect(rows: &[Row], options: &LabelOptions) -> ProblemType {
    let mut decimal = false;
    let mut numbers = true;
    for row in rows {
        match &row.label {
            Label::List(_) => return ProblemType::MultiLabel,
            Label::Text(text) => {
                // A gap (empty, `nan`) makes no column of numbers one of names.
                numbers &= text.is_empty() || text.parse::<f64>().is_ok();
                decimal |= text.parse::<i64>().is_err() && number(text).is_some();
            }
        }
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| row.label.text()).collect();
    let of_model = || {
        let known = |name: &&str| options.preferred.iter().any(|label| label == name);
        options.keep_unseen && names.iter().all(known)
    };
    match numbers && decimal && twins(&names).is_none() && !of_model() {
        true => ProblemType::Regression,
        false => ProblemType::SingleLabel,
    }
}

/// Two spellings of the same number.
fn twins<'a>(names: &BTreeSet<&'a str>) -> Option<(&'a str, &'a str)> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    names.iter().find_map(|name| {
        let spelt = canonical_number(name)?;
        seen.insert(spelt, name).map(|earlier| (earlier, *name))
    })
}

fn classes(place: &Place, rows: &[Row], options: &LabelOptions) -> Result<(Labels, Vec<String>)> {
    let Place { path, column } = place;
    for row in rows {
        ensure!(
            matches!(row.label, Label::Text(_)),
            "{}, line {}: label `{column}` is a list; give a string, a number or a boolean, or train with problem_type \
             multi_label_classification",
            path.display(),
            row.line
        );
        row.label.require(place, row.line)?;
    }
    let mut found: BTreeSet<&str> = rows.iter().map(|row| row.label.text()).collect();
    // In a column of numbers each is one class, however it is written; beside words, `1` and `01` may be codes.
    let spelt: Vec<Option<String>> = rows
        .iter()
        .map(|row| canonical_number(row.label.text()))
        .collect();
    let unify = twins(&found).is_some() && spelt.iter().all(Option::is_some);
    if unify {
        found = spelt.iter().flatten().map(String::as_str).collect();
    }
    let names = names(place, &found, options)?;
    let index = index(&names);
    let labels = rows.iter().zip(&spelt).map(|(row, spelt)| {
        let label = match spelt {
            Some(number) if unify => number,
            _ => row.label.text(),
        };
        find(place, row.line, label, &index, &names)
    });
    Ok((Labels::Classes(labels.collect::<Result<_>>()?), names))
}

fn sets(place: &Place, rows: &[Row], options: &LabelOptions) -> Result<(Labels, Vec<String>)> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| split(&row.label, options.delimiter))
        .collect();
    let found: BTreeSet<&str> = cells.iter().flatten().map(String::as_str).collect();
    let names = names(place, &found, options)?;
    let index = index(&names);
    let mut labels = Vec::with_capacity(rows.len());
    for (row, cell) in rows.iter().zip(&cells) {
        let set: BTreeSet<u32> = cell
            .iter()
            .map(|label| find(place, row.line, label, &index, &names))
            .collect::<Result<_>>()?;
        labels.push(set.into_iter().collect());
    }
    Ok((Labels::Sets(labels), names))
}

/// The labels of a cell: a list as JSON has it, or parts between delimiters. An empty cell has none.
fn split(label: &Label, delimiter: &str) -> Vec<String> {
    let text = match label {
        Label::List(labels) => return labels.clone(),
        Label::Text(text) => text,
    };
    if text.starts_with('[')
        && let Ok(Value::Array(list)) = serde_json::from_str(text)
    {
        return list.iter().filter_map(super::rows::scalar).collect();
    }
    let delimiter = if delimiter.is_empty() { "," } else { delimiter };
    text.split(delimiter)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn values(place: &Place, rows: &[Row]) -> Result<(Labels, Vec<String>)> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        row.label.require(place, row.line)?;
        let Some(value) = number(row.label.text()) else {
            bail!(
                "{}, line {}: label `{}` in column `{}` is not a number, and problem_type regression needs one; correct \
                 it, or train classes with problem_type single_label_classification",
                place.path.display(),
                row.line,
                row.label.text(),
                place.column
            );
        };
        values.push(value);
    }
    Ok((Labels::Values(values), vec!["LABEL_0".to_owned()]))
}

/// The names of the classes in their order.
fn names(place: &Place, found: &BTreeSet<&str>, options: &LabelOptions) -> Result<Vec<String>> {
    if let Some(known) = options.known {
        return Ok(known.to_vec());
    }
    if let Some((one, other)) = twins(found) {
        bail!(
            "{}: the labels `{one}` and `{other}` in column `{}` are the same number in two spellings; write one of \
             them throughout, or train numbers with problem_type regression",
            place.path.display(),
            place.column
        );
    }
    if let Some(names) = as_the_model(found, options) {
        return Ok(names);
    }
    let mut names: Vec<String> = found.iter().map(|name| (*name).to_owned()).collect();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut pairs: Vec<(i64, String)> = numbers.into_iter().zip(names).collect();
        pairs.sort_unstable();
        names = pairs.into_iter().map(|(_, name)| name).collect();
    }
    Ok(names)
}

/// The labels in the model's order, spelt as in the table, if the model knows all of them.
fn as_the_model(found: &BTreeSet<&str>, options: &LabelOptions) -> Option<Vec<String>> {
    let found: Vec<&str> = found.iter().copied().collect();
    let matched: Option<Vec<usize>> = match_labels(options.preferred, &found)
        .into_iter()
        .collect();
    let matched = matched?;
    if found.len() != options.preferred.len() && !options.keep_unseen {
        return None;
    }
    let mut names = options.preferred.to_vec();
    for (label, at) in found.iter().zip(matched) {
        names[at] = (*label).to_owned();
    }
    Some(names)
}

fn index(names: &[String]) -> HashMap<&str, u32> {
    let names = names.iter().map(String::as_str);
    names.zip(0..).collect()
}

fn find(
    place: &Place,
    line: usize,
    label: &str,
    index: &HashMap<&str, u32>,
    names: &[String],
) -> Result<u32> {
    let by_value = || index.get(canonical_number(label)?.as_str());
    let Some(class) = index.get(label).or_else(by_value) else {
        bail!(
            "{}, line {line}: unknown label `{label}` in column `{}`; known labels are {}: correct the label, or train on \
             data that holds it",
            place.path.display(),
            place.column,
            quote_list(names)
        );
    };
    Ok(*class)
}

impl Label {
    /// The text of a single label; empty for a list.
    fn text(&self) -> &str {
        match self {
            Label::Text(text) => text,
            Label::List(_) => "",
        }
    }

    fn require(&self, place: &Place, line: usize) -> Result<()> {
        ensure!(
            !self.text().is_empty(),
            "{}, line {line}: empty label in column `{}`; fill it in or remove the row",
            place.path.display(),
            place.column
        );
        Ok(())
    }
}
