//! A training that diverges ends with an error, and no checkpoint holds diverged weights.

use wgrad_models::io::safetensors::write;

use crate::support::{Workplace, refuse, succeed, tensors, wgrad};

/// No step but the first and the last is logged; the steps between are checked before they are saved.
#[test]
fn no_checkpoint_holds_weights_that_are_not_finite() {
    let place = Workplace::new();
    for validated in [true, false] {
        let out = format!("out-{validated}");
        let run = |more: &[&str]| {
            let mut command = wgrad(&["finetune", "--max_grad_norm", "0"]);
            command.args([
                "--per_device_train_batch_size",
                "8",
                "--logging_steps",
                "100",
            ]);
            for (flag, name) in [
                ("--model_name_or_path", "model"),
                ("--train_file", "train.tsv"),
                ("--output_dir", &out),
            ] {
                command.arg(flag).arg(place.path(name));
            }
            if validated {
                command
                    .arg("--validation_file")
                    .arg(place.path("valid.tsv"));
            }
            command.args(more);
            command
        };
        succeed(&mut run(&["--max_steps", "8", "--learning_rate", "1e-3"]));
        for every in ["8", "1", "3"] {
            let mut command = run(&["--max_steps", "40", "--learning_rate", "1e38"]);
            command.args(["--resume_from_checkpoint", "--eval_steps", every]);
            let line = refuse(&mut command);
            assert!(line.contains("diverged"), "{line}");
            for name in ["checkpoint-last", "checkpoint-best"] {
                let path = place.path(&format!("{out}/{name}/model.safetensors"));
                if !path.exists() {
                    continue;
                }
                for (name, values) in tensors(&path) {
                    assert!(values.iter().all(|v| v.is_finite()), "{every}: {name}");
                }
            }
        }
    }
}

/// In a file from another program.
#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let place = Workplace::new();
    succeed(&mut place.finetune("out", &["--max_steps", "1"]));
    let path = place.path("out/model.safetensors");
    let broken: Vec<(String, Vec<usize>, Vec<f32>)> = tensors(&path)
        .into_iter()
        .map(|(name, mut values)| {
            let shape = wgrad_models::io::safetensors::SafeFile::open(&path)
                .unwrap()
                .shape(&name)
                .unwrap()
                .to_vec();
            if name.ends_with("layer.1.output.dense.weight") {
                values[5] = f32::NAN;
            }
            (name, shape, values)
        })
        .collect();
    write(&path, &broken, &[]).unwrap();
    let mut command = wgrad(&["predict", "--text", "a film", "--model_name_or_path"]);
    let line = refuse(command.arg(place.path("out")));
    for part in [
        "model.safetensors",
        "layer.1.output.dense.weight",
        "NaN at 5",
    ] {
        assert!(line.contains(part), "{line}");
    }
}
