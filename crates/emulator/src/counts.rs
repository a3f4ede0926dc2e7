//! What a kernel asks of a GPU, subgroup by subgroup: operations, and how memory serves its requests.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use naga::Span;

/// Bytes that device memory moves at once, and banks of workgroup memory with a word each, as of NVIDIA's and AMD's
/// GPUs.
const SECTOR: u32 = 32;
const BANKS: u32 = 32;
const WORD: u32 = 4;

/// What one line of a kernel asked for, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of buffers, each once for a subgroup's request.
    pub bytes: u64,
    /// Bytes of the 32-byte sectors that those bytes lie in. It equals `bytes` where neighbouring invocations use
    /// neighbouring places.
    pub sector_bytes: u64,
    /// Passes of workgroup memory, which serves a word of each of 32 banks in one pass.
    pub passes: u64,
    /// The passes there would be if no two words of a request lay in one bank.
    pub least_passes: u64,
    /// Operations on floats outside of matrix units; a multiplication and an addition are two.
    pub float_operations: u64,
    /// Operations on floats in matrix units.
    pub matrix_operations: u64,
    /// Operations on integers.
    pub integer_operations: u64,
    /// Barriers that workgroups came to.
    pub barriers: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.sector_bytes += other.sector_bytes;
        self.passes += other.passes;
        self.least_passes += other.least_passes;
        self.float_operations += other.float_operations;
        self.matrix_operations += other.matrix_operations;
        self.integer_operations += other.integer_operations;
        self.barriers += other.barriers;
    }
}

/// Counts by the byte of the text where the expression or statement starts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<u32, Counts>,
    at: u32,
}

impl Tally {
    /// What follows is counted for `span`.
    pub fn go_to(&mut self, span: Span) {
        if let Some(range) = span.to_range() {
            self.at = range.start as u32;
        }
    }

    pub fn add(&mut self, counts: Counts) {
        *self.counts.entry(self.at).or_default() += counts;
    }

    /// By the number of the line.
    pub fn by_line(&self, text: &str) -> BTreeMap<u32, Counts> {
        let mut lines = BTreeMap::new();
        for (at, counts) in &self.counts {
            let before = text.get(..*at as usize).unwrap_or_default();
            let line = 1 + before.matches('\n').count() as u32;
            *lines.entry(line).or_insert_with(Counts::default) += *counts;
        }
        lines
    }
}

/// Where the invocations of a subgroup that take part reach, each `length` bytes from its start.
pub(crate) struct Request {
    pub starts: Vec<u32>,
    pub length: u32,
}

impl Request {
    pub fn of_buffer(&self) -> Counts {
        let mut bytes: Vec<u32> = self.starts.clone();
        bytes.sort_unstable();
        bytes.dedup();
        let mut sectors: Vec<u32> = bytes
            .iter()
            .flat_map(|start| start / SECTOR..=(start + self.length - 1) / SECTOR)
            .collect();
        sectors.dedup();
        Counts {
            bytes: bytes.len() as u64 * u64::from(self.length),
            sector_bytes: sectors.len() as u64 * u64::from(SECTOR),
            ..Counts::default()
        }
    }

    /// As many invocations are served together as fit their bytes into the banks; twice as many where they load and
    /// every one reaches where its neighbour does, or the one beside its neighbour, as NVIDIA's GPUs do it since Volta
    /// (G. Smith, "Unexpected shared memory bank conflict", NVIDIA's forum, 2019).
    pub fn of_shared(&self, loads: bool) -> Counts {
        let together = (BANKS * WORD / self.length).clamp(1, BANKS) as usize;
        let in_pairs = |by: usize| {
            let starts = self.starts.iter().enumerate();
            let mut pairs = starts.map(|(i, start)| (start, self.starts.get(i ^ by)));
            pairs.all(|(start, other)| other.is_none_or(|other| start == other))
        };
        let twice = loads && self.length > WORD && (in_pairs(1) || in_pairs(2));
        let mut counts = Counts::default();
        for part in self
            .starts
            .chunks(if twice { 2 * together } else { together })
        {
            let mut words: Vec<u32> = part
                .iter()
                .flat_map(|start| start / WORD..=(start + self.length - 1) / WORD)
                .collect();
            words.sort_unstable();
            words.dedup();
            let mut of_bank = [0_u64; BANKS as usize];
            for word in &words {
                of_bank[(word % BANKS) as usize] += 1;
            }
            counts.passes += of_bank.into_iter().max().unwrap_or(0);
            counts.least_passes += (words.len() as u64).div_ceil(u64::from(BANKS));
        }
        counts
    }
}
