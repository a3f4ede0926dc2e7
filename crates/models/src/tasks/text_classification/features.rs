//! How much host memory the features of frozen layers may take.

use anyhow::Result;
use wgrad_train::checkpoint::TrainerState;
use wgrad_train::{Fact, TrainingArguments, host_memory};

/// Where the system does not say how much memory is free.
const DEFAULT_BYTES: u64 = 2 << 30;

/// The name under which a checkpoint stores the bytes.
const FACT: &str = "feature_cache bytes";

/// The memory for features, and what was found to go into it.
pub struct FeatureRoom {
    bytes: u64,
    left: u64,
    /// Rows and bytes that are kept, that are computed at every use, and that are used once.
    kept: (usize, u64),
    computed: (usize, u64),
    once: (usize, u64),
}

impl FeatureRoom {
    fn of_bytes(bytes: u64) -> Self {
        Self {
            bytes,
            left: bytes,
            kept: (0, 0),
            computed: (0, 0),
            once: (0, 0),
        }
    }

    /// As many MiB as requested, or a quarter of the free memory. A resumed run takes what its checkpoint's run took:
    /// features that are cached are computed in other batches than those that are not, which may round sums differently.
    pub fn new(mib: Option<usize>, training: &TrainingArguments) -> Result<Self> {
        if let Some(mib) = mib {
            return Ok(Self::of_bytes((mib as u64).saturating_mul(1 << 20)));
        }
        if let Some(path) = training.checkpoint() {
            let state = TrainerState::read(&path)?;
            if let Some(bytes) = state.fact(FACT).and_then(|bytes| bytes.parse().ok()) {
                return Ok(Self::of_bytes(bytes));
            }
        }
        let quarter = host_memory::available().map(|free| free / 4);
        Ok(Self::of_bytes(quarter.unwrap_or(DEFAULT_BYTES)))
    }

    /// What a checkpoint stores. It makes no difference to the results.
    pub fn fact(&self) -> Fact {
        Fact::stored_only(FACT, self.bytes)
    }

    /// Takes room for the features of `rows` texts that are used so often. False: they are not to be kept.
    pub fn take(&mut self, rows: usize, bytes: usize, uses: u64) -> bool {
        let bytes = bytes as u64;
        let keep = uses > 1 && bytes <= self.left;
        let sum = match (keep, uses > 1) {
            (true, _) => &mut self.kept,
            (false, true) => &mut self.computed,
            (false, false) => &mut self.once,
        };
        *sum = (sum.0 + rows, sum.1 + bytes);
        if keep {
            self.left -= bytes;
        }
        keep
    }

    /// A line about the features, where there are any.
    pub fn line(&self) -> Option<String> {
        let rows = self.kept.0 + self.computed.0 + self.once.0;
        let bytes = self.kept.1 + self.computed.1 + self.once.1;
        let whole = format!("features of {rows} rows take {}", size(bytes));
        let line = match (self.kept, self.computed, self.once) {
            _ if rows == 0 => return None,
            ((0, _), (0, _), _) => format!("{whole}; each is used once, so none is kept in memory"),
            (_, (0, _), (0, _)) => format!("{whole} of memory"),
            ((kept, room), (computed, _), (once, _)) => {
                let mut line = format!(
                    "{whole}; those of {kept} rows ({}) are kept in memory",
                    size(room)
                );
                if computed > 0 {
                    line += &format!(
                        ", those of {computed} rows are computed at each use (feature_cache {} MiB)",
                        self.bytes >> 20
                    );
                }
                if once > 0 {
                    line += &format!(", those of {once} rows are used once");
                }
                line
            }
        };
        Some(line)
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{:.1} kB", bytes as f64 / 1e3),
        0x10_0000..0x4000_0000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_again_is_kept_while_there_is_room() {
        let mut room = FeatureRoom::of_bytes(100 << 20);
        assert_eq!(room.line(), None);
        assert!(room.take(10, 60 << 20, 3));
        assert_eq!(
            room.line().unwrap(),
            "features of 10 rows take 62.9 MB of memory"
        );
        assert!(!room.take(20, 60 << 20, 3));
        assert!(room.take(1, 40 << 20, 2));
        assert!(!room.take(5, 1, 1));
        assert_eq!(
            room.line().unwrap(),
            "features of 36 rows take 167.8 MB; those of 11 rows (104.9 MB) are kept in memory, those of 20 rows are \
             computed at each use (feature_cache 100 MiB), those of 5 rows are used once"
        );
        let mut once = FeatureRoom::of_bytes(1 << 20);
        assert!(!once.take(3, 1000, 1));
        let line = once.line().unwrap();
        assert_eq!(
            line,
            "features of 3 rows take 1.0 kB; each is used once, so none is kept in memory"
        );
    }

    #[test]
    fn the_flag_sets_the_room() {
        let training = TrainingArguments::default();
        let room = FeatureRoom::new(Some(3), &training).unwrap();
        assert_eq!(room.bytes, 3 << 20);
        assert!(FeatureRoom::new(None, &training).unwrap().bytes > 0);
    }
}
