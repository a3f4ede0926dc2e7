//! Values of transformers.

use serde_json::{Value, json};

use super::*;
use crate::schedule::{LrScheduler, Schedule};

fn options(kwargs: Value) -> ScheduleOptions {
    ScheduleOptions {
        warmup_steps: 3,
        total_steps: 10,
        base_lr: 0.5,
        kwargs: kwargs.as_object().unwrap().clone(),
        ..ScheduleOptions::default()
    }
}

/// The expected values are what transformers 5.24 gives for a base rate of 0.5.
fn check(name: &str, kwargs: Value, expected: &[f64]) {
    let schedule = Schedule::from_name(name, &options(kwargs)).unwrap();
    let scheduler = LrScheduler::new(0.5, schedule).unwrap();
    for (step, want) in expected.iter().enumerate() {
        let got = scheduler.lr_at(step as u64);
        assert!((got - want).abs() < 1e-11, "{name} {step}: {got}, {want}");
    }
}

#[test]
fn curves_are_those_of_transformers() {
    let up = [0.0, 0.166666666667, 0.333333333333, 0.5];
    let rises = |rest: &[f64]| [&up[..], rest].concat();
    check(
        "cosine",
        json!({"num_cycles": 1.0}),
        &rises(&[
            0.405872450465,
            0.194369766511,
            0.0247577830244,
            0.0247577830244,
            0.194369766511,
            0.405872450465,
        ]),
    );
    check(
        "cosine_with_restarts",
        json!({"num_cycles": 2}),
        &rises(&[
            0.405872450465,
            0.194369766511,
            0.0247577830244,
            0.475242216976,
            0.305630233489,
            0.0941275495353,
            0.0,
        ]),
    );
    check(
        "polynomial",
        json!({}),
        &rises(&[
            0.428571442857,
            0.357142885714,
            0.285714328571,
            0.214285771429,
            0.142857214286,
            0.0714286571429,
            1e-7,
        ]),
    );
    check(
        "polynomial",
        json!({"lr_end": 0.1, "power": 2.0}),
        &rises(&[
            0.39387755102,
            0.304081632653,
            0.230612244898,
            0.173469387755,
            0.132653061224,
            0.108163265306,
            0.1,
        ]),
    );
    check(
        "inverse_sqrt",
        json!({}),
        &rises(&[
            0.433012701892,
            0.387298334621,
            0.353553390593,
            0.327326835354,
        ]),
    );
    let falls = [
        0.48019377358,
        0.424697960372,
        0.344504186791,
        0.255495813209,
        0.175302039628,
        0.11980622642,
        0.1,
    ];
    check("cosine_with_min_lr", json!({"min_lr": 0.1}), &rises(&falls));
    let name = "cosine_warmup_with_min_lr";
    check(
        name,
        json!({"min_lr_rate": 0.2}),
        &[&[0.166666666667, 0.333333333333, 0.5][..], &falls].concat(),
    );
    check(
        name,
        json!({"min_lr_rate": 0.2, "warmup_lr_rate": 0.1}),
        &[&[0.05, 0.275, 0.5][..], &falls].concat(),
    );
    let name = "warmup_stable_decay";
    check(
        name,
        json!({"num_decay_steps": 4}),
        &rises(&[0.5, 0.5, 0.5, 0.426776695297, 0.25, 0.0732233047034, 0.0]),
    );
    check(
        name,
        json!({"num_decay_steps": 4, "warmup_type": "1-sqrt", "decay_type": "linear", "min_lr_ratio": 0.1}),
        &[
            0.05,
            0.132576538583,
            0.240192378865,
            0.5,
            0.5,
            0.5,
            0.5,
            0.3875,
            0.275,
            0.1625,
            0.05,
        ],
    );
    check(
        name,
        json!({"num_decay_steps": 4, "num_stable_steps": 2, "warmup_type": "cosine", "decay_type": "1-sqrt"}),
        &[
            0.0,
            0.125,
            0.375,
            0.5,
            0.5,
            0.5,
            0.25,
            0.146446609407,
            0.0669872981078,
            0.0,
            0.0,
        ],
    );
}

#[test]
fn wrong_numbers_are_named() {
    for (name, kwargs, words) in [
        ("cosine", json!({"cycles": 1}), "unknown field `cycles`"),
        (
            "linear",
            json!({"num_cycles": 1}),
            "linear: lr_scheduler_kwargs: unknown field `num_cycles`",
        ),
        ("warmup_stable_decay", json!({}), "num_decay_steps"),
        ("cosine_with_min_lr", json!({}), "min_lr_rate"),
        ("polynomial", json!({"lr_end": 1.0}), "below learning_rate"),
        ("polynomial", json!({"power": -1.0}), "not below 0"),
        ("inverse_sqrt", json!({"timescale": 0}), "must be finite"),
    ] {
        let line = Schedule::from_name(name, &options(kwargs)).unwrap_err();
        assert!(line.to_string().contains(words), "{line}");
    }
}
