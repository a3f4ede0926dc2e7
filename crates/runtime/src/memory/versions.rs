//! Counts how often memory was written, so that a saved tensor can detect that its values were overwritten.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The versions of a buffer and of the parts that handles refer to. A write counts for every part that it overlaps.
#[derive(Default)]
pub(crate) struct Versions {
    count: AtomicU64,
    parts: Mutex<Vec<Part>>,
}

struct Part {
    start: u64,
    end: u64,
    versions: Weak<Versions>,
}

impl Versions {
    /// How often anything in the buffer was written.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Notes that bytes `start..end` were written.
    pub(crate) fn written(&self, start: u64, end: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        for part in self.parts().iter() {
            if part.start < end
                && start < part.end
                && let Some(versions) = part.versions.upgrade()
            {
                let start = start.max(part.start) - part.start;
                versions.written(start, end.min(part.end) - part.start);
            }
        }
    }

    /// Notes that `part` is the version of bytes `start..end` from now on.
    pub(crate) fn add(&self, part: &Arc<Versions>, start: u64, end: u64) {
        let mut parts = self.parts();
        parts.retain(|part| part.versions.strong_count() > 0);
        parts.push(Part {
            start,
            end,
            versions: Arc::downgrade(part),
        });
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_by_all_that_it_overlaps() {
        let [whole, low, high, inner] = [(); 4].map(|()| Arc::new(Versions::default()));
        whole.add(&low, 0, 64);
        whole.add(&high, 64, 128);
        high.add(&inner, 32, 48);
        let counts = || [&whole, &low, &high, &inner].map(|v| v.count());
        whole.written(0, 8);
        assert_eq!(counts(), [1, 1, 0, 0]);
        whole.written(60, 68);
        assert_eq!(counts(), [2, 2, 1, 0]);
        whole.written(96, 97);
        assert_eq!(counts(), [3, 2, 2, 1]);
        whole.written(112, 128);
        assert_eq!(counts(), [4, 2, 3, 1]);
        drop(low);
        whole.add(&inner, 0, 4);
        whole.written(0, 1);
        assert_eq!(inner.count(), 2);
    }
}
