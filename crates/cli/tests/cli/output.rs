//! What the commands print and write, and that memory does not grow with the steps.

use serde_json::Value;

use crate::support::{HIDDEN, Workplace, succeed, text, wgrad};

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Both spellings of a flag are used on purpose.
#[test]
fn finetune_predict_and_embed() {
    let place = Workplace::new();
    let (valid, test) = (place.path("valid.tsv"), place.path("test.tsv"));
    let mut command = place.finetune("out", &["--max-steps", "60", "--learning-rate=3e-3"]);
    command.args(["--lr_scheduler_type", "cosine", "--warmup-ratio", "0.1"]);
    command
        .arg("--validation_file")
        .arg(&valid)
        .arg("--test-file")
        .arg(&test);
    let stdout = succeed(&mut command);
    let accuracy: f64 = stdout
        .lines()
        .find_map(|line| line.strip_prefix("test accuracy: "))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no test accuracy in {stdout}"));
    assert!(accuracy >= 0.9, "{stdout}");

    let log = lines(&text(place.bytes("out/log.jsonl")));
    let steps: Vec<&Value> = log.iter().filter(|l| l.get("loss").is_some()).collect();
    assert_eq!(steps.len(), 60);
    for (at, line) in steps.iter().enumerate() {
        assert_eq!(line["step"], at as u64 + 1);
        for key in ["epoch", "loss", "learning_rate", "grad_norm"] {
            assert!(
                line[key].as_f64().is_some_and(f64::is_finite),
                "{key} of {line}"
            );
        }
    }
    assert!(log.iter().any(|l| l.get("eval_accuracy").is_some()));
    let loss = |at: usize| steps[at]["loss"].as_f64().unwrap();
    assert!(loss(59) < 0.5 * loss(0));

    let results = place.json("out/results.json");
    assert_eq!(results["global_step"], 60);
    let written = results["test_accuracy"].as_f64().unwrap();
    assert!((written - accuracy).abs() < 1e-4);
    assert!(results["device_peak_bytes"].as_u64() > Some(0));
    let report = text(place.bytes("out/report.html"));
    assert!(report.contains("<svg") && report.trim_end().ends_with("</html>"));
    for name in ["config.json", "model.safetensors", "vocab.txt"] {
        assert!(place.path(&format!("out/{name}")).is_file(), "{name}");
    }

    let texts = ["the film was great and funny", "", "a dull , awful plot"];
    let ask = |name: &str, model: &str| {
        let mut command = wgrad(&[name, "--json"]);
        command.arg("--model-name-or-path").arg(place.path(model));
        texts.iter().for_each(|t| {
            command.args(["--text", t]);
        });
        let answer = lines(&succeed(&mut command));
        assert_eq!(answer.len(), texts.len());
        for (line, given) in answer.iter().zip(texts) {
            assert_eq!(line["text"], given);
        }
        answer
    };
    let answer = ask("predict", "out");
    assert_eq!(answer[0]["label"], "positive");
    assert_eq!(answer[2]["label"], "negative");
    for line in &answer {
        let p = &line["probabilities"];
        let (yes, no) = (
            p["positive"].as_f64().unwrap(),
            p["negative"].as_f64().unwrap(),
        );
        assert!((yes + no - 1.0).abs() < 1e-6);
        assert_eq!(
            line["label"],
            if yes > no { "positive" } else { "negative" }
        );
    }
    for line in ask("embed", "model") {
        let vector: Vec<f64> = serde_json::from_value(line["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), HIDDEN);
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        assert!((norm - 1.0).abs() < 1e-5);
    }
}

#[test]
fn memory_after_step_20_is_that_after_step_200() {
    let place = Workplace::new();
    let bytes = |steps: &str| {
        let out = format!("out-{steps}");
        succeed(&mut place.finetune(&out, &["--max_steps", steps, "--no_checkpoints"]));
        let results = place.json(&format!("{out}/results.json"));
        ["device_allocated_bytes", "device_peak_bytes"].map(|key| results[key].as_u64().unwrap())
    };
    assert_eq!(bytes("20"), bytes("200"));
}
