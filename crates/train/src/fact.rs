//! Facts about a run. A checkpoint stores them, and a resumed run compares its own with them: a difference that would make
//! it another run is refused by the flag's name, every other one is said in a line.

use std::collections::BTreeMap;

/// What a difference means for a resumed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing: the checkpoint only stores it.
    Nothing,
    /// The run goes on with the new value.
    Goes,
    /// The run goes on, and this is said instead of the values, which are hashes.
    GoesSaying(&'static str),
    /// The run cannot go on.
    Ends,
    /// The run cannot go on, and this is said instead of the values.
    EndsSaying(&'static str),
}

/// A fact about a run, stored in its checkpoints.
///
/// ```
/// use wgrad_train::Fact;
///
/// let facts = [Fact::setting("dropout", 0.1), Fact::fixed("block_size", 64)];
/// # drop(facts);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    name: String,
    value: String,
    kind: Kind,
}

impl Fact {
    fn new(name: impl Into<String>, value: impl ToString, kind: Kind) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
            kind,
        }
    }

    /// A setting that a resumed run may change: the change is said.
    pub fn setting(name: impl Into<String>, value: impl ToString) -> Self {
        Self::new(name, value, Kind::Goes)
    }

    /// A value that a checkpoint stores for the task and that no run is refused for.
    pub fn stored_only(name: impl Into<String>, value: impl ToString) -> Self {
        Self::new(name, value, Kind::Nothing)
    }

    /// A setting that a resumed run must share.
    pub fn fixed(name: impl Into<String>, value: impl ToString) -> Self {
        Self::new(name, value, Kind::Ends)
    }

    /// Data that a resumed run must share, by its hash. `difference` names the flag and what differs.
    pub fn data(name: impl Into<String>, hash: ContentHash, difference: &'static str) -> Self {
        Self::new(name, hash.0, Kind::EndsSaying(difference))
    }

    /// A setting that a resumed run may change, and that is too long to be said.
    pub(crate) fn saying(name: &str, value: String, difference: &'static str) -> Self {
        Self::new(name, value, Kind::GoesSaying(difference))
    }

    /// Data that a resumed run may change, by its hash. `difference` names the flag and what follows.
    pub fn changing_data(
        name: impl Into<String>,
        hash: ContentHash,
        difference: &'static str,
    ) -> Self {
        Self::new(name, hash.0, Kind::GoesSaying(difference))
    }
}

/// A hash of content: FNV-1a (Fowler, Noll and Vo), the same on every platform and in every release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash(u64);

impl ContentHash {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// With one more part. Where a part ends counts as well.
    pub fn with(self, part: &[u8]) -> Self {
        let length = (part.len() as u64).to_le_bytes();
        let bytes = part.iter().chain(&length);
        Self(bytes.fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// With all of these parts.
    pub fn with_all<T: AsRef<[u8]>>(self, parts: impl IntoIterator<Item = T>) -> Self {
        parts
            .into_iter()
            .fold(self, |hash, part| hash.with(part.as_ref()))
    }
}

impl Default for ContentHash {
    fn default() -> Self {
        Self::new()
    }
}

/// The facts as a checkpoint stores them.
pub(crate) fn stored(facts: &[Fact]) -> BTreeMap<String, String> {
    let pairs = facts.iter().map(|f| (f.name.clone(), f.value.clone()));
    pairs.collect()
}

/// Differences between a checkpoint's run and this one, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// With these the run cannot go on.
    pub refused: Vec<String>,
    /// With these it goes on.
    pub said: Vec<String>,
}

impl Differences {
    /// A fact that the checkpoint does not store, or not any more, is no difference.
    pub(crate) fn new(stored: &BTreeMap<String, String>, facts: &[Fact]) -> Self {
        let mut differences = Self::default();
        for fact in facts {
            let Some(before) = stored.get(&fact.name).filter(|value| **value != fact.value) else {
                continue;
            };
            let values = || format!("{} was {before}, now {}", fact.name, fact.value);
            match fact.kind {
                Kind::Nothing => {}
                Kind::Goes => differences.said.push(values()),
                Kind::GoesSaying(text) => differences.said.push(text.to_owned()),
                Kind::Ends => differences.refused.push(values()),
                Kind::EndsSaying(text) => differences.refused.push(text.to_owned()),
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_said_or_ends_the_run() {
        let hash = |text: &str| ContentHash::new().with(text.as_bytes());
        let of = |rate: f64, size: u32, texts: &str| {
            vec![
                Fact::setting("rate", rate),
                Fact::fixed("size", size),
                Fact::data("texts", hash(texts), "train_file: other texts"),
                Fact::changing_data("valid", hash(texts), "validation_file: other rows"),
            ]
        };
        let before = stored(&of(0.5, 4, "a"));
        assert_eq!(
            Differences::new(&before, &of(0.5, 4, "a")),
            Differences::default()
        );
        let differences = Differences::new(&before, &of(0.25, 8, "b"));
        assert_eq!(
            differences.refused,
            ["size was 4, now 8", "train_file: other texts"]
        );
        assert_eq!(
            differences.said,
            ["rate was 0.5, now 0.25", "validation_file: other rows"]
        );
    }

    #[test]
    fn a_hash_tells_contents_and_parts_apart() {
        let of = |parts: &[&str]| ContentHash::new().with_all(parts);
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_ne!(of(&["ab"]), of(&["ac"]));
    }
}
