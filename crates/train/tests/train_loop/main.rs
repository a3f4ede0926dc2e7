//! The loop over a task small enough to know every number of it.

mod damaged;
mod line;
mod resume;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use line::{Folder, Line};
use wgrad_tensor::{Device, DeviceOptions};
use wgrad_train::{
    BestMetric, Callbacks, Flow, Outcome, Steps, StopReason, Strategy, TrainingArguments, train,
};

fn device() -> Device {
    Device::open(DeviceOptions::default()).unwrap()
}

fn arguments(folder: &Folder) -> TrainingArguments {
    TrainingArguments {
        optim: "sgd".to_owned(),
        lr_scheduler_type: "constant".to_owned(),
        learning_rate: 0.01,
        no_shuffle: true,
        logging_steps: 1.into(),
        max_steps: 1,
        ..TrainingArguments::new(&folder.0)
    }
}

fn run(
    task: &mut Line,
    arguments: &TrainingArguments,
    callbacks: &mut Callbacks,
) -> Result<Outcome> {
    let mut optimizer = arguments.optimizer(task.parameters())?;
    let mut scheduler = arguments.scheduler(arguments.total_steps(task.counts.len()))?;
    let device = task.device.clone();
    train(
        &device,
        task,
        &mut *optimizer,
        &mut scheduler,
        arguments,
        callbacks,
    )
}

/// Loss and gradient of the first step.
fn first_step(batch: usize, accumulation: usize, fp16: bool) -> (f64, Vec<f32>) {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    let arguments = TrainingArguments {
        per_device_train_batch_size: batch,
        gradient_accumulation_steps: accumulation,
        fp16,
        no_checkpoints: true,
        ..arguments(&folder)
    };
    let mut gradient = Vec::new();
    let weight = task.weight.clone();
    let mut callbacks = Callbacks::new().on_gradients(|step, gradients, optimizer| {
        assert_eq!(step, 1);
        let plain = optimizer.unscale(gradients)?;
        gradient = plain.get(&weight).context("no gradient")?.to_vec::<f32>()?;
        Ok(Flow::Continue)
    });
    let outcome = run(&mut task, &arguments, &mut callbacks).unwrap();
    drop(callbacks);
    (outcome.log[0].loss, gradient)
}

#[test]
fn accumulation_equals_the_big_batch() {
    let f16 = device().has_f16();
    for fp16 in [false, true].into_iter().filter(|fp16| !fp16 || f16) {
        let (loss, gradient) = first_step(6, 1, fp16);
        // Each item counts the same, so the sums over all 16 are known.
        let task = Line::new(&device());
        let (mut expected, mut total) = ([0.0f64; 3], 0.0);
        for ((row, target), count) in task.rows.iter().zip(&task.targets).zip(&task.counts) {
            let predicted = 0.5 * row[0] - 0.25 * row[1] + 0.125 * row[2];
            let error = f64::from(predicted - target);
            total += error * error * *count as f64 / 16.0;
            for (sum, x) in expected.iter_mut().zip(row) {
                *sum += 2.0 * error * f64::from(*x) * *count as f64 / 16.0;
            }
        }
        let tolerance = if fp16 { 2e-3 } else { 1e-6 };
        let close = |a: f64, b: f64| assert!((a - b).abs() <= tolerance, "{a} {b} fp16 {fp16}");
        close(loss, total);
        for (a, b) in gradient.iter().zip(expected) {
            close(f64::from(*a), b);
        }
        for (batch, accumulation) in [(4, 2), (2, 3), (1, 6), (5, 2), (3, 4)] {
            let (of_parts, parts) = first_step(batch, accumulation, fp16);
            close(of_parts, loss);
            assert_eq!(parts.len(), 3);
            for (a, b) in parts.iter().zip(&gradient) {
                close(f64::from(*a), f64::from(*b));
            }
        }
    }
}

#[test]
fn a_batch_without_items_has_no_weight() {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    task.counts = vec![2, 1, 0, 0, 3, 1];
    let arguments = TrainingArguments {
        per_device_train_batch_size: 2,
        gradient_accumulation_steps: 3,
        ..arguments(&folder)
    };
    let outcome = run(&mut task, &arguments, &mut Callbacks::new()).unwrap();
    assert!(outcome.log[0].loss.is_finite());
    task.counts = vec![0; 6];
    let line = run(&mut task, &arguments, &mut Callbacks::new()).unwrap_err();
    assert!(line.to_string().contains("counts no item"), "{line}");
}

#[test]
fn best_early_and_plateau_go_by_a_named_metric() {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    task.script = vec![3.0, 2.0, 2.5, 2.5, 1.0];
    let arguments = TrainingArguments {
        max_steps: 9,
        eval_steps: Some(1.into()),
        early_stopping_patience: Some(2),
        ..arguments(&folder)
    };
    let outcome = run(&mut task, &arguments, &mut Callbacks::new()).unwrap();
    let mae = BestMetric {
        name: "mae".to_owned(),
        greater_is_better: false,
    };
    assert_eq!(outcome.best_metric, mae);
    assert_eq!((outcome.best_step, outcome.steps), (Some(2), 4));
    assert_eq!(outcome.reason, StopReason::EarlyStopping);
    let log = std::fs::read_to_string(folder.0.join("log.jsonl")).unwrap();
    assert_eq!(log.matches("\"eval_mae\":").count(), 4);
    assert!(folder.0.join("checkpoint-best/weight.bin").exists());

    // The same numbers with the other direction: the first is the best.
    task.evaluated = 0;
    let other = TrainingArguments {
        greater_is_better: Some(true),
        metric_for_best_model: Some("eval_mae".to_owned()),
        ..arguments.clone()
    };
    let outcome = run(&mut task, &other, &mut Callbacks::new()).unwrap();
    assert_eq!((outcome.best_step, outcome.steps), (Some(1), 3));

    // A checkpoint that was judged in one direction does not go on in the other.
    let resumed = TrainingArguments {
        resume_from_checkpoint: Some("checkpoint-last".into()),
        ..arguments.clone()
    };
    let line = run(&mut task, &resumed, &mut Callbacks::new()).unwrap_err();
    assert!(line.to_string().contains("greater_is_better"), "{line}");

    // mae falls at every evaluation but the loss does not, so only a plateau of the loss reduces the rate.
    let rate = |metric: Option<&str>| {
        let folder = Folder::new();
        let mut task = Line::new(&device());
        task.script = (0..15).map(|i| 20.0 - f64::from(i)).collect();
        let arguments = TrainingArguments {
            max_steps: 15,
            lr_scheduler_type: "reduce_lr_on_plateau".to_owned(),
            metric_for_best_model: metric.map(str::to_owned),
            early_stopping_patience: None,
            ..TrainingArguments {
                output_dir: folder.0.clone(),
                ..arguments.clone()
            }
        };
        let outcome = run(&mut task, &arguments, &mut Callbacks::new()).unwrap();
        outcome.log.last().unwrap().learning_rate
    };
    assert_eq!(rate(Some("mae")), 0.01);
    assert!(rate(None) < 0.0011);

    task.evaluated = 0;
    let unknown = TrainingArguments {
        metric_for_best_model: Some("f2".to_owned()),
        ..arguments
    };
    let line = run(&mut task, &unknown, &mut Callbacks::new()).unwrap_err();
    let text = format!("{line:#}");
    assert!(
        text.contains("`f2`") && text.contains("loss, mae"),
        "{text}"
    );
}

#[test]
fn early_stopping_and_plateau_need_an_evaluation() {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    for arguments in [
        TrainingArguments {
            early_stopping_patience: Some(1),
            ..arguments(&folder)
        },
        TrainingArguments {
            lr_scheduler_type: "reduce_lr_on_plateau".to_owned(),
            ..arguments(&folder)
        },
    ] {
        let line = run(&mut task, &arguments, &mut Callbacks::new()).unwrap_err();
        assert!(line.to_string().contains("validation data"), "{line}");
    }
}

#[test]
fn callbacks_stop_fail_and_change_gradients() {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    let arguments = TrainingArguments {
        max_steps: 50,
        ..arguments(&folder)
    };
    let mut seen = Vec::new();
    let mut callbacks = Callbacks::new().on_step(|log| {
        seen.push(log.step);
        Ok(match log.step {
            3 => Flow::Stop,
            _ => Flow::Continue,
        })
    });
    let outcome = run(&mut task, &arguments, &mut callbacks).unwrap();
    drop(callbacks);
    assert_eq!((outcome.reason, outcome.steps), (StopReason::Callback, 3));
    assert_eq!(seen, [1, 2, 3]);
    assert!(folder.0.join("checkpoint-last/trainer_state.json").exists());

    let mut callbacks = Callbacks::new().on_step(|log| match log.step {
        2 => bail!("enough"),
        _ => Ok(Flow::Continue),
    });
    let line = run(&mut task, &arguments, &mut callbacks).unwrap_err();
    assert_eq!(line.to_string(), "enough");

    let before = task.weight.to_vec::<f32>().unwrap();
    let weight = task.weight.clone();
    let mut callbacks = Callbacks::new().on_gradients(|_, gradients, _| {
        let zero = gradients
            .get(&weight)
            .context("no gradient")?
            .mul_scalar(0.0)?;
        gradients.insert(&weight, zero);
        Ok(Flow::Stop)
    });
    let outcome = run(&mut task, &arguments, &mut callbacks).unwrap();
    assert_eq!((outcome.reason, outcome.steps), (StopReason::Callback, 1));
    assert_eq!(task.weight.to_vec::<f32>().unwrap(), before);

    let flag = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let outcome = run(&mut task, &arguments, &mut Callbacks::new().stop_flag(flag)).unwrap();
    assert_eq!(
        (outcome.reason, outcome.steps),
        (StopReason::Interrupted, 1)
    );
}

#[test]
fn a_run_resumes_with_the_same_bits() {
    let steps = |folder: &Folder, steps: i64, resume: bool| {
        let mut task = Line::new(&device());
        let arguments = TrainingArguments {
            max_steps: steps,
            optim: "adamw".to_owned(),
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 2,
            no_shuffle: false,
            resume_from_checkpoint: resume.then(|| "checkpoint-last".into()),
            ..arguments(folder)
        };
        run(&mut task, &arguments, &mut Callbacks::new()).unwrap();
        task.weight.to_vec::<f32>().unwrap()
    };
    let (whole, parts) = (Folder::new(), Folder::new());
    let expected = steps(&whole, 7, false);
    steps(&parts, 3, false);
    let resumed = steps(&parts, 7, true);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&resumed), bits(&expected));
    let log = |folder: &Folder| std::fs::read(folder.0.join("log.jsonl")).unwrap();
    assert_eq!(log(&whole), log(&parts));
}

#[test]
fn strategies_decide_when_checkpoints_are_written() {
    let (best, last) = ("checkpoint-best", "checkpoint-last");
    let steps = Some(Strategy::Steps);
    for (eval_strategy, save_strategy, save_steps, expected) in [
        // With each evaluation; the second is no better. The last step is saved once.
        (steps, None, None, vec![best, last, last, best, last]),
        (steps, Some(Strategy::Best), None, vec![best, best, last]),
        (steps, Some(Strategy::Never), None, vec![]),
        // An epoch has two steps.
        (
            steps,
            Some(Strategy::Epoch),
            None,
            vec![best, last, best, last],
        ),
        (
            Some(Strategy::Never),
            None,
            Some(Steps::Share(0.3)),
            vec![last, last, last],
        ),
        (Some(Strategy::Never), None, None, vec![last, last]),
    ] {
        let folder = Folder::new();
        let mut task = Line::new(&device());
        task.script = vec![3.0, 4.0, 2.0];
        let arguments = TrainingArguments {
            max_steps: 3,
            per_device_train_batch_size: 3,
            eval_strategy,
            eval_steps: Some(1.into()),
            save_strategy,
            save_steps,
            ..arguments(&folder)
        };
        run(&mut task, &arguments, &mut Callbacks::new()).unwrap();
        assert_eq!(*task.saved.borrow(), expected, "{arguments:?}");
    }
}

#[test]
fn fp16_needs_an_adapter_with_it() {
    let folder = Folder::new();
    let mut task = Line::new(&device());
    let arguments = TrainingArguments {
        fp16: true,
        ..arguments(&folder)
    };
    let outcome = run(&mut task, &arguments, &mut Callbacks::new());
    match task.device.has_f16() {
        true => assert!(outcome.unwrap().log[0].loss_scale.is_some()),
        false => assert!(outcome.unwrap_err().to_string().contains("shader-f16")),
    }
}
