//! What stands between a file and the `tokenizers` crate. The crate trusts `tokenizer.json`: a damaged one makes it
//! panic, take gigabytes or index past the end. So the file is checked before the crate sees it (`parts`), and a
//! panic inside the crate comes back as an error (`docs/decisions/0021`).

mod charsmap;
mod parts;

use std::str::FromStr;
use std::sync::Once;

use anyhow::{Context, Result, anyhow};
use tokenizers::Tokenizer;
use wgrad_runtime::{catch_panic, panic_is_an_error};

use super::one_line;

/// The tokenizer of a `tokenizer.json`.
///
/// Errors: the text is not one, or one that the crate would not survive.
pub(super) fn load(json: &[u8]) -> Result<Tokenizer> {
    let text = std::str::from_utf8(json).context("not UTF-8")?;
    match parts::check(text)? {
        Some(mended) => caught("load", || Tokenizer::from_str(&mended)),
        None => caught("load", || Tokenizer::from_str(text)),
    }
}

/// Runs a call into the crate; its error, or the message of its panic. A panic is not printed.
pub(super) fn caught<T>(what: &str, f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    quiet();
    match catch_panic(f) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(anyhow!("cannot {what}: {}", one_line(&error.to_string()))),
        Err(message) => Err(anyhow!(
            "cannot {what}: the tokenizer's settings contradict each other ({message}); save the tokenizer anew in Python"
        )),
    }
}

/// Makes the process's panic hook pass over the panics that become errors.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !panic_is_an_error() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests;
