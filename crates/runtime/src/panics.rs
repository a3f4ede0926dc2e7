//! Panics inside other crates that come back as errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would come back to its caller as an error: a panic hook should not report
/// it. wgpu panics if a device is lost during a wait, for example.
pub fn panic_is_an_error() -> bool {
    CATCHING.get()
}

/// Runs `f`; the message of its panic, in one line, if it panics. For calls of crates that panic where they should
/// give an error; what `f` was changing must not be used after a panic.
pub fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    let before = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CATCHING.set(before);
    result.map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(catch_panic(|| 3), Ok(3));
        let panicking = catch_panic(|| {
            assert!(panic_is_an_error());
            // Without the hook, which would print.
            std::panic::resume_unwind(Box::new(String::from("Error in poll:\n    lost")));
        });
        assert_eq!(panicking, Err::<(), _>("Error in poll: lost".into()));
        assert!(!panic_is_an_error());
    }
}
