//! Flags of `transformers`' training scripts do what they do there, or the answer names what does.

use std::process::Command;

use serde_json::Value;

use crate::support::{Workplace, refuse, succeed, tensors, text, wgrad};

fn validated(place: &Workplace, out: &str, more: &[&str]) -> Command {
    let mut command = place.finetune(out, more);
    command
        .arg("--validation_file")
        .arg(place.path("valid.tsv"));
    command
}

fn log(place: &Workplace, out: &str) -> Vec<Value> {
    let log = text(place.bytes(&format!("{out}/log.jsonl")));
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The steps whose line has this key.
fn steps(place: &Workplace, out: &str, key: &str) -> Vec<u64> {
    let log = log(place, out);
    let lines = log.iter().filter(|line| line.get(key).is_some());
    lines.map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn flags_of_run_glue_are_taken_together() {
    let place = Workplace::new();
    let mut command = validated(
        &place,
        "out",
        &["--max_steps", "2", "--do_train", "--do_eval"],
    );
    command.args(["--overwrite_output_dir", "--load_best_model_at_end", "True"]);
    command.args(["--warmup_steps", "1", "--per_device_eval_batch_size", "4"]);
    command.args(["--metric_for_best_model", "eval_f1", "--group_by_length"]);
    command.args(["--optim", "adamw_torch_fused", "--eval_strategy", "epoch"]);
    command.args(["--save_strategy", "epoch", "--max_length", "64"]);
    command.args(["--dataloader_num_workers", "4", "--report_to", "wandb"]);
    let stdout = succeed(&mut command);
    for flag in ["--dataloader_num_workers", "--report_to"] {
        let line = format!("note: {flag} changes nothing: ");
        assert_eq!(stdout.matches(&line).count(), 1, "{stdout}");
    }
    let results = place.json("out/results.json");
    assert_eq!(results["metric_for_best_model"], "f1");
    // Other names for the same optimizer, and a path as transformers' scripts give it.
    let last = place.path("out/checkpoint-last").display().to_string();
    let more = ["--max_steps", "3", "--resume_from_checkpoint", &last];
    let mut command = validated(&place, "out", &more);
    command.args(["--metric_for_best_model", "f1", "--optim", "adamw_hf"]);
    command.args(["--warmup_steps", "1"]);
    succeed(&mut command);
    assert_eq!(place.json("out/results.json")["global_step"], 3);
}

#[test]
fn refused_flags_name_what_does_it_here() {
    let place = Workplace::new();
    for (flags, answer) in [
        (&["--bf16"][..], "use --fp16"),
        (&["--deepspeed", "ds.json"], "--gradient_accumulation_steps"),
        (&["--task_name", "mrpc"], "--train_file"),
        (&["--eval_strategy", "never"], "known are no, steps"),
        (&["--learning_rte", "1"], "'--learning_rate'"),
    ] {
        let output = place.finetune("out", flags).output().unwrap();
        let stderr = text(output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(
            stderr.contains(answer) && stderr.lines().count() == 1,
            "{flags:?}: {stderr}"
        );
    }
    for (flags, answer) in [
        (&["--optim", "adafactor"][..], "known are adamw"),
        (&["--load_best_model_at_end"], "give a validation_file"),
        (&["--do_predict"], "give a test_file"),
        (&["--eval_strategy", "best"], "must be no, steps or epoch"),
        (
            &["--group_by_length", "--no_shuffle"],
            "no_shuffle and group_by_length contradict each other",
        ),
        (
            &["--lr_scheduler_kwargs", "2"],
            "lr_scheduler_kwargs is `2`; give a JSON object",
        ),
    ] {
        let line = refuse(&mut place.finetune("out", flags));
        assert!(line.contains(answer), "{line}");
    }
}

#[test]
fn strategies_decide_when_to_evaluate_log_and_save() {
    let place = Workplace::new();
    // 60 rows in batches of 8 make 8 steps an epoch.
    let flags = ["--num_train_epochs", "2", "--eval_strategy", "steps"];
    succeed(validated(&place, "steps", &flags).args(["--eval_steps", "0.3", "--eval_delay", "6"]));
    assert_eq!(steps(&place, "steps", "eval_loss"), [10, 15, 16]);

    let flags = ["--max_steps", "10", "--eval_strategy", "epoch"];
    let mut command = validated(&place, "epochs", &flags);
    succeed(command.args(["--logging_strategy", "epoch"]));
    assert_eq!(steps(&place, "epochs", "eval_loss"), [8, 10]);
    assert_eq!(steps(&place, "epochs", "loss"), [1, 8, 10]);

    let flags = ["--max_steps", "4", "--eval_strategy", "no"];
    let mut command = validated(&place, "none", &flags);
    succeed(command.args(["--logging_strategy", "no", "--save_strategy", "no"]));
    assert!(steps(&place, "none", "eval_loss").is_empty());
    assert_eq!(steps(&place, "none", "loss"), [4]);
    assert!(!place.path("none/checkpoint-last").exists());
    let results = place.json("none/results.json");
    assert!(results["validation_accuracy"].is_f64(), "{results}");
}

#[test]
fn the_last_model_is_kept_where_the_best_is_not_wanted() {
    let place = Workplace::new();
    // The loss falls, so the first model is the best where a greater loss counts as better.
    let run = |out: &str, more: &[&str]| {
        let flags = ["--max_steps", "12", "--eval_steps", "1"];
        let mut command = validated(&place, out, &flags);
        command.args(["--learning_rate", "1e-3", "--greater_is_better", "True"]);
        succeed(command.args(["--metric_for_best_model", "loss"]).args(more));
        let best = place.json(&format!("{out}/results.json"))["best_step"].clone();
        assert_ne!(best, 12);
        let kept = place.bytes(&format!("{out}/model.safetensors"));
        ["best", "last"]
            .map(|name| kept == place.bytes(&format!("{out}/checkpoint-{name}/model.safetensors")))
    };
    assert_eq!(run("best", &[]), [true, false]);
    assert_eq!(
        run("last", &["--load_best_model_at_end", "False"]),
        [false, true]
    );
}

/// With two classes the loss with smoothing follows from the loss without.
#[test]
fn label_smoothing_spreads_a_part_of_the_label() {
    let place = Workplace::new();
    let losses = |out: &str, smoothing: &str| {
        let flags = ["--max_steps", "1", "--dropout", "0", "--learning_rate", "0"];
        let mut command = validated(&place, out, &flags);
        command.args([
            "--per_device_train_batch_size",
            "1",
            "--max_eval_samples",
            "1",
        ]);
        succeed(command.args(["--label_smoothing_factor", smoothing]));
        let lines = log(&place, out);
        [&lines[0]["loss"], &lines[1]["eval_loss"]].map(|loss| loss.as_f64().unwrap())
    };
    let (plain, smooth) = (losses("plain", "0"), losses("smooth", "0.2"));
    for (plain, smooth) in plain.into_iter().zip(smooth) {
        let other = -(1.0 - (-plain).exp()).ln();
        let expected = 0.8 * plain + 0.2 * (plain + other) / 2.0;
        assert!(
            (smooth - expected).abs() < 1e-5,
            "{plain} {smooth} {expected}"
        );
        assert!((smooth - plain).abs() > 1e-3, "{plain} {smooth}");
    }
}

#[test]
fn predictions_are_written_with_and_without_labels() {
    let place = Workplace::new();
    let table = text(place.bytes("test.tsv"));
    let texts: Vec<&str> = table
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    place.write("texts.tsv", texts.join("\n") + "\n");
    let run = |out: &str, file: &str, more: &[&str]| {
        let flags = [
            "--max_steps",
            "30",
            "--learning_rate",
            "3e-3",
            "--do_predict",
        ];
        let mut command = place.finetune(out, &flags);
        command.arg("--test_file").arg(place.path(file)).args(more);
        let stdout = succeed(&mut command);
        (
            stdout,
            text(place.bytes(&format!("{out}/predict_results.txt"))),
        )
    };
    let (stdout, labelled) = run("labelled", "test.tsv", &[]);
    assert!(stdout.contains("test accuracy"), "{stdout}");
    let (stdout, unlabelled) = run("unlabelled", "texts.tsv", &[]);
    assert!(
        stdout.contains("predictions only") && stdout.contains("no column `label`"),
        "{stdout}"
    );
    assert_eq!(labelled, unlabelled);
    let predict = ["predict", "--json", "--model_name_or_path"];
    let mut command = wgrad(&predict);
    command.arg(place.path("labelled")).arg("--file");
    command.arg(place.path("texts.tsv"));
    let expected: Vec<String> = succeed(&mut command)
        .lines()
        .enumerate()
        .map(|(row, line)| {
            let line: Value = serde_json::from_str(line).unwrap();
            format!("{row}\t{}", line["label"].as_str().unwrap())
        })
        .collect();
    assert_eq!(expected.len(), 40);
    let mut lines = labelled.lines();
    assert_eq!(lines.next(), Some("index\tprediction"));
    assert!(lines.eq(expected.iter().map(String::as_str)));
    let (_, few) = run("few", "test.tsv", &["--max_predict_samples", "3"]);
    assert_eq!(few.lines().count(), 4);
}

#[test]
fn the_numbers_of_adam_and_of_a_schedule_are_used() {
    let place = Workplace::new();
    let weights = |out: &str, more: &[&str]| {
        let flags = [
            "--max_steps",
            "3",
            "--dropout",
            "0",
            "--learning_rate",
            "1e-3",
        ];
        succeed(place.finetune(out, &flags).args(more));
        tensors(&place.path(&format!("{out}/model.safetensors")))
    };
    let plain = weights("plain", &[]);
    for (out, flags) in [
        ("beta1", &["--adam_beta1", "0.5"][..]),
        ("beta2", &["--adam_beta2", "0.9"]),
        ("eps", &["--adam_epsilon", "1e-3"]),
        ("order", &["--data_seed", "8"]),
        ("random", &["--train_sampling_strategy", "random"]),
    ] {
        assert!(weights(out, flags) != plain, "{flags:?} changes nothing");
    }
    let same = [
        "--adam_beta1",
        "0.9",
        "--adam_beta2",
        "0.999",
        "--data_seed",
        "7",
    ];
    assert!(weights("same", &same) == plain);
    let flags = ["--lr_scheduler_type", "polynomial", "--lr_scheduler_kwargs"];
    let kwargs = "{\"power\": 2.0, \"lr_end\": 0.0}";
    let mut command = place.finetune("rates", &["--max_steps", "4", "--learning_rate", "0.16"]);
    succeed(command.args(flags).arg(kwargs));
    let rates: Vec<f64> = log(&place, "rates")
        .iter()
        .map(|line| line["learning_rate"].as_f64().unwrap())
        .collect();
    for (rate, expected) in rates.iter().zip([0.16, 0.09, 0.04, 0.01]) {
        assert!((rate - expected).abs() < 1e-12, "{rates:?}");
    }
}
