//! Self-tests: whether an experimental feature of the driver gives correct results on this device.

use std::collections::HashMap;

use super::Device;

/// The result of a self-test: `Ok`, or what is wrong.
pub type SelfTest = std::result::Result<(), String>;

/// It may launch, wait and read back.
type Test = fn(&Device) -> SelfTest;

/// Results by name, and the tests that were requested during a forward pass.
#[derive(Default)]
pub(crate) struct SelfTests {
    results: HashMap<&'static str, SelfTest>,
    requested: Vec<(&'static str, Test)>,
}

impl Device {
    /// The result of the self-test `name`. It runs on the first call and may launch, wait and read back; while it runs,
    /// other threads may run it too, and the first result is kept.
    ///
    /// # Errors
    /// What is wrong.
    pub fn self_test(&self, name: &'static str, test: Test) -> SelfTest {
        let known = self.lock(&self.0.self_tests).results.get(name).cloned();
        known.unwrap_or_else(|| {
            let found = test(self);
            let mut tests = self.lock(&self.0.self_tests);
            tests.results.entry(name).or_insert(found).clone()
        })
    }

    /// Whether the self-test `name` has passed. This never runs it, so a forward pass may ask. A test that has not run
    /// counts as not passed. It runs after the next [`Device::read`], where the program waits for the device anyway.
    pub fn passed_self_test(&self, name: &'static str, test: Test) -> bool {
        let mut tests = self.lock(&self.0.self_tests);
        match tests.results.get(name) {
            Some(result) => result.is_ok(),
            None => {
                if tests.requested.iter().all(|(known, _)| *known != name) {
                    tests.requested.push((name, test));
                }
                false
            }
        }
    }

    /// Runs the tests requested through [`Device::passed_self_test`].
    pub(super) fn run_requested_self_tests(&self) {
        let requested = std::mem::take(&mut self.lock(&self.0.self_tests).requested);
        for (name, test) in requested {
            // The result is stored; it is not needed here.
            let _ = self.self_test(name, test);
        }
    }
}
