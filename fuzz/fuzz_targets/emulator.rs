#![no_main]
//! Kernels on the emulated GPU: any text, for 200 ms at most.

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wgrad_emulator::{Binding, Machine, Program};

fuzz_target!(|data: &str| {
    for checked in [false, true] {
        let machine = Machine {
            subgroup_size: 8,
            checked,
            limit: Some(Duration::from_millis(200)),
            counts: checked,
        };
        let Ok(program) = Program::new(data, machine) else {
            return;
        };
        let (mut a, mut b, mut c) = ([0u8; 256], [1u8; 256], [0u8; 64]);
        let mut bindings = [
            (0, Binding::ReadWrite(&mut a)),
            (1, Binding::ReadWrite(&mut b)),
            (2, Binding::ReadWrite(&mut c)),
        ];
        let _ = program.run(&mut bindings, [2, 1, 1]);
    }
});
