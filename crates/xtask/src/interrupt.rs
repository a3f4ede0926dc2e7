//! Ctrl-C while a child trains: the child finishes its step and saves, and this program waits for
//! it instead of leaving it behind.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

#[cfg(unix)]
extern "C" fn note(_signal: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From here on Ctrl-C only sets a flag. A handler is used instead of "ignore", because the child would inherit
/// "ignore".
#[cfg(unix)]
pub fn hold() {
    unsafe extern "C" {
        fn signal(signal: i32, handler: extern "C" fn(i32)) -> usize;
    }
    const SIGINT: i32 = 2;
    // SAFETY: the C library's `signal` with the signature it has on every Unix (`void (*)(int)`
    // and a pointer-sized result); the handler only stores to an atomic, which is allowed there.
    unsafe {
        signal(SIGINT, note);
    }
}

/// On other systems Ctrl-C ends this program as usual.
#[cfg(not(unix))]
pub fn hold() {}

/// Whether Ctrl-C was pressed since `hold`.
pub fn pressed() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
