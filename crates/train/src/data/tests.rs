//! Tables, good and bad.

mod formats_tests;
mod spellings_tests;

use super::*;

const COLUMNS: Columns = Columns {
    text: "text",
    text_pair: None,
    label: Some("label"),
};
use crate::fs::tests::test_dir;

fn table(name: &str, bytes: impl AsRef<[u8]>) -> Result<TextDataset> {
    let dir = test_dir("data");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes)?;
    read_table(&path, &COLUMNS, &LabelOptions::default())
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
    assert_eq!(data.labels, Labels::Classes(vec![1, 0]));
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
    assert_eq!(data.labels, Labels::Classes(vec![1, 0]));
}

#[test]
fn jsonl_labels_may_be_strings_numbers_and_booleans() {
    let data = table(
        "a.jsonl",
        "{\"text\":\"x\",\"label\":10}\r\n{\"text\":\"y\",\"label\":\"9\"}\n\n",
    )
    .unwrap();
    assert_eq!(data.label_names, ["9", "10"]);
    assert_eq!(data.labels, Labels::Classes(vec![1, 0]));
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
    let options = LabelOptions {
        known: Some(&known),
        ..LabelOptions::default()
    };
    std::fs::write(&path, "text\tlabel\na\tneg\n").unwrap();
    let data = read_table(&path, &COLUMNS, &options).unwrap();
    assert_eq!(data.labels, Labels::Classes(vec![1]));
    assert_eq!(data.label_names, known);
    std::fs::write(&path, "text\tlabel\na\tneg\nb\tneutral\n").unwrap();
    let message = read_table(&path, &COLUMNS, &options)
        .unwrap_err()
        .to_string();
    for part in ["line 3", "`neutral`", "`pos`, `neg`"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn missing_empty_and_header_only_files_are_named() {
    let message = read_table("no/such.tsv", &COLUMNS, &LabelOptions::default())
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
    assert!(short.contains("line 4") && short.contains("expected 2") && short.contains("found 1"));
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
    assert!(error("a.json", "[{\"text\":\"x\",\"label\":1}]").contains("one JSON object a line"));
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
    let message = one
        .check_for_training("a.tsv", "label", false)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("a.tsv") && message.contains("`pos`"),
        "{message}"
    );
    let two = table("a.tsv", "text\tlabel\na\tpos\nb\tneg\n").unwrap();
    two.check_for_training("a.tsv", "label", false).unwrap();
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
        assert_eq!(
            read_texts(&path, "text", None).unwrap().texts,
            ["first", "second \""]
        );
    }
}

/// Whatever the labels look like; with a wish where there is one.
fn labels(name: &str, bytes: &str, problem_type: Option<ProblemType>) -> Result<TextDataset> {
    let dir = test_dir("data");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes)?;
    let options = LabelOptions {
        problem_type,
        ..LabelOptions::default()
    };
    read_table(&path, &COLUMNS, &options)
}

#[test]
fn decimal_numbers_are_values_and_whole_ones_classes() {
    let data = labels("a.csv", "text,label\na,0.5\nb,-2\nc,1e1\n", None).unwrap();
    assert_eq!(data.labels, Labels::Values(vec![0.5, -2.0, 10.0]));
    assert_eq!(data.label_names, ["LABEL_0"]);
    let data = labels("a.jsonl", "{\"text\":\"a\",\"label\":3.0}\n", None).unwrap();
    assert_eq!(data.labels, Labels::Values(vec![3.0]));
    for (text, classes) in [
        ("text,label\na,1\nb,2\n", vec![0, 1]),
        ("text,label\na,nan\nb,1\n", vec![1, 0]),
    ] {
        let data = labels("a.csv", text, None).unwrap();
        assert_eq!(data.labels, Labels::Classes(classes), "{text}");
    }
    let whole = labels(
        "a.csv",
        "text,label\na,1\nb,2\n",
        Some(ProblemType::Regression),
    );
    assert_eq!(whole.unwrap().labels, Labels::Values(vec![1.0, 2.0]));
    let words = labels(
        "a.csv",
        "text,label\na,1\nb,two\n",
        Some(ProblemType::Regression),
    );
    let line = words.unwrap_err().to_string();
    assert!(line.contains("line 3") && line.contains("`two`") && line.contains("single_label"));
}

#[test]
fn several_labels_are_a_list_or_stand_between_delimiters() {
    let json = "{\"text\":\"a\",\"label\":[\"x\",\"y\"]}\n{\"text\":\"b\",\"label\":[]}\n";
    let data = labels("a.jsonl", json, None).unwrap();
    assert_eq!(data.labels, Labels::Sets(vec![vec![0, 1], vec![]]));
    let cells = "text\tlabel\na\ty, x\nb\t\nc\t[\"z\", \"x\"]\n";
    let data = labels("a.tsv", cells, Some(ProblemType::MultiLabel)).unwrap();
    assert_eq!(
        data.labels,
        Labels::Sets(vec![vec![0, 1], vec![], vec![0, 2]])
    );
    assert_eq!(data.label_names, ["x", "y", "z"]);
    assert_eq!(data.class_counts(), [2, 1, 1]);
    let single = labels("a.jsonl", json, Some(ProblemType::SingleLabel));
    assert!(single.unwrap_err().to_string().contains("is a list"));
}

#[test]
fn a_class_for_every_row_is_refused() {
    let mut text = "id,text,label\n".to_owned();
    for i in 0..50 {
        text += &format!("{i},t,{}\n", i % 2);
    }
    let dir = test_dir("data");
    let path = dir.path().join("a.csv");
    std::fs::write(&path, text).unwrap();
    let ids = Columns {
        label: Some("id"),
        ..COLUMNS
    };
    let data = read_table(&path, &ids, &LabelOptions::default()).unwrap();
    let line = data
        .check_for_training(&path, "id", false)
        .unwrap_err()
        .to_string();
    assert!(
        line.contains("50 classes") && line.contains("is `id` the label"),
        "{line}"
    );
}

#[test]
fn the_models_order_of_the_same_labels_is_kept() {
    let dir = test_dir("data");
    let path = dir.path().join("a.tsv");
    std::fs::write(&path, "text\tlabel\na\tneg\nb\tpos\n").unwrap();
    let names = |preferred: &[&str]| {
        let preferred: Vec<String> = preferred.iter().map(|s| (*s).to_owned()).collect();
        let options = LabelOptions {
            preferred: &preferred,
            ..LabelOptions::default()
        };
        read_table(&path, &COLUMNS, &options).unwrap().label_names
    };
    assert_eq!(names(&["pos", "neg"]), ["pos", "neg"]);
    assert_eq!(names(&["pos", "neg", "other"]), ["neg", "pos"]);
}

#[test]
fn pairs_have_two_texts() {
    let dir = test_dir("data");
    for (name, bytes) in [
        ("a.tsv", "a\tb\tlabel\nx\ty\t1\n"),
        ("a.csv", "b,a,label\ny,x,1\n"),
        ("a.jsonl", "{\"a\":\"x\",\"b\":\"y\",\"label\":1}\n"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let columns = Columns {
            text: "a",
            text_pair: Some("b"),
            label: Some("label"),
        };
        let data = read_table(&path, &columns, &LabelOptions::default()).unwrap();
        assert_eq!(
            (data.texts, data.pairs),
            (vec!["x".to_owned()], Some(vec!["y".to_owned()]))
        );
    }
}
