//! What a kernel asks of a GPU, subgroup by subgroup: operations, and how memory serves its requests.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use naga::Span;

use crate::group::{Group, any};
use crate::memory::Touch;
use crate::types::Kind;
use crate::value::{Root, Value};

/// Bytes that device memory moves at once, and banks of workgroup memory with a word each, as of NVIDIA's and AMD's
/// GPUs.
const SECTOR: u32 = 32;
const BANKS: u32 = 32;
const WORD: u32 = 4;

/// What one line of a kernel asked for, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of buffers, each once for a subgroup's request, and the bytes of the 32-byte sectors that they lie in:
    /// with neighbours at neighbouring places both are alike.
    pub bytes: u64,
    pub sector_bytes: u64,
    /// Passes of workgroup memory, which serves a word of each of 32 banks in one, and how many there would be if no
    /// two words of a request lay in one bank.
    pub passes: u64,
    pub least_passes: u64,
    /// Operations on floats, a multiplication and an addition being two; those of matrix units apart; and on integers.
    pub float_operations: u64,
    pub matrix_operations: u64,
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
struct Request {
    starts: Vec<u32>,
    length: u32,
}

impl Request {
    fn of_buffer(&self) -> Counts {
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
    fn of_shared(&self, loads: bool) -> Counts {
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

impl Group<'_, '_> {
    /// One access of `slots` scalars that start at `at`, by the invocations of `mask`.
    pub fn count_access(
        &mut self,
        root: Root,
        at: &Value,
        slots: usize,
        kind: Kind,
        touch: Touch,
        mask: &[bool],
    ) {
        if self.tally.is_none() || slots == 0 {
            return;
        }
        let length = (slots * kind.bytes()) as u32;
        let size = self.program.machine.subgroup_size as usize;
        for (number, part) in mask.chunks(size).enumerate().filter(|(_, part)| any(part)) {
            let lanes = (0..part.len()).filter(|lane| part[*lane]);
            let starts = lanes.map(|lane| at.at(0, number * size + lane));
            self.count_request(root, starts.collect(), length, kind, touch);
        }
    }

    /// A subgroup's request. Places in workgroup memory are counted in scalars of `kind`.
    pub fn count_request(
        &mut self,
        root: Root,
        starts: Vec<u32>,
        length: u32,
        kind: Kind,
        touch: Touch,
    ) {
        let Some(tally) = &mut self.tally else { return };
        let mut request = Request { starts, length };
        match root {
            Root::Buffer(_) => tally.add(request.of_buffer()),
            Root::Shared(_) => {
                for start in &mut request.starts {
                    *start *= kind.bytes() as u32;
                }
                tally.add(request.of_shared(touch == Touch::Read));
            }
            _ => {}
        }
    }

    /// `each` operations of every invocation of `mask`, for each of `slots` scalars of `kind`.
    pub fn count_operations(&mut self, kind: Kind, slots: usize, each: u64, mask: &[bool]) {
        let Some(tally) = &mut self.tally else { return };
        let count = each * slots as u64 * mask.iter().filter(|active| **active).count() as u64;
        let mut counts = Counts::default();
        match kind {
            Kind::F32 | Kind::F16 => counts.float_operations = count,
            _ => counts.integer_operations = count,
        }
        tally.add(counts);
    }
}
