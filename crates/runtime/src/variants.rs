//! Tuned choices for kernels: which of several kernels and which constants are fastest for a shape on an
//! adapter. `wgrad tune` finds them; the engine looks them up when it records a launch and never tunes.
//!
//! A table is a list of entries, one JSON object a line. Shipped entries are embedded; a user's entries come
//! from [`crate::DeviceOptions::variants`] and take precedence. The op's default is used if no table has an entry, or
//! if the device cannot launch it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adapter::AdapterDescription;

/// The tables that come with the library.
const SHIPPED: &[&str] = &[include_str!("../tables/software.jsonl")];

/// One tuned kernel at one bucket of shapes on one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The tuned kernel, such as `matmul` or `softmax`.
    pub kernel: String,
    /// The shader files of the kernel; empty for a user's kernel.
    pub files: Vec<String>,
    /// [`shader_hash`] of those files, or the hash of a user's kernel. An entry whose hash differs from the current text
    /// is out of date.
    pub hash: String,
    /// As [`crate::AdapterDescription`] has them.
    pub adapter: String,
    /// See `adapter`.
    pub driver: String,
    /// See `adapter`.
    pub backend: String,
    /// See `adapter`.
    pub device_type: String,
    /// See [`bucket`].
    pub bucket: Bucket,
    /// The choice.
    pub values: BTreeMap<String, u32>,
    /// Invocations of a workgroup that a launch needs.
    pub invocations: u32,
    /// Bytes of workgroup memory that a launch needs.
    pub workgroup_bytes: u64,
    /// Seconds of the choice, when it was tuned.
    pub seconds: f64,
    /// Seconds of the default, when the choice was tuned.
    pub default_seconds: f64,
}

/// Sizes by name, each a power of two. Shapes of one bucket share a choice.
pub type Bucket = BTreeMap<String, u64>;

/// Entries in the order of precedence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VariantTable {
    entries: Vec<Entry>,
}

/// The table's choice for a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    files: Vec<String>,
    values: BTreeMap<String, u32>,
    /// How similar the tuned adapter is to this one.
    pub source: Source,
}

/// The adapter that a choice was tuned on, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Tuned on this adapter and driver.
    Exact,
    /// Tuned on this adapter with another driver.
    Adapter,
    /// Tuned on an adapter of the same type and back end.
    Similar,
}

impl Choice {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.values.get(name).copied()
    }

    /// The shader file to launch; with several files, the one with the index `KERNEL`.
    pub fn file(&self) -> Option<&str> {
        let at = self.get("KERNEL").unwrap_or(0) as usize;
        self.files.get(at).map(String::as_str)
    }

    /// All values by name.
    pub fn values(&self) -> &BTreeMap<String, u32> {
        &self.values
    }
}

/// The device to choose for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// As [`crate::AdapterDescription`] has it.
    pub adapter: &'a str,
    /// As [`crate::AdapterDescription`] has it.
    pub driver: &'a str,
    /// As [`crate::AdapterDescription`] has it.
    pub backend: &'a str,
    /// As [`crate::AdapterDescription`] has it.
    pub device_type: &'a str,
    /// The most invocations of a workgroup.
    pub invocations: u32,
    /// The most bytes of workgroup memory.
    pub workgroup_bytes: u64,
}

/// The bucket of a shape: every size rounded to the nearest power of two (of its logarithm).
pub fn bucket(sizes: &[(&str, u64)]) -> Bucket {
    let rounded = |size: u64| 1u64 << ((size.max(1) as f64).log2().round() as u32).min(62);
    sizes
        .iter()
        .map(|(name, size)| ((*name).to_owned(), rounded(*size)))
        .collect()
}

/// Octaves between two buckets, summed over all sizes; `None` if the sizes have other names. An empty bucket matches
/// every shape.
fn distance(a: &Bucket, b: &Bucket) -> Option<u32> {
    if a.is_empty() {
        return Some(0);
    }
    let octaves = |x: u64, y: u64| x.max(1).ilog2().abs_diff(y.max(1).ilog2());
    let same = a.len() == b.len() && a.keys().eq(b.keys());
    same.then(|| {
        a.values()
            .zip(b.values())
            .map(|(x, y)| octaves(*x, *y))
            .sum()
    })
}

/// Buckets further away than this are not used.
const NEAR: u32 = 2;

/// A number for texts, as 16 hexadecimal digits: 64-bit FNV-1a (Fowler, Noll and Vo) over all of them,
/// each with its length behind it.
pub fn text_hash<T: AsRef<[u8]>>(texts: &[T]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for text in texts {
        let text = text.as_ref();
        let length = (text.len() as u64).to_le_bytes();
        for byte in text.iter().chain(&length) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// [`text_hash`] of shader files with everything they import; `None` where one does not exist.
pub fn shader_hash(files: &[String]) -> Option<String> {
    let mut names: Vec<&str> = files.iter().map(String::as_str).collect();
    let mut texts = Vec::new();
    let mut at = 0;
    while let Some(name) = names.get(at).copied() {
        let text = wgrad_shaders::source(name)?;
        for line in text.lines() {
            let import = line.trim().strip_prefix("#import ").map(str::trim);
            names.extend(import.filter(|i| !names.contains(i)));
        }
        texts.push(text);
        at += 1;
    }
    Some(text_hash(&texts))
}

impl VariantTable {
    /// The entries of `text`, a JSON object a line; empty lines and lines that start with `#` are passed
    /// over.
    ///
    /// # Errors
    /// The number of the first line that is not an entry, and the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry =
                serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The table that comes with the library.
    pub fn shipped() -> Self {
        let mut all = Self::default();
        for text in SHIPPED {
            // A test reads each of them; a broken table must not prevent opening a device.
            all.extend(Self::parse(text).unwrap_or_default());
        }
        all
    }

    /// One choice for every shape on `adapter`, to check a choice that a tuner might make.
    pub fn always(
        adapter: &AdapterDescription,
        kernel: &str,
        file: &str,
        values: &[(&str, u32)],
    ) -> Self {
        let files = vec![file.to_owned()];
        let values = values.iter().map(|(name, v)| ((*name).to_owned(), *v));
        let entry = Entry {
            kernel: kernel.to_owned(),
            hash: shader_hash(&files).unwrap_or_default(),
            files,
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            backend: adapter.backend.clone(),
            device_type: adapter.device_type.clone(),
            bucket: Bucket::new(),
            values: values.collect(),
            invocations: 0,
            workgroup_bytes: 0,
            seconds: 0.0,
            default_seconds: 0.0,
        };
        Self {
            entries: vec![entry],
        }
    }

    /// Adds `other`'s entries behind its own.
    pub fn extend(&mut self, other: VariantTable) {
        self.entries.extend(other.entries);
    }

    /// Replaces the entry with the same key, or puts `entry` in front. The text is a part of a user's kernel's key, because
    /// it may have the name of one of wgrad's kernels.
    pub fn insert(&mut self, entry: Entry) {
        let key = |e: &Entry| {
            let of_device = (e.adapter.clone(), e.driver.clone(), e.backend.clone());
            let outside = e.files.is_empty().then(|| e.hash.clone());
            (e.kernel.clone(), outside, e.bucket.clone(), of_device)
        };
        self.entries.retain(|e| key(e) != key(&entry));
        self.entries.insert(0, entry);
    }

    /// All entries, most trusted first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The table as text, in the form that [`VariantTable::parse`] reads.
    pub fn to_text(&self) -> String {
        let lines = self
            .entries
            .iter()
            .filter_map(|e| serde_json::to_string(e).ok());
        lines.map(|line| line + "\n").collect()
    }

    /// Drops entries that are out of date, and entries of users' kernels.
    pub fn current(mut self) -> Self {
        self.entries
            .retain(|e| !e.files.is_empty() && shader_hash(&e.files).as_ref() == Some(&e.hash));
        self
    }

    /// The choice for `kernel` at `sizes`: tuned on the same adapter and driver, else on the same adapter, else on a similar
    /// one. Among these it takes the nearest bucket, at most two octaves away. Choices that the device cannot launch are
    /// ignored.
    pub fn lookup(&self, kernel: &str, sizes: &[(&str, u64)], target: &Target) -> Option<Choice> {
        let mut candidates = self
            .entries
            .iter()
            .filter(|e| e.kernel == kernel)
            .peekable();
        candidates.peek()?;
        let bucket = bucket(sizes);
        let rank = |e: &Entry| {
            let launchable =
                e.invocations <= target.invocations && e.workgroup_bytes <= target.workgroup_bytes;
            if !launchable || e.device_type != target.device_type || e.backend != target.backend {
                return None;
            }
            let source = match (e.adapter == target.adapter, e.driver == target.driver) {
                (true, true) => Source::Exact,
                (true, false) => Source::Adapter,
                (false, _) => Source::Similar,
            };
            let distance = distance(&e.bucket, &bucket).filter(|d| *d <= NEAR)?;
            Some((source, distance))
        };
        let ranked = candidates.filter_map(|e| Some((rank(e)?, e)));
        let ((source, _), entry) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(Choice {
            files: entry.files.clone(),
            values: entry.values.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
