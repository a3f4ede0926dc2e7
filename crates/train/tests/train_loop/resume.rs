//! What a resumed run says, and what its outcome covers.

use wgrad_tensor::runtime::variants::VariantTable;
use wgrad_tensor::{Device, DeviceOptions};
use wgrad_train::{Callbacks, Outcome, TrainingArguments};

use crate::line::{Folder, Line};
use crate::{arguments, device, run};

fn steps(folder: &Folder, device: &Device, steps: i64, resume: bool) -> Outcome {
    let mut task = Line::new(device);
    task.script = vec![3.0, 2.0, 1.0, 4.0, 5.0, 6.0];
    let arguments = TrainingArguments {
        max_steps: steps,
        eval_steps: Some(1.into()),
        resume_from_checkpoint: resume.then(|| "checkpoint-last".into()),
        ..arguments(folder)
    };
    run(&mut task, &arguments, &mut Callbacks::new()).unwrap()
}

#[test]
fn an_outcome_covers_what_came_before_the_resume() {
    let folder = Folder::new();
    let first = steps(&folder, &device(), 3, false);
    assert_eq!((first.resumed_at, first.notes.len()), (None, 0));
    let whole = steps(&folder, &device(), 5, true);
    assert_eq!((whole.resumed_at, whole.steps), (Some(3), 5));
    assert_eq!(whole.notes, ["resumed at step 3: max_steps was 3, now 5"]);
    // What the log gives back is what was written, to the bit.
    assert_eq!(whole.log[..3], first.log);
    assert_eq!(whole.evaluations[..3], first.evaluations);
    assert_eq!((whole.log.len(), whole.evaluations.len()), (5, 5));
    let own: Vec<u64> = whole.own_evaluations().map(|e| e.step).collect();
    assert_eq!(own, [4, 5]);
    assert_eq!(whole.tokens, first.tokens / 3 * 5);
    assert!(whole.seconds > first.seconds && whole.step_seconds > 0.0);

    // With nothing left to do it is the same once more.
    let again = steps(&folder, &device(), 5, true);
    assert_eq!(again.log, whole.log);
    assert_eq!(again.evaluations, whole.evaluations);
    assert_eq!(
        (again.tokens, again.best_step),
        (whole.tokens, whole.best_step)
    );
    assert_eq!(
        again.notes,
        ["resumed at step 5: all 5 steps are made; more num_train_epochs or max_steps would go on"]
    );
}

#[test]
fn another_tuned_table_is_said() {
    let folder = Folder::new();
    let plain = device();
    steps(&folder, &plain, 1, false);
    let variants = VariantTable::always(plain.adapter(), "softmax", "softmax", &[("WIDTH", 8)]);
    let options = DeviceOptions {
        variants,
        ..DeviceOptions::default()
    };
    let outcome = steps(&folder, &Device::open(options).unwrap(), 2, true);
    let note = "resumed at step 1: the tuned table in force is another one";
    assert!(outcome.notes[1].starts_with(note), "{:?}", outcome.notes);
}
