//! The same seed gives the same bytes, also when the run was interrupted or killed on the way.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{Random, Workplace, files_below, refuse, start, succeed, tensors, wgrad};

/// Dropout, shuffling and an evaluation with a checkpoint at every step.
const FLAGS: [&str; 8] = [
    "--max_steps",
    "40",
    "--eval_steps",
    "1",
    "--dropout",
    "0.1",
    "--learning_rate",
    "1e-3",
];

fn run(place: &Workplace, out: &str, more: &[&str]) -> Command {
    let mut command = place.finetune(out, &FLAGS);
    command
        .arg("--validation_file")
        .arg(place.path("valid.tsv"))
        .args(more);
    command
}

fn assert_same(place: &Workplace, left: &str, right: &str) {
    for name in ["model.safetensors", "log.jsonl", "config.json"] {
        let [a, b] = [left, right].map(|out| place.bytes(&format!("{out}/{name}")));
        assert!(a == b, "{name} differs between {left} and {right}");
    }
}

/// Waits for a file to appear; false when the process ended before.
fn appears(child: &mut Child, path: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(
            Instant::now() < deadline,
            "{} does not appear",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Weights under their final name can be read to the end, and a checkpoint is there in full.
fn assert_whole(place: &Workplace, out: &str) {
    for path in files_below(&place.path(out)) {
        // Unfinished files are in a hidden folder or have a name that ends in .tmp.
        let hidden = path
            .iter()
            .any(|part| part.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|e| e == "safetensors") {
            assert!(!tensors(&path).is_empty(), "{}", path.display());
        }
    }
    assert!(!place.path(&format!("{out}/model.safetensors")).exists());
}

#[test]
fn a_seed_fixes_every_byte_also_after_kills() {
    let place = Workplace::new();
    succeed(&mut run(&place, "whole", &[]));
    succeed(&mut run(&place, "again", &[]));
    assert_same(&place, "whole", "again");

    let mut random = Random(u64::from(std::process::id()));
    let mut kills = 0;
    for attempt in 0..4 {
        let more: &[&str] = match attempt {
            0 => &[],
            _ => &["--resume_from_checkpoint"],
        };
        let mut child = start(&mut run(&place, "killed", more));
        let begun = match attempt {
            0 => appears(&mut child, &place.path("killed/checkpoint-last")),
            _ => appears(&mut child, &place.path("killed/.checkpoint-last.tmp")),
        };
        std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
        if !begun || child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if place.path("killed/model.safetensors").exists() {
            break;
        }
        assert_whole(&place, "killed");
        kills += 1;
    }
    assert!(kills > 0, "every run had ended before it could be killed");
    succeed(&mut run(&place, "killed", &["--resume_from_checkpoint"]));
    assert_same(&place, "whole", "killed");
    let leftovers: Vec<_> = files_below(&place.path("killed"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".tmp"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_exits_with_success() {
    let place = Workplace::new();
    let mut command = place.finetune("out", &["--max_steps", "1000000"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = place.path("out/log.jsonl");
    assert!(appears(&mut child, &log));
    while std::fs::metadata(&log).unwrap().len() == 0 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert_eq!(output.stderr, b"");
    assert!(
        stdout.contains("interrupted; go on with --resume_from_checkpoint"),
        "{stdout}"
    );

    let results = place.json("out/results.json");
    assert_eq!(results["stopped_by"], "interrupted");
    let step = results["global_step"].as_u64().unwrap();
    assert_eq!(
        place.json("out/checkpoint-last/trainer_state.json")["global_step"],
        step
    );
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert!(!tensors(&place.path(&format!("out/checkpoint-last/{name}"))).is_empty());
    }
    let more = (step + 2).to_string();
    let resume = ["--max_steps", &more, "--resume_from_checkpoint"];
    succeed(&mut place.finetune("out", &resume));
    assert_eq!(place.json("out/results.json")["global_step"], step + 2);
}

/// The features of a text must not depend on which text was requested first. The batches' sizes differ from
/// those in which the features are computed, and the resumed run begins in mid-epoch.
#[test]
fn frozen_layers_resume_with_the_same_bytes() {
    let place = Workplace::new();
    for frozen in [&["--freeze_layers", "1"][..], &["--freeze_encoder"]] {
        let run = |out: &str, steps: &str, more: &[&str]| {
            let mut command = wgrad(&["finetune", "--per_device_train_batch_size", "7"]);
            command.args(["--logging_steps", "1", "--lr_scheduler_type", "constant"]);
            command.args(["--learning_rate", "1e-3", "--max_steps", steps]);
            for (flag, name) in [
                ("--model_name_or_path", "model"),
                ("--train_file", "train.tsv"),
                ("--output_dir", out),
            ] {
                command.arg(flag).arg(place.path(name));
            }
            succeed(command.args(frozen).args(more));
        };
        let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}{}", frozen[0]));
        run(&whole, "22", &[]);
        run(&parts, "12", &[]);
        run(&parts, "22", &["--resume_from_checkpoint"]);
        assert_same(&place, &whole, &parts);
    }
}

#[test]
fn another_order_or_other_lengths_do_not_resume() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "3"]));
    let log = place.bytes("out/log.jsonl");
    for (flags, answer) in [
        (
            &["--no_shuffle"][..],
            "the order of the texts (no_shuffle, no_group_by_length) was shuffled by length, now that of the file;",
        ),
        (&["--max_seq_length", "6"], "max_seq_length was 128, now 6"),
    ] {
        let mut command = place.finetune("out", &["--max_steps", "6", "--resume_from_checkpoint"]);
        let line = refuse(command.args(flags));
        assert!(line.contains(answer), "{line}");
    }
    assert_eq!(place.bytes("out/log.jsonl"), log);
}

/// A run that had stopped early has nothing left to do.
#[test]
fn a_run_that_stopped_early_stays_stopped() {
    let place = Workplace::new();
    let run = |more: &[&str]| {
        let mut command = place.finetune("out", &["--max_steps", "20", "--eval_steps", "1"]);
        command.args(["--early_stopping_patience", "2", "--learning_rate", "0"]);
        command
            .arg("--validation_file")
            .arg(place.path("valid.tsv"));
        succeed(command.args(more))
    };
    run(&[]);
    let (log, weights) = (
        place.bytes("out/log.jsonl"),
        place.bytes("out/model.safetensors"),
    );
    assert_eq!(place.json("out/results.json")["global_step"], 3);
    let stdout = run(&["--resume_from_checkpoint"]);
    assert!(stdout.contains("stopped early"), "{stdout}");
    assert_eq!(place.json("out/results.json")["global_step"], 3);
    assert_eq!(
        place.json("out/results.json")["stopped_by"],
        "early stopping"
    );
    assert!(place.bytes("out/log.jsonl") == log);
    assert!(place.bytes("out/model.safetensors") == weights);
}

#[test]
fn mixed_precision_trains_alike_and_resumes_with_the_same_bytes() {
    let place = Workplace::new();
    let run = |out: &str, more: &[&str]| {
        let mut command = place.finetune(out, &["--lr_scheduler_type", "constant"]);
        command.args(["--dropout", "0.1"]).args(more);
        command
    };
    succeed(&mut run("plain", &["--max_steps", "12"]));
    succeed(&mut run("whole", &["--max_steps", "12", "--fp16"]));
    succeed(&mut run("parts", &["--max_steps", "5", "--fp16"]));
    let resume = ["--max_steps", "12", "--resume_from_checkpoint"];
    let refused = run("parts", &resume).output().unwrap();
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && stderr.contains("fp16 was true, now false;"),
        "{stderr}"
    );
    succeed(run("parts", &resume).arg("--fp16"));
    assert_same(&place, "whole", "parts");

    let lines = |out: &str| -> Vec<serde_json::Value> {
        let log = String::from_utf8(place.bytes(&format!("{out}/log.jsonl"))).unwrap();
        log.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (plain, mixed) = (lines("plain"), lines("whole"));
    assert_eq!(plain.len(), mixed.len());
    for (plain, mixed) in plain.iter().zip(&mixed) {
        let [a, b] = [plain, mixed].map(|line| line["loss"].as_f64());
        let (Some(a), Some(b)) = (a, b) else { continue };
        assert!((a - b).abs() < 0.01 * a.max(0.1), "{plain} {mixed}");
        // Something was computed in f16.
        assert!(a != b || plain["step"] == 1, "{plain} {mixed}");
        assert!(mixed["loss_scale"].as_f64() >= Some(1.0), "{mixed}");
    }
    let state = place.json("parts/checkpoint-last/trainer_state.json");
    assert_eq!(state["grad_scaler"][0], mixed[11]["loss_scale"]);
}
