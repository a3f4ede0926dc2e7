//! Keeps messages of drivers and backtraces out of standard error.

use std::path::Path;

use anyhow::Context;

/// Silences what Mesa prints when an instance is created. Call it before any thread starts.
pub fn drivers() {
    // "lavapipe is not a conformant Vulkan implementation": known, and `wgrad info` names the adapter.
    set("MESA_VK_IGNORE_CONFORMANCE_WARNING", "true");
    // Mesa's device-select layer asks the Wayland display which GPU is the default, and complains
    // where there can be no display. wgrad chooses by itself, so the layer is not needed there.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    if runtime.is_none_or(|path| !Path::new(&path).is_absolute()) {
        set("NODEVICE_SELECT", "1");
    }
}

/// Sets a variable that the user has not set.
fn set(name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        // SAFETY: `drivers` runs first in main, while this is the only thread of the process.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Whether an error means a closed pipe, on Unix and Windows (109: the pipe has been ended, 232: it is being closed).
fn reader_gone(why: &str) -> bool {
    why.starts_with("Broken pipe")
        || why.ends_with("(os error 109)")
        || why.ends_with("(os error 232)")
}

/// Flushes standard output. Ends the process without a message if the reader of a pipe has gone.
pub fn flush() -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().flush() {
        Err(error) if reader_gone(&error.to_string()) => std::process::exit(141),
        flushed => flushed.context("standard output cannot be written"),
    }
}

/// A panic is a defect; the user sees one line of it, and exit code 101.
pub fn panics() {
    std::panic::set_hook(Box::new(|info| {
        if wgrad_runtime::panic_is_an_error() {
            return;
        }
        let payload = info.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        if let Some(why) = text.strip_prefix("failed printing to stdout: ") {
            // The reader of a pipe has gone (`wgrad info | head`): no message.
            if reader_gone(why) {
                std::process::exit(141);
            }
            eprintln!("error: standard output cannot be written: {why}; is its disk full?");
            std::process::exit(1);
        }
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "error: a defect in wgrad ({at}): {}",
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::reader_gone;

    #[test]
    fn a_full_disk_is_not_taken_for_a_closed_pipe() {
        assert!(reader_gone("Broken pipe (os error 32)"));
        assert!(reader_gone("The pipe is being closed. (os error 232)"));
        assert!(!reader_gone("No space left on device (os error 28)"));
    }
}
