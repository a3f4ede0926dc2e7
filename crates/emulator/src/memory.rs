//! Memory that invocations share, and who touched what since the last barrier.

use half::f16;

use crate::types::{Kind, Leaf};
use crate::{Binding, Fault, Result};

/// How memory is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    Write,
    Atomic,
}

/// Who touches: an invocation, or a subgroup as a whole when it moves a cooperative matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    /// The workgroup's number in the grid.
    pub group: u32,
    /// The invocation in the group; `lanes` plus its number for a subgroup.
    pub lane: u32,
    /// How many barriers for this kind of memory the group has passed.
    pub epoch: u32,
}

const NOBODY: u32 = u32::MAX;

/// One touch, or none while `lane` is `NOBODY`.
#[derive(Debug, Clone, Copy)]
struct Mark {
    group: u32,
    lane: u32,
    epoch: u32,
}

impl Mark {
    const NONE: Mark = Mark {
        group: 0,
        lane: NOBODY,
        epoch: 0,
    };

    /// Whether nothing orders this touch before one of `who`.
    fn races(self, who: Who) -> bool {
        self.lane != NOBODY
            && (self.group != who.group || (self.epoch == who.epoch && self.lane != who.lane))
    }
}

/// The accesses to one scalar in memory. Workgroups run one after the other, so a reader of another
/// group, if there is one, is the first; of this group's readers the last two that differ are enough,
/// since one of them is not the writer.
#[derive(Debug, Clone, Copy)]
struct Cell {
    writer: Mark,
    atomic: bool,
    first: Mark,
    last: Mark,
    other: Mark,
}

const UNTOUCHED: Cell = Cell {
    writer: Mark::NONE,
    atomic: false,
    first: Mark::NONE,
    last: Mark::NONE,
    other: Mark::NONE,
};

impl Cell {
    fn touch(&mut self, touch: Touch, who: Who) -> std::result::Result<(), (Mark, &'static str)> {
        let mark = Mark {
            group: who.group,
            lane: who.lane,
            epoch: who.epoch,
        };
        if self.writer.races(who) && !(self.atomic && touch == Touch::Atomic) {
            return Err((self.writer, "writes"));
        }
        if touch == Touch::Read {
            if self.first.lane == NOBODY {
                self.first = mark;
            }
            if self.last.lane != mark.lane || self.last.group != mark.group {
                self.other = self.last;
            }
            self.last = mark;
            return Ok(());
        }
        for reader in [self.first, self.last, self.other] {
            if reader.races(who) {
                return Err((reader, "reads"));
            }
        }
        self.writer = mark;
        self.atomic = touch == Touch::Atomic;
        Ok(())
    }
}

/// How an invocation is called in a message.
fn name(lane: u32, lanes: usize) -> String {
    match lane.checked_sub(lanes as u32) {
        None => format!("invocation {lane}"),
        Some(subgroup) => format!("subgroup {subgroup}"),
    }
}

fn race(what: &str, touch: Touch, who: Who, other: (Mark, &str), lanes: usize) -> Fault {
    let (mark, does) = other;
    let verb = if touch == Touch::Read {
        "reads"
    } else {
        "writes"
    };
    let me = name(who.lane, lanes);
    let other = name(mark.lane, lanes);
    Fault::broken(if mark.group == who.group {
        format!(
            "race: {me} {verb} {what}, which {other} {does}, with no barrier for that memory between"
        )
    } else {
        format!(
            "race: {me} of workgroup {} {verb} {what}, which {other} of workgroup {} {does}",
            who.group, mark.group
        )
    })
}

/// A `var<workgroup>` of one workgroup, by slots.
#[derive(Debug)]
pub(crate) struct Shared {
    pub name: String,
    words: Vec<u32>,
    cells: Vec<Cell>,
    zeroed: bool,
}

impl Shared {
    pub fn new(name: String, slots: usize, zeroed: bool) -> Self {
        Shared {
            name,
            words: vec![0; slots],
            cells: vec![UNTOUCHED; slots],
            zeroed,
        }
    }

    /// Checks one touch of a slot and returns its place.
    pub fn touch(&mut self, slot: usize, touch: Touch, who: Who, lanes: usize) -> Result<&mut u32> {
        let Some(cell) = self.cells.get_mut(slot) else {
            let (n, name) = (self.words.len(), &self.name);
            return Err(Fault::broken(format!(
                "`{name}` is reached beyond its end, at {slot} of {n} scalars"
            )));
        };
        if touch != Touch::Write && cell.writer.lane == NOBODY && !self.zeroed {
            let (me, name) = (crate::memory::name(who.lane, lanes), &self.name);
            return Err(Fault::broken(format!(
                "{me} reads scalar {slot} of the workgroup memory `{name}`, which nobody has written"
            )));
        }
        cell.touch(touch, who).map_err(|other| {
            race(
                &format!("scalar {slot} of `{}`", self.name),
                touch,
                who,
                other,
                lanes,
            )
        })?;
        Ok(&mut self.words[slot])
    }
}

/// Device memory behind a binding, by bytes.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub name: String,
    bytes: Vec<u8>,
    access: Access,
    /// One for each scalar of a buffer that may be written.
    cells: Vec<Cell>,
    /// Bytes of the narrowest scalar.
    width: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    ReadWrite,
    /// Texels in a row.
    Texels(u32),
}

impl Buffer {
    pub fn new(name: String, binding: &Binding, narrow: bool) -> Self {
        let width = if narrow { 2 } else { 4 };
        let (bytes, access) = match binding {
            Binding::Read(bytes) => (bytes.to_vec(), Access::Read),
            Binding::Texels(bytes, row) => (bytes.to_vec(), Access::Texels(*row)),
            Binding::ReadWrite(bytes) => (bytes.to_vec(), Access::ReadWrite),
        };
        let cells = match access {
            Access::ReadWrite => bytes.len() / width,
            _ => 0,
        };
        Buffer {
            name,
            bytes,
            access,
            cells: vec![UNTOUCHED; cells],
            width,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a kernel can write to it.
    pub fn is_written(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// Texels in a row, where it is a texture.
    pub fn texels(&self) -> Option<u32> {
        match self.access {
            Access::Texels(row) => Some(row),
            _ => None,
        }
    }

    fn check(&mut self, at: usize, leaf: Leaf, touch: Touch, who: Who, lanes: usize) -> Result<()> {
        let size = self.size();
        if at + leaf.kind.bytes() > size {
            let (me, name) = (crate::memory::name(who.lane, lanes), &self.name);
            return Err(Fault::broken(format!(
                "out of bounds: {me} reaches byte {at} of `{name}`, which has {size}"
            )));
        }
        if let Some(cell) = self.cells.get_mut(at / self.width) {
            cell.touch(touch, who).map_err(|other| {
                race(
                    &format!("byte {at} of `{}`", self.name),
                    touch,
                    who,
                    other,
                    lanes,
                )
            })?;
        }
        Ok(())
    }

    /// Reads a scalar that starts at byte `at`.
    pub fn read(
        &mut self,
        at: usize,
        leaf: Leaf,
        touch: Touch,
        who: Who,
        lanes: usize,
    ) -> Result<u32> {
        self.check(at, leaf, touch, who, lanes)?;
        let bytes = &self.bytes[at..];
        Ok(match leaf.kind {
            Kind::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32().to_bits(),
            _ => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        })
    }

    /// Writes one.
    pub fn write(
        &mut self,
        at: usize,
        leaf: Leaf,
        word: u32,
        touch: Touch,
        who: Who,
        lanes: usize,
    ) -> Result<()> {
        self.check(at, leaf, touch, who, lanes)?;
        if self.access != Access::ReadWrite {
            return Err(Fault::new(format!(
                "`{}` is bound for reading only",
                self.name
            )));
        }
        let bytes = &mut self.bytes;
        match leaf.kind {
            Kind::F16 => {
                let half = f16::from_f32(f32::from_bits(word));
                bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
            }
            _ => bytes[at..at + 4].copy_from_slice(&word.to_le_bytes()),
        }
        Ok(())
    }
}
