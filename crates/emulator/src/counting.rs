//! Counting what a workgroup's statements ask for.

use crate::counts::{Counts, Request};
use crate::group::{Group, any};
use crate::memory::Touch;
use crate::types::Kind;
use crate::value::{Root, Value};

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
