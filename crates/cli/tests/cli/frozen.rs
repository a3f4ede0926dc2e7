//! Frozen parameters stay bit-equal and get no gradient; the others get the gradient they always get.

use std::collections::BTreeMap;

use crate::support::{Workplace, succeed, tensors};

type Tensors = BTreeMap<String, Vec<f32>>;
/// Output folder, flags, and which parameters these freeze.
type Case<'a> = (&'a str, &'a [&'a str], fn(&str) -> bool);

/// The gradients of the first step and the final weights.
fn train(place: &Workplace, out: &str, more: &[&str]) -> (Tensors, Tensors) {
    let gradients = place.path(&format!("{out}-gradients.safetensors"));
    let mut command = place.finetune(out, &["--max_steps", "3", "--dropout", "0"]);
    command.args(["--learning_rate", "1e-3"]).args(more);
    command.arg("--save_gradients").arg(&gradients);
    succeed(&mut command);
    let weights = tensors(&place.path(&format!("{out}/model.safetensors")));
    (tensors(&gradients), weights)
}

#[test]
fn frozen_parts_stay_and_the_rest_gets_its_gradient() {
    let place = Workplace::new();
    let first = tensors(&place.path("model/model.safetensors"));
    let (full, _) = train(&place, "full", &[]);
    assert!(full.len() > first.len(), "the head has gradients too");

    let cases: [Case; 3] = [
        ("layers", &["--freeze_layers", "1"], |name| {
            name.contains("embeddings.") || name.contains(".layer.0.")
        }),
        ("encoder", &["--freeze_encoder"], |name| {
            !name.starts_with("classifier.")
        }),
        ("pattern", &["--freeze", "*LayerNorm*"], |name| {
            name.contains("LayerNorm")
        }),
    ];
    for (out, flags, frozen) in cases {
        let (gradients, weights) = train(&place, out, flags);
        for (name, values) in &weights {
            assert_eq!(
                gradients.contains_key(name),
                !frozen(name),
                "{out}: gradient of {name}"
            );
            if let Some(before) = first.get(name.strip_prefix("bert.").unwrap_or(name)) {
                let same = before
                    .iter()
                    .zip(values)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert_eq!(same, frozen(name), "{out}: values of {name}");
            }
        }
        for (name, values) in &gradients {
            let expected = &full[name];
            // The bias of the keys has no effect, so its gradient is only rounding: hence the 1e-9.
            let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in values.iter().zip(expected) {
                let error = (a - b).abs();
                assert!(
                    error <= 1e-6 * largest + 1e-9,
                    "{out}: {name}: {a} for {b}, largest {largest}"
                );
            }
        }
    }
}

/// Features come from memory or are computed again, with the same bits, and a line says which.
#[test]
fn features_are_kept_within_a_budget() {
    let place = Workplace::new();
    let run = |out: &str, more: &[&str]| {
        let mut command =
            place.finetune(out, &["--num_train_epochs", "3", "--learning_rate", "1e-3"]);
        command
            .arg("--validation_file")
            .arg(place.path("valid.tsv"));
        succeed(command.args(more))
    };
    for (name, frozen) in [
        ("layers", &["--freeze_layers", "1"][..]),
        ("encoder", &["--freeze_encoder"]),
    ] {
        let [kept, computed] = ["kept", "computed"].map(|way| format!("{name}-{way}"));
        let stdout = run(&kept, frozen);
        assert!(stdout.contains("features of 100 rows take "), "{stdout}");
        assert!(stdout.contains("B of memory\n"), "{stdout}");
        let stdout = run(&computed, &[frozen, &["--feature_cache", "0"]].concat());
        assert!(
            stdout.contains("100 rows are computed at each use (feature_cache 0 MiB)"),
            "{stdout}"
        );
        for file in ["log.jsonl", "model.safetensors"] {
            let [kept, computed] =
                [&kept, &computed].map(|out| place.bytes(&format!("{out}/{file}")));
            assert!(kept == computed, "{name}: {file}");
        }
    }
    // In a single epoch with one evaluation each row is used once.
    let stdout = run("once", &["--freeze_layers", "1", "--num_train_epochs", "1"]);
    let line = "each is used once, so none is kept in memory";
    assert!(stdout.contains(line), "{stdout}");
    let stdout = run("none", &["--max_steps", "1"]);
    assert!(!stdout.contains("features of"), "{stdout}");
}
