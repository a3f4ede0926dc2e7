#![no_main]
//! A tuning spec, and the choices that it allows.

use libfuzzer_sys::fuzz_target;
use wgrad_tune::tuner::space::Space;
use wgrad_tune::tuner::spec::Spec;

fuzz_target!(|data: &str| {
    if let Ok(spec) = Spec::parse("spec.toml", data) {
        for sizes in spec.time.iter().take(2) {
            if let Ok(space) = Space::new(&spec, sizes) {
                let _ = space.neighbours(space.default);
            }
        }
    }
});
