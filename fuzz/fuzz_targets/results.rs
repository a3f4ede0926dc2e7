#![no_main]
//! Results of tuning: a file that is resumed, and T4 files of other programs.

use libfuzzer_sys::fuzz_target;
use wgrad_tune::tuner::expr::{Scope, Value};
use wgrad_tune::tuner::job::Machine;
use wgrad_tune::tuner::results::{Head, known};
use wgrad_tune::tuner::spec::Spec;
use wgrad_tune::tuner::t4;

fuzz_target!(|data: &[u8]| {
    let spec = Spec::parse("spec.toml", wgrad_fuzz::SPEC).expect("a sound spec");
    let head = Head {
        kernel: "k".into(),
        hash: "1".into(),
        data: String::new(),
        seed: 0,
        machine: Machine {
            adapter: "a".into(),
            driver: "d".into(),
            backend: "Vulkan".into(),
            device_type: "Cpu".into(),
            facts: Scope::new(),
            bytes: vec![8.0],
            flops: vec![0.0],
        },
        sizes: spec.time.clone(),
        checked: false,
    };
    let path = wgrad_fuzz::file("results.jsonl", data);
    let default = Scope::from([("WIDTH".into(), Value::Int(64)), ("EACH".into(), Value::Int(1))]);
    for found in known(&path, &head, &[default]).into_iter().flatten() {
        assert!(found.outcome.is_sound() && found.outcome.size < head.sizes.len());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = t4::import(text, &spec);
    }
});
