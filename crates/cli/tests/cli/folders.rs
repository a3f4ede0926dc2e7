//! Folders as other programs leave them: other heads, other orders of labels, leftovers, wrappers' names.

use serde_json::{Value, json};
use wgrad_models::io::safetensors::{SafeFile, write};

use crate::support::{Workplace, refuse, succeed, wgrad};

const TEXTS: [&str; 6] = [
    "great film",
    "dull plot",
    "a funny film",
    "awful",
    "good and great",
    "bad plot",
];

/// Changes keys of a folder's `config.json`; null takes one away.
fn configure(place: &Workplace, folder: &str, keys: &[(&str, Value)]) {
    let name = format!("{folder}/config.json");
    let mut config = place.json(&name);
    for (key, value) in keys {
        config[*key] = value.clone();
    }
    place.write(&name, config.to_string());
}

/// Writes a folder's tensors under other names.
fn rename(place: &Workplace, folder: &str, rename: impl Fn(&str) -> String) {
    let path = place.path(&format!("{folder}/model.safetensors"));
    let file = SafeFile::open(&path).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = file
        .names()
        .map(|name| {
            let shape = file.shape(name).unwrap().to_vec();
            (rename(name), shape, file.to_f32(name).unwrap())
        })
        .collect();
    write(&path, &tensors, &[]).unwrap();
}

/// The label and the logits of each of `TEXTS`.
fn predict(place: &Workplace, folder: &str) -> Vec<(String, Vec<f64>)> {
    let mut command = wgrad(&["predict", "--json", "--model_name_or_path"]);
    command.arg(place.path(folder));
    for text in TEXTS {
        command.args(["--text", text]);
    }
    let stdout = succeed(&mut command);
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .map(|line: Value| {
            let label = line["label"].as_str().unwrap().to_owned();
            (
                label,
                serde_json::from_value(line["logits"].clone()).unwrap(),
            )
        })
        .collect()
}

fn embed(place: &Workplace, folder: &str, texts: &[&str]) -> Vec<String> {
    let mut command = wgrad(&["embed", "--json", "--model_name_or_path"]);
    command.arg(place.path(folder));
    for text in texts {
        command.args(["--text", text]);
    }
    let lines = succeed(&mut command);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["embedding"].to_string()).collect()
}

/// Trains `model` on as good as nothing, with its own predictions as labels.
fn go_on(place: &Workplace, model: &str, labels: &[String]) -> String {
    let rows = TEXTS.iter().zip(labels);
    let rows: String = rows
        .map(|(text, label)| format!("{text}\t{label}\n"))
        .collect();
    let table = place.write("own.tsv", format!("text\tlabel\n{rows}"));
    let mut command = wgrad(&["finetune", "--max_steps", "1", "--learning_rate", "1e-12"]);
    command
        .args(["--no_checkpoints", "--model_name_or_path"])
        .arg(place.path(model));
    command
        .arg("--train_file")
        .arg(&table)
        .arg("--validation_file")
        .arg(&table);
    command.arg("--output_dir").arg(place.path("on"));
    succeed(&mut command)
}

#[test]
fn going_on_matches_labels_by_name() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "40", "--learning_rate", "3e-3"]));
    for names in [
        ["positive", "negative"],
        ["Negative", "POSITIVE"],
        ["LABEL_0", "LABEL_1"],
    ] {
        configure(
            &place,
            "out",
            &[("id2label", json!({"0": names[0], "1": names[1]}))],
        );
        let before = predict(&place, "out");
        let labels: Vec<String> = before
            .iter()
            .map(|(label, _)| label.to_lowercase().replace("label_", ""))
            .collect();
        let stdout = go_on(&place, "out", &labels);
        assert!(
            stdout.contains("validation accuracy: 1.0000"),
            "{names:?}: {stdout}"
        );
        for ((_, a), (_, b)) in before.iter().zip(predict(&place, "on")) {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4),
                "{names:?}"
            );
        }
    }
    // A third label keeps the two rows that are known, and names that are all others none.
    configure(&place, "out", &[("id2label", json!({"0": "x", "1": "y"}))]);
    let labels = ["y", "x", "z", "x", "y", "x"].map(str::to_owned);
    let stdout = go_on(&place, "out", &labels);
    assert!(
        stdout.contains("`x`, `y` go on from the model; `z` start anew"),
        "{stdout}"
    );
    let (old, new) = (predict(&place, "out"), predict(&place, "on"));
    for ((_, a), (_, b)) in old.iter().zip(&new) {
        assert_eq!(b.len(), 3);
        assert!((a[0] - b[0]).abs() < 1e-4 && (a[1] - b[1]).abs() < 1e-4);
    }
    let labels = ["p", "q", "p", "q", "p", "q"].map(str::to_owned);
    let stdout = go_on(&place, "out", &labels);
    assert!(stdout.contains("the last layer starts anew"), "{stdout}");
}

#[test]
fn the_head_of_another_task_is_not_adopted() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "1"]));
    let labels = [
        "negative", "positive", "negative", "positive", "negative", "positive",
    ];
    let labels = labels.map(str::to_owned);
    let tagger = ("architectures", json!(["BertForTokenClassification"]));
    configure(&place, "out", &[tagger]);
    let stdout = go_on(&place, "out", &labels);
    assert!(
        stdout.contains("BertForTokenClassification); it is not used"),
        "{stdout}"
    );
    assert!(
        stdout.contains("made anew and trained: `classifier`"),
        "{stdout}"
    );
    // Without a pooler, a frozen encoder still trains a new one.
    rename(&place, "out", |name| {
        name.replace("bert.pooler", "bert.no_pooler")
    });
    let mut command = wgrad(&["finetune", "--max_steps", "1", "--freeze_encoder"]);
    for (flag, name) in [
        ("--model_name_or_path", "out"),
        ("--train_file", "train.tsv"),
        ("--output_dir", "frozen"),
        ("--save_gradients", "gradients.safetensors"),
    ] {
        command.arg(flag).arg(place.path(name));
    }
    let stdout = succeed(&mut command);
    assert!(stdout.contains("`pooler.dense`, `classifier`"), "{stdout}");
    assert!(
        stdout.contains("ignored: `bert.no_pooler.dense.bias`"),
        "{stdout}"
    );
    let trained = SafeFile::open(place.path("gradients.safetensors")).unwrap();
    let trained: Vec<&str> = trained.names().collect();
    assert!(trained.contains(&"bert.pooler.dense.weight"), "{trained:?}");
    assert_eq!(trained.len(), 4);
}

#[test]
fn wrapped_names_load_and_other_networks_are_told_by_their_tensors() {
    let place = Workplace::new();
    let expected = embed(&place, "model", &["great film"]);
    for wrapper in ["module.", "_orig_mod.", "model.bert.", "0.auto_model."] {
        place.copy_model("wrapped");
        rename(&place, "wrapped", |name| format!("{wrapper}{name}"));
        assert_eq!(
            embed(&place, "wrapped", &["great film"]),
            expected,
            "{wrapper}"
        );
    }
    place.copy_model("custom");
    for class in ["HF_ColBERT", "BertLMHeadModel", "LSGBertModel"] {
        configure(&place, "custom", &[("architectures", json!([class]))]);
        assert_eq!(
            embed(&place, "custom", &["great film"]),
            expected,
            "{class}"
        );
    }
    rename(&place, "custom", |name| {
        name.replace("position_embeddings", "alibi")
    });
    let mut command = wgrad(&["embed", "--text", "a", "--model_name_or_path"]);
    let line = refuse(command.arg(place.path("custom")));
    assert!(line.contains("position_embeddings.weight"), "{line}");
}

#[test]
fn leftovers_of_an_earlier_model_do_not_win() {
    let place = Workplace::new();
    for (name, content) in [
        ("out/tokenizer.json", "{}"),
        ("out/added_tokens.json", "{}"),
        ("out/modules.json", "[]"),
        ("out/adapter_config.json", "{}"),
        ("out/model.safetensors.index.json", "{}"),
        ("out/pytorch_model.bin", "pickle"),
        ("out/config.json", "{}"),
    ] {
        place.write(name, content);
    }
    let stdout = succeed(&mut place.finetune("out", &["--max_steps", "1"]));
    assert!(
        stdout.contains("modules.json: of an earlier model"),
        "{stdout}"
    );
    assert_eq!(predict(&place, "out").len(), TEXTS.len());
    assert_eq!(embed(&place, "out", &["great film"]).len(), 1);
    assert!(place.path("out/tokenizer.json.old").exists());
}

#[test]
fn a_sentence_transformers_folder_is_obeyed() {
    let place = Workplace::new();
    let plain = embed(&place, "model", &["GREAT film", "great film"]);
    assert_eq!(plain[0], plain[1]);
    let kind = |class: &str| format!("sentence_transformers.models.{class}");
    place.write(
        "model/modules.json",
        json!([
            {"type": kind("Transformer"), "path": ""},
            {"type": kind("Pooling"), "path": "1_Pooling"}
        ])
        .to_string(),
    );
    place.write("model/1_Pooling/config.json", r#"{"pooling_mode": "mean"}"#);
    place.write("model/tokenizer_config.json", r#"{"do_lower_case": false}"#);
    let cased = embed(&place, "model", &["GREAT film", "great film"]);
    assert_ne!(cased[0], cased[1]);
    place.write(
        "model/sentence_bert_config.json",
        r#"{"do_lower_case": true, "max_seq_length": 4}"#,
    );
    let lower = embed(
        &place,
        "model",
        &["GREAT film", "great film", "great film plot"],
    );
    assert_eq!(lower[0], lower[1]);
    assert_eq!(lower[1], cased[1]);
    // Four tokens: [CLS] great film [SEP].
    assert_eq!(lower[2], lower[1]);
    place.write(
        "model/config_sentence_transformers.json",
        r#"{"prompts": {"query": "great "}}"#,
    );
    let mut command = wgrad(&[
        "embed",
        "--json",
        "--text",
        "film",
        "--prompt_name",
        "query",
    ]);
    let stdout = succeed(command.arg("--model_name_or_path").arg(place.path("model")));
    let line: Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!(line["embedding"].to_string(), lower[1]);
}
