//! Values of PyTorch and transformers.

use serde_json::json;

use super::*;

/// The expected values are what PyTorch 2.15 and transformers 5.23 print for a base rate of 0.5.
fn check(schedule: Schedule, expected: &[f64]) {
    let scheduler = LrScheduler::new(0.5, schedule.clone()).unwrap();
    for (step, want) in expected.iter().enumerate() {
        let got = scheduler.lr_at(step as u64);
        assert!(
            (got - want).abs() < 1e-11,
            "{schedule:?} {step}: {got}, {want}"
        );
    }
}

#[test]
fn linear_and_cosine_with_warmup() {
    check(
        Schedule::Linear {
            warmup: 3,
            total: 10,
        },
        &[
            0.0,
            0.166666666667,
            0.333333333333,
            0.5,
            0.428571428571,
            0.357142857143,
            0.285714285714,
            0.214285714286,
            0.142857142857,
            0.0714285714286,
            0.0,
            0.0,
        ],
    );
    check(
        Schedule::Linear {
            warmup: 0,
            total: 4,
        },
        &[0.5, 0.375, 0.25, 0.125, 0.0, 0.0],
    );
    check(
        Schedule::Cosine {
            warmup: 3,
            total: 10,
        },
        &[
            0.0,
            0.166666666667,
            0.333333333333,
            0.5,
            0.475242216976,
            0.405872450465,
            0.305630233489,
            0.194369766511,
            0.0941275495353,
            0.0247577830244,
            0.0,
        ],
    );
    check(
        Schedule::ConstantWithWarmup { warmup: 3 },
        &[0.0, 0.166666666667, 0.333333333333, 0.5, 0.5, 0.5],
    );
    check(Schedule::Constant, &[0.5, 0.5]);
}

#[test]
fn decay_in_steps() {
    check(
        Schedule::Step {
            size: 3,
            gamma: 0.5,
        },
        &[0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125],
    );
    check(
        Schedule::MultiStep {
            milestones: vec![2, 5],
            gamma: 0.1,
        },
        &[0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005],
    );
    check(
        Schedule::Exponential { gamma: 0.9 },
        &[0.5, 0.45, 0.405, 0.3645, 0.32805],
    );
}

#[test]
fn shorter_than_its_warmup() {
    check(
        Schedule::Linear {
            warmup: 4,
            total: 2,
        },
        &[0.0, 0.125, 0.25, 0.375, 0.0],
    );
    check(
        Schedule::Linear {
            warmup: 2,
            total: 2,
        },
        &[0.0, 0.25, 0.0],
    );
}

#[test]
fn names() {
    let options = ScheduleOptions {
        warmup_steps: warmup_steps(25, 0.1),
        total_steps: 25,
        ..Default::default()
    };
    for name in SCHEDULE_NAMES {
        // These cannot do without numbers of their own.
        let kwargs = match *name {
            "warmup_stable_decay" => json!({"num_decay_steps": 4}),
            name if name.contains("min_lr") => json!({"min_lr_rate": 0.1}),
            _ => json!({}),
        };
        let with_kwargs = ScheduleOptions {
            kwargs: kwargs.as_object().unwrap().clone(),
            ..options.clone()
        };
        Schedule::from_name(name, &with_kwargs).unwrap();
    }
    assert_eq!(
        Schedule::from_name("constant-with-warmup", &options).unwrap(),
        Schedule::ConstantWithWarmup { warmup: 3 }
    );
    let error = Schedule::from_name("lineal", &options)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`lineal`") && error.contains("reduce_lr_on_plateau"),
        "{error}"
    );
    let zero = ScheduleOptions {
        step_size: 0,
        ..options.clone()
    };
    assert!(Schedule::from_name("step", &zero).is_err());
    let bad = ScheduleOptions {
        gamma: -1.0,
        ..options
    };
    assert!(Schedule::from_name("exponential", &bad).is_err());
    assert!(LrScheduler::new(f64::NAN, Schedule::Constant).is_err());
}
