#![no_main]
//! `trainer_state.json` of a checkpoint that is resumed, up to where a device is needed.

use libfuzzer_sys::fuzz_target;
use wgrad_nn::schedule::{LrScheduler, ReduceOnPlateau, Schedule};
use wgrad_train::checkpoint::{TrainerState, check};
use wgrad_train::early_stopping::EarlyStopping;

fuzz_target!(|data: &[u8]| {
    wgrad_fuzz::file("trainer_state.json", data);
    let Ok(state) = TrainerState::read(wgrad_fuzz::folder()) else {
        return;
    };
    let schedule = Schedule::ReduceOnPlateau(ReduceOnPlateau::default());
    let scheduler = LrScheduler::new(0.1, schedule).expect("a schedule");
    let stopping = EarlyStopping::new(3, 0.0, true);
    for steps_per_epoch in [1, 8, 100] {
        if state.check(steps_per_epoch).is_ok() {
            assert!(state.step_in_epoch <= steps_per_epoch);
            assert!(state.global_step >= state.epoch);
        }
    }
    let _ = check(wgrad_fuzz::folder(), &stopping, &scheduler);
});
