//! The three file formats, each to rows of texts and label with the line they came from.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::Columns;

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
pub fn read_rows(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
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
    if rows.is_empty() {
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

fn read_utf8(path: &Path) -> Result<String> {
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            bail!(
                "{shown}: no such file; check the path (a relative path starts at the current folder)"
            )
        }
        Err(_) if path.is_dir() => bail!("{shown}: is a folder; give the path of a file in it"),
        Err(e) => bail!("{shown}: cannot be read: {e}; check the file's permissions"),
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("{shown}: the text is UTF-16; save the file as UTF-8");
    }
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        let bytes = e.as_bytes();
        let line = 1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count();
        anyhow!(
            "{shown}, line {line}: not UTF-8, byte 0x{:02x} at byte offset {offset}; save the file as UTF-8",
            bytes[offset]
        )
    })
}

/// The positions of the requested columns in a table with a header.
struct Places {
    count: usize,
    text: usize,
    text_pair: Option<usize>,
    label: Option<usize>,
}

impl Places {
    fn find(path: &Path, header: &[&str], columns: &Columns) -> Result<Places> {
        let header: Vec<&str> = header.iter().map(|name| name.trim()).collect();
        let find = |column: &str| {
            let mut hits = (0..header.len()).filter(|&i| header[i] == column);
            match (hits.next(), hits.next()) {
                (Some(_), Some(_)) => bail!(
                    "{}, line 1: column `{column}` is there twice; rename one of them",
                    path.display()
                ),
                (Some(i), None) => Ok(i),
                (None, _) => Err(no_column(path, 1, column, &header)),
            }
        };
        Ok(Places {
            count: header.len(),
            text: find(columns.text)?,
            text_pair: columns.text_pair.map(find).transpose()?,
            label: columns.label.map(find).transpose()?,
        })
    }

    fn row(&self, path: &Path, line: usize, cells: &[&str]) -> Result<Row> {
        if cells.len() != self.count {
            let fix = if cells.len() < self.count {
                "add the missing cells, even if empty"
            } else {
                "remove the surplus separators, or quote the cell in a .csv"
            };
            bail!(
                "{}, line {line}: expected {} columns as in the header, found {}; {fix}",
                path.display(),
                self.count,
                cells.len()
            );
        }
        let label = self.label.map_or("", |index| cells[index].trim());
        Ok(Row {
            line,
            text: cells[self.text].to_string(),
            text_pair: self.text_pair.map(|index| cells[index].to_string()),
            label: Label::Text(label.to_string()),
        })
    }
}

fn read_tsv(path: &Path, text: &str, columns: &Columns) -> Result<Vec<Row>> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
    let (_, header) = lines.next().unwrap_or((1, ""));
    let header: Vec<&str> = header.split('\t').collect();
    let places = Places::find(path, &header, columns)?;
    lines
        .map(|(line, row)| places.row(path, line, &row.split('\t').collect::<Vec<_>>()))
        .collect()
}

fn read_csv(path: &Path, text: &str, columns: &Columns) -> Result<Vec<Row>> {
    // The `csv` crate takes the end of the file for a closing quotation mark, so that one forgotten mark would
    // swallow all that follows. A last record of our own shows it: it must come out as it went in.
    const LAST: &str = "\u{1}end";
    let text = format!("{text}\r\n{LAST}");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut places: Option<Places> = None;
    let mut rows = Vec::new();
    let mut line = 1;
    for record in reader.records() {
        let record = record.map_err(|e| anyhow!("{}: not a CSV file: {e}", path.display()))?;
        if let Some(position) = record.position() {
            // A record's position is where the one before it ended, so line ends may still lie in between.
            let rest = text.get(position.byte() as usize..).unwrap_or("");
            let gap = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
            line = position.line() as usize + rest[..gap].matches('\n').count();
        }
        if record.len() == 1 && record.get(0) == Some(LAST) {
            return Ok(rows);
        }
        let cells: Vec<&str> = record.iter().collect();
        if cells.last().is_some_and(|cell| cell.ends_with(LAST)) {
            break;
        }
        match &places {
            None => places = Some(Places::find(path, &cells, columns)?),
            Some(places) => rows.push(places.row(path, line, &cells)?),
        }
    }
    bail!(
        "{}, line {line}: a quotation mark opened in this row is never closed; close it, or write a mark inside a \
         cell twice",
        path.display()
    )
}

fn read_jsonl(path: &Path, text: &str, columns: &Columns) -> Result<Vec<Row>> {
    let shown = path.display();
    if text.trim_start().starts_with('[') {
        bail!(
            "{shown}: holds a JSON array; write one JSON object a line instead (jq -c '.[]' does it)"
        );
    }
    let mut rows = Vec::new();
    for (line, json) in (1..).zip(text.lines()) {
        if json.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(json).map_err(|e| {
            // The parser counts lines within the one line it was given.
            let reason = e.to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason);
            anyhow!(
                "{shown}, line {line}, column {}: invalid JSON, {reason}; each line must be one JSON object",
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
    Ok(rows)
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
