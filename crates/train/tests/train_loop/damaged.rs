//! A checkpoint with one number changed is refused with that number's name; it never hangs, overflows or trains on.

use serde_json::{Value, json};
use wgrad_train::{Callbacks, TrainingArguments};

use crate::line::{Folder, Line};
use crate::{arguments, device, run};

/// A run of 5 steps in epochs of 3, evaluated at each step, on a schedule that has reduced its rate.
fn settings(folder: &Folder) -> TrainingArguments {
    TrainingArguments {
        max_steps: 5,
        eval_steps: Some(1.into()),
        per_device_train_batch_size: 2,
        optim: "adamw".to_owned(),
        lr_scheduler_type: "reduce_lr_on_plateau".to_owned(),
        early_stopping_patience: Some(50),
        ..arguments(folder)
    }
}

fn task() -> Line {
    let mut task = Line::new(&device());
    task.script = (0..40).map(f64::from).collect();
    task
}

/// What a resume says once `change` was made to the state.
fn resumed(change: impl FnOnce(&mut Value)) -> String {
    let folder = Folder::new();
    run(&mut task(), &settings(&folder), &mut Callbacks::new()).unwrap();
    let path = folder.0.join("checkpoint-last/trainer_state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    std::fs::write(&path, state.to_string()).unwrap();
    let resume = TrainingArguments {
        max_steps: 7,
        resume_from_checkpoint: Some("checkpoint-last".into()),
        ..settings(&folder)
    };
    match run(&mut task(), &resume, &mut Callbacks::new()) {
        Ok(outcome) => format!("ran to step {}", outcome.steps),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_number_of_a_checkpoint_is_checked() {
    assert_eq!(resumed(|_| ()), "ran to step 7");
    let huge = json!(u64::MAX);
    for (field, value, word) in [
        (
            "/step_in_epoch",
            json!(4),
            "step_in_epoch is 4, an epoch of this run has 3 steps",
        ),
        ("/step_in_epoch", huge.clone(), "step_in_epoch"),
        ("/step_in_epoch", json!(1), "global_step is 5, but epoch 1"),
        ("/epoch", json!(2), "global_step is 5, but epoch 2"),
        ("/epoch", huge.clone(), "global_step is 5"),
        ("/global_step", json!(4), "global_step is 4"),
        ("/global_step", json!(-1), "not a checkpoint"),
        ("/best_step", json!(6), "best_step is 6"),
        ("/best_step", json!(0), "best_step is 0"),
        (
            "/early_stopping/waiting",
            huge.clone(),
            "early_stopping.waiting",
        ),
        (
            "/early_stopping/greater_is_better",
            json!(true),
            "early_stopping.greater_is_better",
        ),
        (
            "/plateau/bad_evaluations",
            huge.clone(),
            "plateau.bad_evaluations",
        ),
        ("/plateau/cooldown_left", json!(1), "plateau.cooldown_left"),
        ("/plateau/reduced_lr", json!(2.0), "plateau.reduced_lr is 2"),
        (
            "/plateau/reduced_lr",
            json!(-0.5),
            "plateau.reduced_lr is -0.5",
        ),
        ("/optimizer_steps/weight", json!(6), "6 updates of `weight`"),
        (
            "/optimizer_steps",
            json!({"weight": 5, "other": 5}),
            "other",
        ),
        ("/totals/seconds", json!(-1.0), "totals.seconds is -1"),
        (
            "/next_learning_rate",
            json!(-1.0),
            "next_learning_rate is -1",
        ),
        ("/facts/seed", json!("1"), "seed"),
        (
            "/grad_scaler",
            json!([65536.0, 9]),
            "9 steps since the scale",
        ),
    ] {
        let line = resumed(|state| *state.pointer_mut(field).unwrap() = value.clone());
        assert!(line.contains(word), "{field} = {value}: {line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn the_optimizers_tensors_are_checked() {
    let refused = |change: &dyn Fn(&str, &mut [u8])| {
        let folder = Folder::new();
        run(&mut task(), &settings(&folder), &mut Callbacks::new()).unwrap();
        let path = folder.0.join("checkpoint-last/optimizer.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let (header, data) = bytes.split_at_mut(start);
        change(std::str::from_utf8(&header[8..]).unwrap(), data);
        std::fs::write(&path, bytes).unwrap();
        let resume = TrainingArguments {
            max_steps: 7,
            resume_from_checkpoint: Some("checkpoint-last".into()),
            ..settings(&folder)
        };
        let error = run(&mut task(), &resume, &mut Callbacks::new()).unwrap_err();
        format!("{error:#}")
    };
    let all = |value: f32| {
        move |_: &str, data: &mut [u8]| {
            for bytes in data.chunks_exact_mut(4) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
        }
    };
    let line = refused(&all(f32::NAN));
    assert!(
        line.contains("weight.exp_avg") && line.contains("NaN"),
        "{line}"
    );
    let line = refused(&all(-1.0));
    assert!(line.contains("`weight.exp_avg_sq` holds -1"), "{line}");
}
