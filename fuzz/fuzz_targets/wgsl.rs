#![no_main]
//! A user's kernel: the preprocessor, the tuner's changes to it, reflection.

use libfuzzer_sys::fuzz_target;
use wgrad_tune::tuner::build::{build, tuned_text};
use wgrad_tune::tuner::job::Source;
use wgrad_tune::tuner::spec::Spec;

fuzz_target!(|data: &str| {
    let spec = Spec::parse("spec.toml", wgrad_fuzz::SPEC).expect("a sound spec");
    let source = Source {
        name: "k.wgsl".into(),
        text: data.to_owned(),
    };
    let sizes = &spec.time[0];
    let values = spec.default_at(sizes).expect("a default");
    let _ = build(&spec, &source, None, &spec.workgroups, &values, sizes);
    let _ = tuned_text(&spec, &source, &values, sizes);
});
