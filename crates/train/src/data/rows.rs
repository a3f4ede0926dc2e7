//! The three file formats, each to rows of text and label with the line they came from.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

/// One example of a table.
pub struct Row {
    /// Line in the file where the row begins, from 1.
    pub line: usize,
    /// The text as it stands.
    pub text: String,
    /// The trimmed label; empty when no label column was asked for.
    pub label: String,
}

/// Reads the rows of `path`; at least one, or an error of one line.
pub fn read_rows(path: &Path, text_column: &str, label_column: Option<&str>) -> Result<Vec<Row>> {
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
    let rows = read(path, text, text_column, label_column)?;
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

/// Where the wanted columns stand in a table with a header.
struct Columns {
    count: usize,
    text: usize,
    label: Option<(usize, String)>,
}

impl Columns {
    fn find(path: &Path, header: &[&str], text: &str, label: Option<&str>) -> Result<Columns> {
        let header: Vec<&str> = header.iter().map(|name| name.trim()).collect();
        let find = |wanted: &str| {
            let mut hits = (0..header.len()).filter(|&i| header[i] == wanted);
            match (hits.next(), hits.next()) {
                (Some(_), Some(_)) => bail!(
                    "{}, line 1: column `{wanted}` is there twice; rename one of them",
                    path.display()
                ),
                (Some(i), None) => Ok(i),
                (None, _) => Err(no_column(path, 1, wanted, &header)),
            }
        };
        Ok(Columns {
            count: header.len(),
            text: find(text)?,
            label: label
                .map(|name| Ok::<_, anyhow::Error>((find(name)?, name.to_string())))
                .transpose()?,
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
        let label = match &self.label {
            None => "",
            Some((index, name)) => match cells[*index].trim() {
                "" => return Err(empty_label(path, line, name)),
                label => label,
            },
        };
        Ok(Row {
            line,
            text: cells[self.text].to_string(),
            label: label.to_string(),
        })
    }
}

fn read_tsv(
    path: &Path,
    text: &str,
    text_column: &str,
    label_column: Option<&str>,
) -> Result<Vec<Row>> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
    let (_, header) = lines.next().unwrap_or((1, ""));
    let header: Vec<&str> = header.split('\t').collect();
    let columns = Columns::find(path, &header, text_column, label_column)?;
    lines
        .map(|(line, row)| columns.row(path, line, &row.split('\t').collect::<Vec<_>>()))
        .collect()
}

fn read_csv(
    path: &Path,
    text: &str,
    text_column: &str,
    label_column: Option<&str>,
) -> Result<Vec<Row>> {
    // The `csv` crate takes the end of the file for a closing quotation mark, so that one forgotten mark would
    // swallow all that follows. A last record of our own shows it: it must come out as it went in.
    const LAST: &str = "\u{1}end";
    let text = format!("{text}\r\n{LAST}");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut columns: Option<Columns> = None;
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
        match &columns {
            None => columns = Some(Columns::find(path, &cells, text_column, label_column)?),
            Some(columns) => rows.push(columns.row(path, line, &cells)?),
        }
    }
    bail!(
        "{}, line {line}: a quotation mark opened in this row is never closed; close it, or write a mark inside a \
         cell twice",
        path.display()
    )
}

fn read_jsonl(
    path: &Path,
    text: &str,
    text_column: &str,
    label_column: Option<&str>,
) -> Result<Vec<Row>> {
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
                "{shown}, line {line}: not a JSON object; each line must be one, as {{\"{text_column}\": \"…\"}}"
            );
        };
        let get = |name: &str| {
            object.get(name).ok_or_else(|| {
                let keys: Vec<&String> = object.keys().collect();
                no_column(path, line, name, &keys)
            })
        };
        let Value::String(text) = get(text_column)? else {
            bail!(
                "{shown}, line {line}: `{text_column}` is not a string; put the text in quotation marks"
            );
        };
        let label = match label_column {
            None => String::new(),
            Some(name) => match get(name)? {
                Value::String(label) => label.trim().to_string(),
                Value::Null => String::new(),
                label @ (Value::Number(_) | Value::Bool(_)) => label.to_string(),
                _ => bail!(
                    "{shown}, line {line}: label `{name}` must be a string, a number or a boolean"
                ),
            },
        };
        if let (Some(name), true) = (label_column, label.is_empty()) {
            return Err(empty_label(path, line, name));
        }
        rows.push(Row {
            line,
            text: text.clone(),
            label,
        });
    }
    Ok(rows)
}

fn no_column<S: AsRef<str>>(path: &Path, line: usize, wanted: &str, there: &[S]) -> anyhow::Error {
    anyhow!(
        "{}, line {line}: no column `{wanted}`; the columns there are {}: name one of these, or rename one",
        path.display(),
        quote_list(there)
    )
}

fn empty_label(path: &Path, line: usize, column: &str) -> anyhow::Error {
    anyhow!(
        "{}, line {line}: empty label in column `{column}`; fill it in or remove the row",
        path.display()
    )
}
