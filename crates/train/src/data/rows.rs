//! The three file formats, each to rows of texts and label with the line they came from.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::encoding::read_utf8;
use super::{Columns, delimited};

/// One example of a table.
pub struct Row {
    /// Line in the file where the row begins, from 1.
    pub line: usize,
    /// The text, unchanged.
    pub text: String,
    /// The second text, unchanged, if that column was requested.
    pub text_pair: Option<String>,
    /// The label; an empty text when no label column was asked for.
    pub label: Label,
}

/// The rows of a table.
#[derive(Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    /// What a user should know of how they were read.
    pub notes: Vec<String>,
}

/// The content of a label cell.
pub enum Label {
    /// Trimmed; may be empty.
    Text(String),
    /// A list, in JSON.
    List(Vec<String>),
}

/// A JSON value that can be a label, as text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(label) => Some(label.trim().to_string()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Reads the rows of `path`; at least one, or an error of one line.
pub fn read_rows(path: &Path, columns: &Columns) -> Result<Rows> {
    let text = read_utf8(path)?;
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let read = match extension.as_str() {
        "tsv" | "txt" => read_tsv,
        "csv" => read_csv,
        "jsonl" | "json" => read_jsonl,
        _ => bail!(
            "{}: cannot tell the format by its name; name it .tsv (or .txt), .csv or .jsonl (or .json)",
            path.display()
        ),
    };
    // A byte order mark is not part of the first column's name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim().is_empty() {
        bail!(
            "{}: the file is empty; it needs at least one example",
            path.display()
        );
    }
    let rows = read(path, text, columns)?;
    if rows.rows.is_empty() {
        bail!(
            "{}: only the header is there; the file needs at least one row below it",
            path.display()
        );
    }
    Ok(rows)
}

/// Names in backquotes, separated by commas; long lists are cut.
pub fn quote_list<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 20;
    let mut list: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    if names.len() > SHOWN {
        list.push(format!("and {} more", names.len() - SHOWN));
    }
    list.join(", ")
}

/// The positions of the requested columns in a table with a header.
struct Places {
    count: usize,
    text: usize,
    text_pair: Option<usize>,
    label: Option<usize>,
}

impl Places {
    fn find(path: &Path, line: usize, header: &[&str], columns: &Columns) -> Result<Places> {
        let header: Vec<&str> = header.iter().map(|name| name.trim()).collect();
        let find = |column: &str| {
            let mut hits = (0..header.len()).filter(|&i| header[i] == column);
            match (hits.next(), hits.next()) {
                (Some(_), Some(_)) => bail!(
                    "{}, line {line}: column `{column}` is there twice; rename one of them",
                    path.display()
                ),
                (Some(i), None) => Ok(i),
                (None, _) => Err(no_column(path, line, column, &header)),
            }
        };
        Ok(Places {
            count: header.len(),
            text: find(columns.text)?,
            text_pair: columns.text_pair.map(find).transpose()?,
            label: columns.label.map(find).transpose()?,
        })
    }

    fn row(&self, path: &Path, record: delimited::Record) -> Result<Row> {
        let delimited::Record {
            line,
            mut cells,
            lone_return,
        } = record;
        if cells.len() != self.count {
            let fix = if lone_return && cells.len() < self.count {
                "a carriage return alone ends the row here; where it is text, put the cell into quotation marks"
            } else if cells.len() < self.count {
                "add the missing cells, even if empty"
            } else {
                "remove the surplus separators, or put the cell with a separator in it into quotation marks"
            };
            bail!(
                "{}, line {line}: expected {} columns as in the header, found {}; {fix}",
                path.display(),
                self.count,
                cells.len()
            );
        }
        let label = self
            .label
            .map_or("", |index| cells[index].trim())
            .to_owned();
        Ok(Row {
            line,
            // The same column may be asked for twice.
            text_pair: self.text_pair.map(|index| cells[index].clone()),
            text: std::mem::take(&mut cells[self.text]),
            label: Label::Text(label),
        })
    }
}

fn read_tsv(path: &Path, text: &str, columns: &Columns) -> Result<Rows> {
    read_delimited(path, text, columns, b'\t')
}

fn read_csv(path: &Path, text: &str, columns: &Columns) -> Result<Rows> {
    read_delimited(path, text, columns, b',')
}

fn read_delimited(path: &Path, text: &str, columns: &Columns, delimiter: u8) -> Result<Rows> {
    let shown = path.display();
    let read = delimited::read(text, delimiter);
    let read = read.map_err(|error| anyhow!("{shown}, {error}"))?;
    let mut notes = Vec::new();
    if let Some(first) = read.lone_quotes.first() {
        notes.push(format!(
            "{shown}: {} quotation marks that open a cell and close none are read as ordinary characters (the first in \
             line {first})",
            read.lone_quotes.len()
        ));
    }
    if read.lone_returns > 0 {
        notes.push(format!(
            "{shown}: {} rows end with a lone carriage return, which is read as a line end",
            read.lone_returns
        ));
    }
    let mut records = read.records.into_iter();
    let Some(header) = records.next() else {
        return Ok(Rows::default());
    };
    let names: Vec<&str> = header.cells.iter().map(String::as_str).collect();
    let places = Places::find(path, header.line, &names, columns).map_err(|error| {
        match wrong_format(text, columns.text, delimiter) {
            Some(reason) => anyhow!("{shown}, line {}: {reason}", header.line),
            None => error,
        }
    })?;
    let rows = records.map(|record| {
        if record.cells.iter().any(|cell| cell.starts_with('\u{feff}')) {
            bail!(
                "{shown}, line {}: a byte order mark stands within the table; were two files joined? Remove it, and the \
                 second header",
                record.line
            );
        }
        places.row(path, record)
    });
    Ok(Rows {
        rows: rows.collect::<Result<_>>()?,
        notes,
    })
}

/// Why a table has no text column, where its first line shows it: another delimiter, another format, a byte order
/// mark that was written twice.
fn wrong_format(text: &str, column: &str, delimiter: u8) -> Option<String> {
    let first = text.split(['\n', '\r']).find(|line| !line.is_empty())?;
    if first.starts_with('\u{feff}') {
        return Some(
            "the file begins with two byte order marks; save it with one or none".to_owned(),
        );
    }
    if first.trim_start().starts_with('{') {
        return Some("this is JSON, one object a line; name the file .jsonl".to_owned());
    }
    let (suffix, means) = match delimiter {
        b'\t' => (".tsv", "tabs"),
        _ => (".csv", "commas"),
    };
    for (other, name, fix) in [
        ('\t', "tabs", "name the file .tsv"),
        (',', "commas", "name the file .csv"),
        (
            ';',
            "semicolons (`;`)",
            "write commas and name it .csv, or tabs and .tsv",
        ),
        (
            '|',
            "bars (`|`)",
            "write commas and name it .csv, or tabs and .tsv",
        ),
    ] {
        let has = |cell: &str| cell.trim().trim_matches('"') == column;
        if other as u32 != u32::from(delimiter)
            && first.split(other).count() > 1
            && first.split(other).any(has)
        {
            return Some(format!(
                "the delimiter of the columns is not that of the name: they are separated by {name}, and {suffix} \
                 means {means}; {fix}"
            ));
        }
    }
    None
}

fn read_jsonl(path: &Path, text: &str, columns: &Columns) -> Result<Rows> {
    let shown = path.display();
    if text.trim_start().starts_with('[') {
        bail!(
            "{shown}: holds a JSON array; write one JSON object a line instead (jq -c '.[]' does it)"
        );
    }
    let mut rows = Vec::new();
    // Lone carriage returns end lines where nothing else does.
    let ends: &[char] = if text.contains('\n') {
        &['\n']
    } else {
        &['\r']
    };
    for (line, json) in (1..).zip(text.split(ends)) {
        if json.trim().is_empty() {
            continue;
        }
        if json.starts_with('\u{feff}') {
            bail!(
                "{shown}, line {line}: begins with a byte order mark; were two files joined? Remove it"
            );
        }
        let value: Value = serde_json::from_str(json).map_err(|e| {
            // The parser counts lines within the one line it was given.
            let reason = e.to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason);
            let table = line == 1
                && json
                    .split([',', '\t', ';'])
                    .any(|cell| cell.trim().trim_matches('"') == columns.text);
            let fix = match table {
                true => "this is a table with a header: name the file .csv or .tsv",
                false => "each line must be one JSON object",
            };
            anyhow!(
                "{shown}, line {line}, column {}: invalid JSON, {reason}; {fix}",
                e.column()
            )
        })?;
        let Value::Object(object) = value else {
            bail!(
                "{shown}, line {line}: not a JSON object; each line must be one, as {{\"{}\": \"…\"}}",
                columns.text
            );
        };
        let get = |name: &str| {
            object.get(name).ok_or_else(|| {
                let keys: Vec<&String> = object.keys().collect();
                no_column(path, line, name, &keys)
            })
        };
        let text = |name: &str| match get(name)? {
            Value::String(text) => Ok(text.clone()),
            _ => bail!(
                "{shown}, line {line}: `{name}` is not a string; put the text in quotation marks"
            ),
        };
        let label = match columns.label {
            None => Label::Text(String::new()),
            Some(name) => label(get(name)?).ok_or_else(|| {
                anyhow!(
                    "{shown}, line {line}: label `{name}` must be a string, a number, a boolean or a list of these"
                )
            })?,
        };
        rows.push(Row {
            line,
            text: text(columns.text)?,
            text_pair: columns.text_pair.map(text).transpose()?,
            label,
        });
    }
    Ok(Rows {
        rows,
        notes: Vec::new(),
    })
}

fn label(value: &Value) -> Option<Label> {
    match value {
        Value::Null => Some(Label::Text(String::new())),
        Value::Array(list) => Some(Label::List(list.iter().map(scalar).collect::<Option<_>>()?)),
        value => scalar(value).map(Label::Text),
    }
}

fn no_column<S: AsRef<str>>(path: &Path, line: usize, column: &str, there: &[S]) -> anyhow::Error {
    anyhow!(
        "{}, line {line}: no column `{column}`; the columns there are {}: name one of these, or rename one",
        path.display(),
        quote_list(there)
    )
}
