//! Labels that are numbers, and labels that a model knows.

use super::*;

#[test]
fn each_number_is_one_class_however_it_is_written() {
    for (name, text, names, classes) in [
        (
            "a.csv",
            "text,label\na,1\nb,1.0\nc,0\n",
            vec!["0", "1"],
            vec![1, 1, 0],
        ),
        (
            "a.tsv",
            "text\tlabel\na\t01\nb\t1\nc\t+1\nd\t-0\ne\t0\n",
            vec!["0", "1"],
            vec![1, 1, 1, 0, 0],
        ),
        (
            "a.jsonl",
            "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":\"1\"}\n{\"text\":\"c\",\"label\":1.0}\n{\"text\":\"d\",\"label\":10}",
            vec!["1", "10"],
            vec![0, 0, 0, 1],
        ),
        // Written in one way throughout, a label keeps its spelling.
        (
            "a.csv",
            "text,label\na,01\nb,02\n",
            vec!["01", "02"],
            vec![0, 1],
        ),
    ] {
        let data = table(name, text).unwrap();
        assert_eq!(data.label_names, names, "{text}");
        assert_eq!(data.labels, Labels::Classes(classes), "{text}");
    }
    // Beside words they may be codes.
    let line = error("a.csv", "text,label\na,01\nb,1\nc,x\n");
    assert!(line.contains("`01`") && line.contains("`1`"), "{line}");
}

#[test]
fn known_numbers_are_found_in_other_spellings() {
    let dir = test_dir("data");
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "text,label\na,1.0\nb,0\n").unwrap();
    let known = ["0".to_owned(), "1".to_owned()];
    let options = LabelOptions {
        problem_type: Some(ProblemType::SingleLabel),
        known: Some(&known),
        ..LabelOptions::default()
    };
    let data = read_table(&path, &COLUMNS, &options).unwrap();
    assert_eq!(data.labels, Labels::Classes(vec![1, 0]));
}

#[test]
fn a_gap_among_decimal_numbers_is_named() {
    let line = error("a.csv", "text,label\na,0.5\nb,nan\n");
    assert!(line.contains("line 3") && line.contains("`nan`"), "{line}");
    let line = error("a.csv", "text,label\na,0.5\nb,\n");
    assert!(
        line.contains("line 3") && line.contains("empty label"),
        "{line}"
    );
}

#[test]
fn thousands_of_classes_are_questioned() {
    let rows = |count: usize, classes: usize| {
        let rows = (0..count).map(|i| format!("t,c{}\n", i % classes));
        let text = format!("text,label\n{}", rows.collect::<String>());
        table("a.csv", text).unwrap()
    };
    for (set, questioned) in [
        (rows(4000, 2000), true),
        (rows(300, 200), true),
        (rows(300, 100), false),
        (rows(30, 20), false),
    ] {
        let refused = set.check_for_training("a.csv", "label", false);
        assert_eq!(refused.is_err(), questioned);
        if let Err(error) = refused {
            let line = error.to_string();
            let count = set.label_names.len();
            assert!(
                line.contains(&format!("{count} classes in {} rows", set.len())),
                "{line}"
            );
            assert!(line.contains("is `label` the label column"), "{line}");
        }
        set.check_for_training("a.csv", "label", true).unwrap();
    }
}

/// The labels of a table for a model that knows `model`, with or without a head for them.
fn for_model(labels: &[&str], model: &[&str], keep_unseen: bool) -> TextDataset {
    let dir = test_dir("data");
    let path = dir.path().join("a.tsv");
    let rows: String = labels.iter().map(|label| format!("t\t{label}\n")).collect();
    std::fs::write(&path, format!("text\tlabel\n{rows}")).unwrap();
    let preferred: Vec<String> = model.iter().map(|label| (*label).to_owned()).collect();
    let options = LabelOptions {
        preferred: &preferred,
        keep_unseen,
        ..LabelOptions::default()
    };
    read_table(&path, &COLUMNS, &options).unwrap()
}

#[test]
fn a_models_labels_are_matched_by_name() {
    for (labels, model, head, names) in [
        (
            vec!["neg", "pos"],
            vec!["pos", "neg"],
            true,
            vec!["pos", "neg"],
        ),
        // In another case, as in transformers' run_glue; the table's spelling stays.
        (
            vec!["neg", "pos"],
            vec!["POS", "NEG"],
            true,
            vec!["pos", "neg"],
        ),
        (
            vec!["0", "1"],
            vec!["LABEL_0", "LABEL_1"],
            true,
            vec!["0", "1"],
        ),
        // A label without a row stays if the model has an output for it.
        (
            vec!["c", "a"],
            vec!["a", "b", "c"],
            true,
            vec!["a", "b", "c"],
        ),
        (vec!["c", "a"], vec!["a", "b", "c"], false, vec!["a", "c"]),
        // One that the model does not know: the table decides.
        (vec!["b", "new"], vec!["b", "a"], true, vec!["b", "new"]),
    ] {
        let data = for_model(&labels, &model, head);
        assert_eq!(data.label_names, names, "{labels:?} of {model:?}");
        let label = |class: usize| labels.iter().position(|label| *label == names[class]);
        let Labels::Classes(classes) = data.labels else {
            panic!("classes")
        };
        for (row, class) in classes.iter().enumerate() {
            assert_eq!(label(*class as usize), Some(row));
        }
    }
    // Numbers that are names of the model's labels are classes.
    let stars = for_model(&["0.5", "1.0"], &["1.0", "0.5"], true);
    assert_eq!(stars.labels, Labels::Classes(vec![1, 0]));
    let values = for_model(&["0.5", "1.0"], &["1.0", "0.5"], false);
    assert_eq!(values.labels, Labels::Values(vec![0.5, 1.0]));
}
