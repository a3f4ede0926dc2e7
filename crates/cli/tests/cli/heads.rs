//! What `predict` makes of a head: as `config.json` says, and no head that is not all there.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wgrad_models::io::safetensors::{SafeFile, write};

use crate::support::{Workplace, refuse, succeed, wgrad};

fn predict(place: &Workplace, out: &str) -> std::process::Command {
    let mut command = wgrad(&["predict", "--text", "a good film", "--model_name_or_path"]);
    command.arg(place.path(out));
    command
}

/// Changes keys of `out/config.json`.
fn configure(place: &Workplace, out: &str, keys: &[(&str, Value)]) {
    let name = format!("{out}/config.json");
    let mut config = place.json(&name);
    for (key, value) in keys {
        config[*key] = value.clone();
    }
    place.write(&name, config.to_string());
}

#[test]
fn the_problem_type_says_what_logits_mean() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "1"]));
    let ask = |problem: &str| -> (Vec<f64>, BTreeMap<String, f64>) {
        configure(&place, "out", &[("problem_type", json!(problem))]);
        let stdout = succeed(predict(&place, "out").arg("--json"));
        let line: Value = serde_json::from_str(stdout.trim()).unwrap();
        let of_labels = serde_json::from_value(line["probabilities"].clone());
        let logits = serde_json::from_value(line["logits"].clone()).unwrap();
        (logits, of_labels.unwrap_or_default())
    };
    let (logits, one) = ask("single_label_classification");
    assert!((one.values().sum::<f64>() - 1.0).abs() < 1e-9, "{one:?}");
    let (_, several) = ask("multi_label_classification");
    for (logit, p) in logits.iter().zip(several.values()) {
        assert!(
            (p - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6,
            "{several:?}"
        );
    }
    assert!(ask("regression").1.is_empty());
    let stdout = succeed(&mut predict(&place, "out"));
    assert!(!stdout.contains('%'), "{stdout}");
    configure(&place, "out", &[("problem_type", json!("ranking"))]);
    let line = refuse(&mut predict(&place, "out"));
    assert!(line.contains("problem_type is \"ranking\""), "{line}");
}

#[test]
fn an_incomplete_head_is_refused() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "1"]));
    let tagger = ("architectures", json!(["BertForTokenClassification"]));
    configure(&place, "out", &[tagger]);
    let line = refuse(&mut predict(&place, "out"));
    assert!(line.contains("BertForTokenClassification"), "{line}");

    let right = ("architectures", json!(["BertForSequenceClassification"]));
    configure(&place, "out", &[right]);
    succeed(&mut predict(&place, "out"));
    let path = place.path("out/model.safetensors");
    let file = SafeFile::open(&path).unwrap();
    let names = file.names().filter(|name| !name.contains("pooler"));
    let rest: Vec<(String, Vec<usize>, Vec<f32>)> = names
        .map(|name| {
            let shape = file.shape(name).unwrap().to_vec();
            (name.to_owned(), shape, file.to_f32(name).unwrap())
        })
        .collect();
    write(&path, &rest, &[]).unwrap();
    let line = refuse(&mut predict(&place, "out"));
    assert!(line.contains("not all of it"), "{line}");
}

/// Where the tokenizer adds no special tokens an empty text has no token at all.
#[test]
fn texts_without_tokens_are_trained_on_and_classified() {
    let place = Workplace::new();
    let words = "[PAD] [UNK] a good bad film";
    let vocabulary: serde_json::Map<String, Value> = words
        .split(' ')
        .enumerate()
        .map(|(id, word)| (word.to_owned(), json!(id)))
        .collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    place.write("model/tokenizer.json", tokenizer.to_string());
    let rows = "text\tlabel\na good film\tx\n\"\"\ty\n...\tx\n\ty\n";
    for name in ["train.tsv", "valid.tsv"] {
        place.write(name, rows);
    }
    for frozen in [&[][..], &["--freeze_encoder"], &["--freeze_layers", "1"]] {
        let out = format!("out{}", frozen.concat());
        let mut command = place.finetune(&out, &["--max_steps", "2"]);
        command
            .arg("--validation_file")
            .arg(place.path("valid.tsv"));
        succeed(command.args(frozen));
        succeed(wgrad(&["predict", "--text", "", "--model_name_or_path"]).arg(place.path(&out)));
    }
}
