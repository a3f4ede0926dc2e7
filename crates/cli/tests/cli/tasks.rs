//! Numbers, several labels and pairs of texts, from the table to `predict`; and that accumulation changes nothing.

use serde_json::{Value, json};

use crate::support::{Random, Workplace, refuse, succeed, tensors, text, wgrad};

const GOOD: [&str; 4] = ["good", "great", "lovely", "funny"];
const BAD: [&str; 4] = ["bad", "dull", "awful", "boring"];
const PLAIN: [&str; 6] = ["the", "film", "movie", "was", "and", "plot"];

/// Plain words with so many good and bad ones among them.
fn sentence(random: &mut Random, good: usize, bad: usize) -> String {
    let mut words: Vec<&str> = (0..3).map(|_| PLAIN[random.below(PLAIN.len())]).collect();
    for (count, kind) in [(good, &GOOD), (bad, &BAD)] {
        for _ in 0..count {
            words.insert(random.below(words.len() + 1), kind[random.below(4)]);
        }
    }
    words.join(" ")
}

/// Trains on `train` with `valid` for evaluations and the test.
fn train(place: &Workplace, files: [&str; 2], more: &[&str]) -> String {
    let mut command = wgrad(&["finetune", "--max_steps", "120", "--learning_rate", "3e-3"]);
    command.args(["--dropout", "0", "--seed", "7", "--logging_steps", "20"]);
    let [train, valid] = files.map(|name| place.path(name));
    command.arg("--train_file").arg(train);
    command.arg("--validation_file").arg(&valid);
    command.arg("--test_file").arg(&valid);
    command.arg("--model_name_or_path").arg(place.path("model"));
    command.arg("--output_dir").arg(place.path("out"));
    succeed(command.args(more))
}

fn predict(place: &Workplace, more: &[&str]) -> Vec<Value> {
    let mut command = wgrad(&["predict", "--json", "--model_name_or_path"]);
    let stdout = succeed(command.arg(place.path("out")).args(more));
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The last evaluation in the log.
fn last_evaluation(place: &Workplace) -> Value {
    let log = text(place.bytes("out/log.jsonl"));
    let mut lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .rfind(|line: &Value| line.get("eval_loss").is_some())
        .unwrap()
}

#[test]
fn decimal_labels_are_learnt_as_numbers() {
    let place = Workplace::new();
    for (name, rows, seed) in [("train.csv", 80, 1), ("valid.csv", 40, 2)] {
        let mut random = Random(seed);
        let mut table = "text,score\n".to_owned();
        for _ in 0..rows {
            let good = random.below(4);
            let score = good as f64 / 2.0 - 0.5;
            table += &format!("{},{score:?}\n", sentence(&mut random, good, 3 - good));
        }
        place.write(name, table);
    }
    let flags = [
        "--label_column",
        "score",
        "--metric_for_best_model",
        "pearson",
    ];
    let stdout = train(&place, ["train.csv", "valid.csv"], &flags);
    assert!(stdout.contains("regression: 80 training"), "{stdout}");
    for line in ["validation pearson: ", "test spearmanr: ", "test mse: "] {
        assert!(stdout.contains(line), "{stdout}");
    }
    let evaluation = last_evaluation(&place);
    assert!(
        evaluation["eval_pearson"].as_f64() > Some(0.9),
        "{evaluation}"
    );
    // The loss of an evaluation is the mean squared error.
    let [loss, mse] = ["eval_loss", "eval_mse"].map(|key| evaluation[key].as_f64().unwrap());
    assert!((loss - mse).abs() < 1e-9, "{evaluation}");
    let config = place.json("out/config.json");
    assert_eq!(config["problem_type"], "regression");
    assert_eq!(config["id2label"], json!({"0": "LABEL_0"}));
    assert_eq!(
        place.json("out/results.json")["metric_for_best_model"],
        "pearson"
    );
    assert!(place.json("out/results.json")["test_pearson"].as_f64() > Some(0.9));
    let lines = predict(
        &place,
        &["--text", "good great film", "--text", "bad dull film"],
    );
    let value = |at: usize| lines[at]["value"].as_f64().unwrap();
    assert!(value(0) > value(1) + 0.3, "{lines:?}");
    assert!(lines[0].get("label").is_none() && lines[0].get("probabilities").is_none());

    // A model that says regression stays one, also where the labels are whole numbers.
    place.write(
        "whole.tsv",
        "text\tlabel\ngood film\t2\nbad film\t0\ndull plot\t0\n",
    );
    let mut command = wgrad(&["finetune", "--max_steps", "1", "--no_checkpoints"]);
    command.arg("--train_file").arg(place.path("whole.tsv"));
    command.arg("--model_name_or_path").arg(place.path("out"));
    command.arg("--output_dir").arg(place.path("again"));
    let stdout = succeed(&mut command);
    assert!(stdout.contains("regression: 3 training"), "{stdout}");
    assert_eq!(
        place.json("again/config.json")["problem_type"],
        "regression"
    );
}

#[test]
fn any_number_of_labels_may_hold() {
    let place = Workplace::new();
    for (name, rows, seed) in [("train.jsonl", 80, 1), ("valid.jsonl", 40, 2)] {
        let mut random = Random(seed);
        let mut table = String::new();
        for _ in 0..rows {
            let (good, bad) = (random.below(2), random.below(2));
            let mut labels = vec![];
            labels.extend((good == 1).then_some("praise"));
            labels.extend((bad == 1).then_some("blame"));
            let text = sentence(&mut random, 2 * good, 2 * bad);
            table += &format!("{}\n", json!({"text": text, "label": labels}));
        }
        place.write(name, table);
    }
    let stdout = train(&place, ["train.jsonl", "valid.jsonl"], &[]);
    assert!(
        stdout.contains("multi_label_classification: 80"),
        "{stdout}"
    );
    let evaluation = last_evaluation(&place);
    assert!(evaluation["eval_f1"].as_f64() > Some(0.9), "{evaluation}");
    assert_eq!(
        place.json("out/results.json")["metric_for_best_model"],
        "f1"
    );
    let config = place.json("out/config.json");
    assert_eq!(config["problem_type"], "multi_label_classification");
    assert_eq!(config["id2label"], json!({"0": "blame", "1": "praise"}));
    let ask = [
        "--text",
        "a great lovely film but dull and awful",
        "--text",
        "the film",
    ];
    let lines = predict(&place, &ask);
    assert_eq!(lines[0]["labels"], json!(["blame", "praise"]), "{lines:?}");
    assert_eq!(lines[1]["labels"], json!([]), "{lines:?}");
    let line = &lines[0]["probabilities"];
    assert!(line["blame"].as_f64().unwrap() + line["praise"].as_f64().unwrap() > 1.0);

    // The same from cells with another delimiter.
    place.write(
        "cells.tsv",
        "text\ttags\ngood film\tx|y\nbad film\t\ndull plot\ty\n",
    );
    let mut command = wgrad(&["finetune", "--max_steps", "1", "--no_checkpoints"]);
    command.args(["--label_column", "tags", "--label_delimiter", "|"]);
    command.args(["--problem_type", "multi_label_classification"]);
    command.arg("--train_file").arg(place.path("cells.tsv"));
    command.arg("--model_name_or_path").arg(place.path("model"));
    command.arg("--output_dir").arg(place.path("again"));
    succeed(&mut command);
    assert_eq!(
        place.json("again/results.json")["labels"],
        json!(["x", "y"])
    );
}

#[test]
fn pairs_of_texts_are_classified() {
    let place = Workplace::new();
    for (name, rows, seed) in [("train.tsv", 160, 1), ("valid.tsv", 40, 2)] {
        let mut random = Random(seed);
        let mut table = "premise\thypothesis\tlabel\n".to_owned();
        for _ in 0..rows {
            // The label is the second text's, whatever the first one says.
            let (first, second) = (random.below(2), random.below(2));
            let a = sentence(&mut random, 2 * first, 2 - 2 * first);
            let b = sentence(&mut random, 2 * second, 2 - 2 * second);
            table += &format!("{a}\t{b}\t{}\n", ["no", "yes"][second]);
        }
        place.write(name, table);
    }
    let columns = [
        "--text_column",
        "premise",
        "--text_pair_column",
        "hypothesis",
    ];
    train(&place, ["train.tsv", "valid.tsv"], &columns);
    let evaluation = last_evaluation(&place);
    assert!(
        evaluation["eval_accuracy"].as_f64() > Some(0.9),
        "{evaluation}"
    );
    let ask = ["--text", "good great film", "--text_pair", "bad awful film"];
    let other = ["--text", "bad awful film", "--text_pair", "good great film"];
    let [a, b] = [ask, other].map(|ask| predict(&place, &ask).remove(0));
    assert_eq!((&a["label"], &b["label"]), (&json!("no"), &json!("yes")));
    assert_eq!(a["text_pair"], "bad awful film");
    let mut command = wgrad(&["predict", "--text", "x", "--text_pair", "y", "--text", "z"]);
    let line = refuse(command.arg("--model_name_or_path").arg(place.path("out")));
    assert!(line.contains("2 of --text and 1 of --text_pair"), "{line}");
    let mut command = wgrad(&[
        "predict",
        "--text_column",
        "premise",
        "--model_name_or_path",
    ]);
    command
        .arg(place.path("out"))
        .arg("--file")
        .arg(place.path("valid.tsv"));
    let stdout = succeed(command.args(["--text_pair_column", "hypothesis"]));
    assert_eq!(stdout.lines().count(), 40);
}

#[test]
fn accumulation_gives_the_gradients_of_the_big_batch() {
    let place = Workplace::new();
    let rows = "text\tlabel\ngood film\ta\nbad film with a very lovely story was the end\tb\ndull\tc\n\
                great plot and actor\tb\nboring story in the end\ta\nfunny\tc\n";
    place.write("six.tsv", rows);
    let gradients = |batch: &str, accumulation: &str| {
        let out = format!("out{batch}x{accumulation}");
        let mut command = wgrad(&["finetune", "--max_steps", "1", "--no_shuffle"]);
        command.args(["--dropout", "0", "--no_checkpoints"]);
        command.args(["--per_device_train_batch_size", batch]);
        command.args(["--gradient_accumulation_steps", accumulation]);
        for (flag, name) in [
            ("--model_name_or_path", "model"),
            ("--train_file", "six.tsv"),
            ("--output_dir", &out),
            ("--save_gradients", &format!("{out}.safetensors")),
        ] {
            command.arg(flag).arg(place.path(name));
        }
        succeed(&mut command);
        let loss = place.json(&format!("{out}/results.json"))["train_loss"].clone();
        (
            loss.as_f64().unwrap(),
            tensors(&place.path(&format!("{out}.safetensors"))),
        )
    };
    let (loss, whole) = gradients("6", "1");
    for (batch, accumulation) in [("4", "2"), ("2", "3"), ("5", "2")] {
        let (of_parts, parts) = gradients(batch, accumulation);
        assert!((of_parts - loss).abs() < 1e-5, "{of_parts} {loss}");
        for (name, values) in &whole {
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in values.iter().zip(&parts[name]) {
                // The bias of the keys has no effect, so its gradient is only rounding: hence the 1e-7.
                assert!(
                    (a - b).abs() <= 1e-5 * largest + 1e-7,
                    "{batch} {name}: {a} {b}"
                );
            }
        }
    }
}

#[test]
fn labels_that_are_likely_mistakes_are_refused() {
    let place = Workplace::new();
    let with = |name: &str, content: &str, more: &[&str]| {
        place.write(name, content);
        let mut command = wgrad(&["finetune", "--max_steps", "1"]);
        for (flag, name) in [
            ("--model_name_or_path", "model"),
            ("--train_file", name),
            ("--output_dir", "out"),
        ] {
            command.arg(flag).arg(place.path(name));
        }
        refuse(command.args(more))
    };
    let line = with("codes.csv", "text,label\na,01\nb,1\nc,x\n", &[]);
    assert!(line.contains("`01` and `1`"), "{line}");
    let ids: String = (0..50).map(|i| format!("{i},film,{}\n", i % 2)).collect();
    let ids = format!("id,text,label\n{ids}");
    let line = with("ids.csv", &ids, &["--label_column", "id"]);
    assert!(line.contains("50 classes, one row each; is `id`"), "{line}");
    let words = "text,label\na,good\nb,bad\n";
    let line = with("words.csv", words, &["--problem_type", "regression"]);
    assert!(
        line.contains("`good`") && line.contains("not a number"),
        "{line}"
    );
    let line = with("words.csv", words, &["--metric_for_best_model", "pearson"]);
    assert!(
        line.contains("`pearson`") && line.contains("accuracy"),
        "{line}"
    );
}
