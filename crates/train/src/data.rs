//! Labelled and unlabelled text tables: TSV, CSV and JSON Lines.
//!
//! The format follows the file's extension: `.tsv` and `.txt` are tab separated, `.csv` is comma separated
//! as RFC 4180 has it, `.jsonl` and `.json` hold one JSON object a line. Tab separated files are read raw:
//! a quotation mark there is an ordinary character, since snippets of prose often hold a lone one.
//! A byte order mark, CRLF line ends and blank lines are accepted (blank lines are skipped, in every format).

mod rows;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};

use rows::{Row, quote_list, read_rows};

/// Texts with a class each. `texts` and `labels` are equally long, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextDataset {
    /// The texts as they stand in the file, not trimmed; a text may be empty.
    pub texts: Vec<String>,
    /// Class of each text, an index into `label_names`.
    pub labels: Vec<u32>,
    /// Name of each class; its position is the class's index.
    pub label_names: Vec<String>,
}

impl TextDataset {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// True when there is no example.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Number of examples of each class, in the order of `label_names`; a label that has no name is not counted.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.label_names.len()];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// Reads a table of texts and labels.
///
/// Without `known_labels` the classes are those found in the file: sorted as numbers where every label is an
/// integer, else by their characters. With `known_labels` (those of the training data) they are exactly these, in
/// this order. Space around a label is dropped. JSON labels may be strings, numbers or booleans.
///
/// # Errors
/// One line naming the file, the line where there is one, and the fix: file missing, unreadable or empty, unknown
/// extension, no data rows, a column that does not exist, a row with too few or too many columns, an unclosed
/// quotation mark, text that is not UTF-8, invalid JSON, an empty label, a label not in `known_labels`.
pub fn read_table(
    path: impl AsRef<Path>,
    text_column: &str,
    label_column: &str,
    known_labels: Option<&[String]>,
) -> Result<TextDataset> {
    let path = path.as_ref();
    let rows = read_rows(path, text_column, Some(label_column))?;
    let label_names = match known_labels {
        Some(known) => known.to_vec(),
        None => sorted_label_names(&rows),
    };
    let index: HashMap<&str, u32> = label_names
        .iter()
        .zip(0u32..)
        .map(|(name, i)| (name.as_str(), i))
        .collect();
    let mut texts = Vec::with_capacity(rows.len());
    let mut labels = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(&label) = index.get(row.label.as_str()) else {
            bail!(
                "{}, line {}: unknown label `{}` in column `{label_column}`; known labels are {}: correct the label, \
                 or train on data that holds it",
                path.display(),
                row.line,
                row.label,
                quote_list(&label_names)
            );
        };
        labels.push(label);
    }
    texts.extend(rows.into_iter().map(|row| row.text));
    Ok(TextDataset {
        texts,
        labels,
        label_names,
    })
}

/// Reads only the texts of a table, as for prediction; other columns may be there and are ignored.
///
/// # Errors
/// As [`read_table`], labels aside.
pub fn read_texts(path: impl AsRef<Path>, text_column: &str) -> Result<Vec<String>> {
    let rows = read_rows(path.as_ref(), text_column, None)?;
    Ok(rows.into_iter().map(|row| row.text).collect())
}

/// Refuses training data in which fewer than two classes have examples.
///
/// # Errors
/// Names `path`, the class that is there and the fix.
pub fn require_two_classes(data: &TextDataset, path: impl AsRef<Path>) -> Result<()> {
    let counts = data.class_counts();
    let present: Vec<&String> = data
        .label_names
        .iter()
        .zip(&counts)
        .filter(|&(_, &count)| count > 0)
        .map(|(name, _)| name)
        .collect();
    let path = path.as_ref().display();
    match present.as_slice() {
        [] => bail!("{path}: no examples; training needs at least two classes"),
        [only] => bail!(
            "{path}: only one class, every one of the {} rows is labelled `{only}`; training needs at least two \
             classes: check the label column and how the file was filtered",
            data.len()
        ),
        _ => Ok(()),
    }
}

fn sorted_label_names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut pairs: Vec<(i64, String)> = numbers.into_iter().zip(names).collect();
        pairs.sort_unstable();
        return pairs.into_iter().map(|(_, name)| name).collect();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tests::test_dir;

    fn table(name: &str, bytes: impl AsRef<[u8]>) -> Result<TextDataset> {
        let dir = test_dir("data");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes)?;
        read_table(&path, "text", "label", None)
    }

    fn error(name: &str, bytes: impl AsRef<[u8]>) -> String {
        let message = format!("{:#}", table(name, bytes).unwrap_err());
        assert!(!message.contains('\n'), "more than one line: {message}");
        assert!(message.contains(name), "does not name the file: {message}");
        message
    }

    #[test]
    fn tsv_keeps_quotes_and_accepts_bom_crlf_and_blank_lines() {
        let data = table(
            "a.tsv",
            "\u{feff}id\ttext\tlabel\r\n1\ta \"lone quote\tpos\r\n\r\n2\t  spaces kept \t neg \r\n\r\n\r\n",
        )
        .unwrap();
        assert_eq!(data.texts, ["a \"lone quote", "  spaces kept "]);
        assert_eq!(data.label_names, ["neg", "pos"]);
        assert_eq!(data.labels, [1, 0]);
        assert_eq!(data.class_counts(), [1, 1]);
    }

    #[test]
    fn csv_is_rfc_4180() {
        let data = table(
            "a.csv",
            "\u{feff}label,text\r\n1,\"a, \"\"b\"\"\nsecond line\"\r\n0,plain\r\n",
        )
        .unwrap();
        assert_eq!(data.texts, ["a, \"b\"\nsecond line", "plain"]);
        assert_eq!(data.labels, [1, 0]);
    }

    #[test]
    fn jsonl_labels_may_be_strings_numbers_and_booleans() {
        let data = table(
            "a.jsonl",
            "{\"text\":\"x\",\"label\":10}\r\n{\"text\":\"y\",\"label\":\"9\"}\n\n",
        )
        .unwrap();
        assert_eq!(data.label_names, ["9", "10"]);
        assert_eq!(data.labels, [1, 0]);
        let data = table(
            "a.json",
            "{\"text\":\"x\",\"label\":true}\n{\"text\":\"\",\"label\":false}",
        )
        .unwrap();
        assert_eq!(data.label_names, ["false", "true"]);
        assert_eq!(data.texts, ["x", ""]);
    }

    #[test]
    fn labels_sort_as_numbers_only_when_all_are_integers() {
        let numbers = table("a.tsv", "text\tlabel\na\t10\nb\t-1\nc\t2\n").unwrap();
        assert_eq!(numbers.label_names, ["-1", "2", "10"]);
        let words = table("a.tsv", "text\tlabel\na\t10\nb\tx\nc\t2\n").unwrap();
        assert_eq!(words.label_names, ["10", "2", "x"]);
    }

    #[test]
    fn known_labels_fix_the_order_and_refuse_others() {
        let dir = test_dir("data");
        let path = dir.path().join("a.tsv");
        let known = ["pos".to_string(), "neg".to_string()];
        std::fs::write(&path, "text\tlabel\na\tneg\n").unwrap();
        let data = read_table(&path, "text", "label", Some(&known)).unwrap();
        assert_eq!(data.labels, [1]);
        assert_eq!(data.label_names, known);
        std::fs::write(&path, "text\tlabel\na\tneg\nb\tneutral\n").unwrap();
        let message = read_table(&path, "text", "label", Some(&known))
            .unwrap_err()
            .to_string();
        for part in ["line 3", "`neutral`", "`pos`, `neg`"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn missing_empty_and_header_only_files_are_named() {
        let message = read_table("no/such.tsv", "text", "label", None)
            .unwrap_err()
            .to_string();
        assert!(message.contains("no/such.tsv") && message.contains("no such file"));
        for name in ["a.tsv", "a.csv", "a.jsonl"] {
            assert!(error(name, "").contains("is empty"));
            assert!(error(name, "\u{feff}\r\n\n").contains("is empty"));
        }
        assert!(error("a.tsv", "text\tlabel\n").contains("only the header"));
        assert!(error("a.csv", "text,label\r\n\r\n").contains("only the header"));
        assert!(error("a.parquet", "x").contains(".tsv"));
    }

    #[test]
    fn a_missing_column_lists_those_there_are() {
        for (name, bytes) in [
            ("a.tsv", "Text\tlabel\nx\t1\n"),
            ("a.csv", "Text,label\nx,1\n"),
            ("a.jsonl", "{\"Text\":\"x\",\"label\":1}\n"),
        ] {
            let message = error(name, bytes);
            assert!(message.contains("no column `text`"), "{message}");
            assert!(message.contains("`Text`, `label`"), "{message}");
        }
        assert!(error("a.tsv", "text\ttext\tlabel\nx\ty\t1\n").contains("twice"));
    }

    #[test]
    fn ragged_rows_give_line_and_counts() {
        let short = error("a.tsv", "text\tlabel\nx\t1\n\nonly text\n");
        assert!(
            short.contains("line 4") && short.contains("expected 2") && short.contains("found 1")
        );
        let long = error("a.tsv", "text\tlabel\nx\ty\t1\n");
        assert!(long.contains("line 2") && long.contains("found 3"));
        let csv = error("a.csv", "text,label\r\n\"two\r\nlines\",1\r\n\r\nx\r\n");
        assert!(csv.contains("line 5") && csv.contains("found 1"), "{csv}");
    }

    #[test]
    fn an_unclosed_csv_quote_does_not_swallow_the_file() {
        let message = error("a.csv", "text,label\na,1\n\"open,0\nb,1\n");
        assert!(
            message.contains("line 3") && message.contains("quotation mark"),
            "{message}"
        );
    }

    #[test]
    fn bad_bytes_json_and_labels_give_the_line() {
        let message = error("a.tsv", b"text\tlabel\nx\t1\nab\xff\t1\n");
        assert!(
            message.contains("line 3") && message.contains("byte offset 17"),
            "{message}"
        );
        assert!(error("a.csv", b"\xff\xfet\0e\0").contains("UTF-16"));
        assert!(error("a.jsonl", "{\"text\":\"x\",\"label\":1}\n{\"text\":\n").contains("line 2"));
        assert!(
            error("a.json", "[{\"text\":\"x\",\"label\":1}]").contains("one JSON object a line")
        );
        assert!(error("a.jsonl", "{\"text\":5,\"label\":1}\n").contains("line 1"));
        for (name, bytes) in [
            ("a.tsv", "text\tlabel\nx\t1\ny\t \n"),
            ("a.csv", "text,label\nx,1\ny,\n"),
            (
                "a.jsonl",
                "{\"text\":\"x\",\"label\":1}\n\n{\"text\":\"x\",\"label\":null}\n",
            ),
        ] {
            let message = error(name, bytes);
            assert!(
                message.contains("line 3") && message.contains("empty label"),
                "{message}"
            );
        }
    }

    #[test]
    fn one_class_is_refused() {
        let one = table("a.tsv", "text\tlabel\na\tpos\nb\tpos\n").unwrap();
        let message = require_two_classes(&one, "a.tsv").unwrap_err().to_string();
        assert!(
            message.contains("a.tsv") && message.contains("`pos`"),
            "{message}"
        );
        let two = table("a.tsv", "text\tlabel\na\tpos\nb\tneg\n").unwrap();
        require_two_classes(&two, "a.tsv").unwrap();
    }

    #[test]
    fn texts_need_no_label_column() {
        let dir = test_dir("data");
        for (name, bytes) in [
            ("a.txt", "text\nfirst\nsecond \"\n"),
            ("a.csv", "id,text\n1,first\n2,\"second \"\"\"\n"),
            (
                "a.jsonl",
                "{\"text\":\"first\"}\n{\"text\":\"second \\\"\"}\n",
            ),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_texts(&path, "text").unwrap(), ["first", "second \""]);
        }
    }
}
