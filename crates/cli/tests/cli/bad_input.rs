//! Every kind of bad input gives one line: what is wrong, where, and how to correct it.

use serde_json::{Value, json};
use wgrad_models::io::safetensors::write;

use crate::support::{Workplace, files_below, refuse, tensors, wgrad};

/// Runs with `more` flags, which come last and so win; nothing may be left in the output folder.
fn refused(place: &Workplace, more: &[&str]) -> String {
    let mut command = wgrad(&["finetune", "--max_steps", "2"]);
    // A flag may stand only once, so the common ones are left out where a case brings its own.
    for (flag, name) in [
        ("--model_name_or_path", "model"),
        ("--train_file", "train.tsv"),
        ("--output_dir", "out"),
    ] {
        if !more.contains(&flag) {
            command.arg(flag).arg(place.path(name));
        }
    }
    command.args(more);
    let line = refuse(&mut command);
    let left = files_below(&place.path("out"));
    assert!(left.is_empty(), "{more:?} left {left:?}");
    line
}

#[track_caller]
fn says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no \"{part}\" in: {line}");
    }
}

#[test]
fn models() {
    let place = Workplace::new();
    let with = |name: &str| {
        let path = place.path(name).display().to_string();
        refused(&place, &["--model_name_or_path", &path])
    };
    says(&with("none"), &["none", "cannot open the model folder"]);

    place.copy_model("weightless");
    std::fs::remove_file(place.path("weightless/model.safetensors")).unwrap();
    says(
        &with("weightless"),
        &["weightless", "model.safetensors", "no weights"],
    );

    place.copy_model("cut");
    let bytes = place.bytes("model/model.safetensors");
    for length in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        place.write("cut/model.safetensors", &bytes[..length]);
        says(&with("cut"), &["cut", "model.safetensors"]);
    }

    place.copy_model("shapes");
    let name = "encoder.layer.1.attention.self.key.weight";
    let all: Vec<(String, Vec<usize>, Vec<f32>)> = tensors(&place.path("model/model.safetensors"))
        .into_iter()
        .map(|(name, values)| {
            let shape = match name.contains("key.weight") {
                true => vec![values.len() / 16, 16],
                false => vec![values.len()],
            };
            (name, shape, values)
        })
        .collect();
    let only: Vec<_> = all
        .iter()
        .filter(|(n, _, _)| n.as_str() != name)
        .cloned()
        .collect();
    write(place.path("shapes/model.safetensors"), &all, &[]).unwrap();
    says(&with("shapes"), &["shapes", "shape", "32"]);
    write(place.path("shapes/model.safetensors"), &only[..1], &[]).unwrap();
    says(&with("shapes"), &["shapes"]);

    let mut config: Value = place.json("model/config.json");
    place.copy_model("other");
    config["model_type"] = json!("t5");
    config["architectures"] = json!(["T5Model"]);
    place.write("other/config.json", config.to_string());
    says(
        &with("other"),
        &["other", "config.json", "t5", "supported are bert"],
    );
    place.write("other/config.json", "{");
    says(&with("other"), &["config.json", "JSON"]);
}

#[test]
fn tables() {
    let place = Workplace::new();
    let with = |name: &str, content: &[u8]| {
        let path = place.write(name, content).display().to_string();
        let line = refused(&place, &["--train_file", &path]);
        says(&line, &[name]);
        line
    };
    let mut good = place.bytes("train.tsv");
    says(&with("empty.tsv", b""), &["is empty"]);
    says(
        &with("header.tsv", b"id\ttext\tlabel\n"),
        &["only the header"],
    );
    let one = b"text\tlabel\na film\tgood\na movie\tgood\n";
    says(&with("one.tsv", one), &["only one class", "good"]);
    let short = [good.as_slice(), b"99\tonly text\n"].concat();
    says(
        &with("short.tsv", &short),
        &["line 62", "expected 3", "found 2"],
    );
    let broken = b"{\"text\": \"x\", \"label\": 1}\n{\"text\": \n";
    says(&with("broken.jsonl", broken), &["line 2"]);
    says(&with("table.parquet", b"PAR1"), &[".tsv"]);
    let at = good.len() - 30;
    good[at] = 0xff;
    says(&with("latin.tsv", &good), &["UTF-8", "line"]);

    let missing = place.path("missing.tsv").display().to_string();
    says(
        &refused(&place, &["--train_file", &missing]),
        &["missing.tsv"],
    );
    let line = refused(&place, &["--label_column", "stars"]);
    says(&line, &["train.tsv", "stars", "`text`", "`label`"]);
    let line = refused(&place, &["--text_column", "review"]);
    says(&line, &["train.tsv", "review", "`text`"]);
    let odd = place.write("odd.tsv", "text\tlabel\na film\tneutral\n");
    let odd = odd.display().to_string();
    for flag in ["--validation_file", "--test_file"] {
        let line = refused(&place, &[flag, &odd]);
        says(
            &line,
            &["odd.tsv", "line 2", "neutral", "`negative`, `positive`"],
        );
    }
}

#[test]
fn flags() {
    let place = Workplace::new();
    let cases: [(&[&str], &[&str]); 21] = [
        (&["--adapter", "no such adapter"], &["no such adapter"]),
        (&["--weight_decay", "-1"], &["-1"]),
        (&["--max_grad_norm", "-1"], &["max_grad_norm", "-1"]),
        (&["--optim", "adamx"], &["adamx", "adamw, adam and sgd"]),
        (&["--lr_scheduler_type", "zigzag"], &["zigzag", "linear"]),
        (&["--learning_rate", "-0.1"], &["-0.1"]),
        (&["--learning_rate", "NaN"], &["NaN"]),
        (&["--learning_rate", "inf"], &["inf"]),
        (&["--dropout", "1.5"], &["dropout", "1.5"]),
        (&["--max_seq_length", "1"], &["max_seq_length", "1"]),
        (&["--warmup_ratio", "2"], &["warmup_ratio", "2"]),
        (&["--per_device_train_batch_size", "0"], &["batch"]),
        (&["--max_train_samples", "0"], &["max_train_samples", "0"]),
        (&["--max_eval_samples", "0"], &["max_eval_samples", "0"]),
        (
            &["--early_stopping_patience", "2"],
            &["early_stopping_patience", "validation_file"],
        ),
        (
            &["--lr_scheduler_type", "reduce_lr_on_plateau"],
            &["reduce_lr_on_plateau", "validation_file"],
        ),
        (
            &["--lr_scheduler_type", "reduce-lr-on-plateau"],
            &["reduce_lr_on_plateau", "validation_file"],
        ),
        (
            &["--freeze_layers", "3"],
            &["freeze_layers", "3", "2 layers"],
        ),
        (&["--freeze", "nothing.*"], &["nothing.*"]),
        (
            &["--classifier_init", "/none.safetensors"],
            &["/none.safetensors"],
        ),
        (
            &["--resume_from_checkpoint"],
            &["checkpoint", "resume_from_checkpoint"],
        ),
    ];
    for (flags, parts) in cases {
        says(&refused(&place, flags), parts);
    }
}

#[test]
fn output_folders_and_models_to_use() {
    let place = Workplace::new();
    let file = place.write("file", "");
    for path in [file.clone(), file.join("below")] {
        let line = refused(&place, &["--output_dir", &path.display().to_string()]);
        says(&line, &["file", "output folder"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"");
    let model = place.path("model").display().to_string();
    let use_it = |args: &[&str]| refuse(wgrad(args).args(["--model_name_or_path", &model]));
    says(
        &use_it(&["predict", "--text", "x"]),
        &["model", "wgrad finetune"],
    );
    says(&use_it(&["embed"]), &["--text", "--file"]);
    let line = refuse(&mut wgrad(&[
        "embed",
        "--text",
        "x",
        "--model_name_or_path",
        "/none",
    ]));
    says(&line, &["/none"]);
}
