//! A resumed run says what differs from the run it continues, or refuses by the flag's name; reports cover the whole run;
//! and the results of a finished run stay.

use std::process::Command;

use serde_json::Value;

use crate::support::{Workplace, refuse, succeed, text};

fn run(place: &Workplace, out: &str, more: &[&str]) -> Command {
    let mut command = place.finetune(out, &["--learning_rate", "1e-3"]);
    command
        .arg("--validation_file")
        .arg(place.path("valid.tsv"));
    command.args(more);
    command
}

/// A copy of the output folder `from`.
fn copy(place: &Workplace, from: &str, to: &str) {
    let status = Command::new("cp")
        .arg("-r")
        .args([place.path(from), place.path(to)])
        .status();
    assert!(status.unwrap().success());
}

/// The table with another text or label in each row.
fn changed(place: &Workplace, change: impl Fn(&str, &str) -> (String, String)) -> String {
    let table = text(place.bytes("train.tsv"));
    let mut lines = table.lines();
    let mut out = format!("{}\n", lines.next().unwrap());
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let (words, label) = change(cells[1], cells[2]);
        out += &format!("{}\t{words}\t{label}\n", cells[0]);
    }
    out
}

#[test]
fn another_run_is_refused_by_the_flag() {
    let place = Workplace::new();
    succeed(&mut run(&place, "out", &["--max_steps", "3"]));
    let flip = |label: &str| match label {
        "positive" => "negative".to_owned(),
        _ => "positive".to_owned(),
    };
    place.write(
        "flipped.tsv",
        changed(&place, |words, label| (words.to_owned(), flip(label))),
    );
    // Other words, as many tokens.
    place.write(
        "words.tsv",
        changed(&place, |words, label| {
            (words.replace("the", "a"), label.to_owned())
        }),
    );
    place.write(
        "renamed.tsv",
        changed(&place, |words, label| {
            (words.to_owned(), format!("{label}s"))
        }),
    );
    let log = place.bytes("out/log.jsonl");
    let flipped = place.path("flipped.tsv").display().to_string();
    let words = place.path("words.tsv").display().to_string();
    let renamed = place.path("renamed.tsv").display().to_string();
    for (flags, answer) in [
        (&["--seed", "8"][..], "seed was 7, now 8"),
        (&["--optim", "sgd"], "optim was adamw, now sgd"),
        (&["--optim", "adam"], "optim was adamw, now adam"),
        (&["--freeze_layers", "1"], "freeze_layers was 0, now 1"),
        (&["--freeze_encoder"], "freeze_encoder was false, now true"),
        (&["--freeze", "*bias"], "freeze was none, now *bias"),
        (
            &["--gradient_accumulation_steps", "2"],
            "gradient_accumulation_steps was 1, now 2",
        ),
        (
            &["--metric_for_best_model", "loss"],
            "was accuracy (greater is better), now loss (less is better)",
        ),
        (&["--data_seed", "8"], "data_seed was 7, now 8"),
        (
            &["--train_file", &flipped],
            "the labels of the texts are other ones",
        ),
        (
            &["--train_file", &words],
            "the training texts are other ones",
        ),
    ] {
        let more = ["--max_steps", "6", "--resume_from_checkpoint"];
        // Of a flag that is given twice the last one counts.
        let mut command = run(&place, "out", &more);
        let line = refuse(command.args(flags));
        assert!(
            line.contains("the checkpoint is of another run: ") && line.contains(answer),
            "{flags:?}: {line}"
        );
    }
    assert_eq!(place.bytes("out/log.jsonl"), log);
    // Labels with other names. The validation data would not know them.
    succeed(&mut place.finetune("plain", &["--max_steps", "2"]));
    let more = ["--resume_from_checkpoint", "--train_file", &renamed];
    let line = refuse(&mut place.finetune("plain", &more));
    let answer = "labels was negative, positive, now negatives, positives";
    assert!(line.contains(answer), "{line}");
}

#[test]
fn what_differs_is_said_and_the_run_goes_on() {
    let place = Workplace::new();
    succeed(&mut run(&place, "first", &["--max_steps", "3"]));
    place.write("valid2.tsv", crate::support::table(20, 77));
    let valid = place.path("valid2.tsv").display().to_string();
    for (at, (flags, answers)) in [
        (
            &["--max_steps", "6"][..],
            &[
                "max_steps was 3, now 6",
                "the learning rate jumps from 0 to 5e-4",
            ][..],
        ),
        (
            &["--max_steps", "6", "--learning_rate", "5e-4"],
            &[
                "learning_rate was 0.001, now 0.0005",
                "the learning rate jumps from 0 to 2.5e-4",
            ],
        ),
        (
            &["--max_steps", "6", "--lr_scheduler_type", "constant"],
            &[
                "lr_scheduler_type was linear, now constant",
                "the learning rate jumps from 0 to 1e-3",
            ],
        ),
        (
            &["--num_train_epochs", "2", "--max_steps", "-1"],
            &[
                "num_train_epochs was 3.0, now 2.0",
                "max_steps was 3, now -1",
            ],
        ),
        (
            &["--max_steps", "6", "--warmup_steps", "5"],
            &["warmup_steps was 0, now 5"],
        ),
        (
            &[
                "--max_steps",
                "6",
                "--weight_decay",
                "0.1",
                "--dropout",
                "0.3",
            ],
            &["weight_decay was 0.0, now 0.1", "dropout was none, now 0.3"],
        ),
        (
            &[
                "--max_steps",
                "6",
                "--adam_beta2",
                "0.9",
                "--max_grad_norm",
                "2",
            ],
            &[
                "adam_beta2 was 0.999, now 0.9",
                "max_grad_norm was 1.0, now 2.0",
            ],
        ),
        (
            &["--max_steps", "6", "--label_smoothing_factor", "0.1"],
            &["label_smoothing_factor was 0.0, now 0.1"],
        ),
        (
            &["--max_steps", "6", "--max_seq_length", "64"],
            &["max_seq_length was 128, now 64"],
        ),
        (
            &["--max_steps", "6", "--validation_file", &valid],
            &["the validation data is another one"],
        ),
        (&["--max_steps", "3"], &["all 3 steps are made"]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{at}");
        copy(&place, "first", &out);
        let stdout = succeed(run(&place, &out, &["--resume_from_checkpoint"]).args(flags));
        for answer in answers {
            let line = format!("resumed at step 3: {answer}");
            assert!(stdout.contains(&line), "{flags:?}: {stdout}");
        }
        let notes = place.json(&format!("{out}/results.json"))["notes"].clone();
        assert!(notes.to_string().contains(answers[0]), "{notes}");
    }
}

/// Curves, sums and results are those of a run that was not interrupted.
#[test]
fn reports_cover_the_whole_run() {
    let place = Workplace::new();
    let constant = ["--lr_scheduler_type", "constant", "--eval_steps", "1"];
    let run = |out: &str, more: &[&str]| succeed(run(&place, out, &constant).args(more));
    run("whole", &["--max_steps", "9"]);
    run("parts", &["--max_steps", "5"]);
    run("parts", &["--max_steps", "9", "--resume_from_checkpoint"]);
    let shared = [
        "global_step",
        "best_step",
        "train_loss",
        "tokens",
        "validation_accuracy",
        "stopped_by",
    ];
    let results = |out: &str| place.json(&format!("{out}/results.json"));
    let curves = |out: &str| {
        let report = text(place.bytes(&format!("{out}/report.html")));
        let charts: Vec<String> = report
            .split("<svg")
            .skip(1)
            .map(|rest| rest.split("</svg>").next().unwrap().to_owned())
            .collect();
        assert!(charts.len() > 2, "{report}");
        charts
    };
    let same = |left: &str, right: &str| {
        for key in shared {
            assert!(!results(left)[key].is_null(), "{key}");
            assert_eq!(results(left)[key], results(right)[key], "{key}");
        }
        assert!(curves(left) == curves(right));
    };
    same("whole", "parts");
    // To resume a run that is finished loses nothing, also in another folder.
    let before = results("parts");
    run("parts", &["--max_steps", "9", "--resume_from_checkpoint"]);
    same("whole", "parts");
    for key in ["train_seconds", "step_seconds", "device_peak_bytes"] {
        let [before, after] = [&before, &results("parts")].map(|r| r[key].as_f64().unwrap());
        // The last checkpoint does not count its own writing.
        assert!(
            after > 0.9 * before && before > 0.0,
            "{key}: {before} {after}"
        );
    }
    let last = place.path("parts/checkpoint-last").display().to_string();
    run(
        "moved",
        &["--max_steps", "9", "--resume_from_checkpoint", &last],
    );
    same("whole", "moved");
    let [whole, moved] =
        ["whole", "moved"].map(|out| place.bytes(&format!("{out}/model.safetensors")));
    assert!(whole == moved);
}

#[test]
fn a_second_start_keeps_the_results_of_a_finished_run() {
    let place = Workplace::new();
    let run = |more: &[&str]| succeed(run(&place, "out", &["--eval_steps", "1"]).args(more));
    let step = |name: &str| place.json(name)["global_step"].clone();
    run(&["--max_steps", "4"]);
    let [results, log, model] = ["results.json", "log.jsonl", "model.safetensors"]
        .map(|name| place.bytes(&format!("out/{name}")));
    let stdout = run(&["--max_steps", "2"]);
    assert!(
        stdout.contains("holds the model and results of a run of 4 steps"),
        "{stdout}"
    );
    assert_eq!(step("out/results.json"), 2);
    assert!(place.bytes("out/previous_run/results.json") == results);
    assert!(place.bytes("out/previous_run/log.jsonl") == log);
    assert!(place.bytes("out/previous_run/model.safetensors") == model);
    assert!(place.bytes("out/model.safetensors") != model);
    assert!(place.path("out/previous_run/report.html").exists());
    let stdout = run(&["--max_steps", "1", "--overwrite_output_dir"]);
    assert!(!stdout.contains("holds the model"), "{stdout}");
    assert_eq!(step("out/results.json"), 1);
    assert_eq!(step("out/previous_run/results.json"), 4);
    // A start that fails at once touches nothing.
    let mut command = place.finetune("out", &["--max_steps", "9", "--train_file", "missing.tsv"]);
    refuse(&mut command);
    assert_eq!(step("out/results.json"), 1);
}

#[test]
fn a_resume_that_trains_nothing_drops_no_result() {
    let place = Workplace::new();
    let test = place.path("test.tsv").display().to_string();
    succeed(&mut run(
        &place,
        "out",
        &["--max_steps", "2", "--test_file", &test],
    ));
    let results = place.bytes("out/results.json");
    let report = place.bytes("out/report.html");
    assert!(place.json("out/results.json")["test_accuracy"].is_f64());
    succeed(&mut run(
        &place,
        "out",
        &["--max_steps", "2", "--resume_from_checkpoint"],
    ));
    assert!(place.bytes("out/results.json") == results);
    assert!(place.bytes("out/report.html") == report);
}

#[test]
fn a_checkpoint_that_is_not_there_names_those_that_are() {
    let place = Workplace::new();
    succeed(&mut run(&place, "out", &["--max_steps", "1"]));
    let line = refuse(&mut run(
        &place,
        "out",
        &["--resume_from_checkpoint", "checkpoint-500"],
    ));
    assert!(
        line.contains("there is no checkpoint") && line.contains("out/checkpoint-last"),
        "{line}"
    );
    let stdout = succeed(&mut run(
        &place,
        "out",
        &["--max_steps", "2", "--resume_from_checkpoint", "True"],
    ));
    assert!(
        stdout.contains("resumed at step 1: max_steps was 1, now 2"),
        "{stdout}"
    );
    let results: Value = place.json("out/results.json");
    assert_eq!(
        (&results["resumed_at"], &results["global_step"]),
        (&1.into(), &2.into())
    );
    // The folder of a run stands for its last checkpoint.
    let folder = place.path("out").display().to_string();
    let flags = ["--max_steps", "3", "--resume_from_checkpoint", &folder];
    let stdout = succeed(&mut run(&place, "out", &flags));
    assert!(
        stdout.contains("resumed at step 2: max_steps was 2, now 3"),
        "{stdout}"
    );
}
