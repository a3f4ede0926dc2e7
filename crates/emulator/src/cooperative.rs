//! Cooperative matrices. Element `e` of a matrix, row after row, lies in slot `e / size` of the invocation
//! `e % size` of its subgroup; a kernel cannot see where, so any place will do.

use naga::{CooperativeData, Expression, Handle, TypeInner};

use crate::arithmetic::float;
use crate::counts::Counts;
use crate::group::{Group, any};
use crate::memory::Touch;
use crate::types::{Kind, Leaf};
use crate::value::{Root, Value};
use crate::{Fault, Result};

/// The position of a subgroup's matrix in memory.
struct Place {
    root: Root,
    start: u32,
    /// From one row, or column, to the next: in slots, or in bytes of a buffer.
    stride: u32,
    /// The same from one element to the next.
    step: u32,
}

impl Group<'_, '_> {
    /// Rows, columns and scalar of a cooperative matrix.
    fn matrix(&self, handle: Handle<Expression>) -> Result<(usize, usize, Kind)> {
        match self.inner(handle) {
            TypeInner::CooperativeMatrix {
                columns,
                rows,
                scalar,
                ..
            } => Ok((*rows as usize, *columns as usize, Kind::of(*scalar)?)),
            _ => Err(Fault::new("this is no cooperative matrix")),
        }
    }

    /// The subgroups that take part. All invocations of one must, and no subgroup may be smaller than others.
    fn whole_subgroups(&self, mask: &[bool]) -> Result<Vec<usize>> {
        let size = self.program.machine.subgroup_size as usize;
        let mut found = Vec::new();
        for (number, part) in mask.chunks(size).enumerate() {
            if part.len() == size && !part.contains(&false) {
                found.push(number);
            } else if any(part) {
                return Err(Fault::broken(format!(
                    "a cooperative matrix needs all {size} invocations of subgroup {number}"
                )));
            }
        }
        Ok(found)
    }

    fn place(&self, data: &CooperativeData, subgroup: usize) -> Result<Place> {
        let size = self.program.machine.subgroup_size as usize;
        let (pointer, stride) = (self.value(data.pointer)?, self.value(data.stride)?);
        let first = subgroup * size;
        for lane in first..first + size {
            if pointer.at(0, lane) != pointer.at(0, first)
                || stride.at(0, lane) != stride.at(0, first)
            {
                return Err(Fault::broken(format!(
                    "a cooperative matrix of subgroup {subgroup}: invocations {first} and {lane} name other places"
                )));
            }
        }
        // A stride counts what the pointer points to, be it a scalar or a vector.
        let (n, kind) = match self.inner(data.pointer) {
            TypeInner::Pointer { base, .. } => {
                let leaves = self.program.types.leaves(*base);
                let kind = leaves.first().map(|leaf| leaf.kind);
                (
                    leaves.len(),
                    kind.ok_or_else(|| Fault::new("a pointer to an empty type"))?,
                )
            }
            TypeInner::ValuePointer { size, scalar, .. } => {
                (size.map_or(1, |size| size as usize), Kind::of(*scalar)?)
            }
            _ => return Err(Fault::new("a cooperative matrix from what is no pointer")),
        };
        let step = match pointer.root {
            Root::Buffer(_) => kind.bytes() as u32,
            _ => 1,
        };
        Ok(Place {
            root: pointer.root,
            start: pointer.at(0, first),
            stride: stride.at(0, first) * n as u32 * step,
            step,
        })
    }

    /// Counts a matrix that is moved as units move it, 8 elements of each of as many rows at once as make up 128 bytes,
    /// or columns where they lie in a row.
    fn count_matrix(&mut self, place: &Place, side: usize, kind: Kind) {
        let run = side.min(8);
        let bytes = (run * kind.bytes()) as u32;
        for part in 0..side / run {
            for lines in (0..side).collect::<Vec<_>>().chunks(128 / bytes as usize) {
                let starts = lines.iter().map(|line| place.at(*line, part * run, true));
                let starts = starts.collect();
                self.count_request(place.root, starts, bytes, kind, Touch::Write);
            }
        }
    }

    pub fn cooperative_load(
        &mut self,
        handle: Handle<Expression>,
        data: &CooperativeData,
        mask: &[bool],
    ) -> Result<Value> {
        let (rows, columns, kind) = self.matrix(handle)?;
        let size = self.program.machine.subgroup_size as usize;
        let mut value = Value::zeros((rows * columns).div_ceil(size), self.lanes);
        for subgroup in self.whole_subgroups(mask)? {
            let place = self.place(data, subgroup)?;
            self.count_matrix(&place, rows, kind);
            for e in 0..rows * columns {
                let at = place.at(e / columns, e % columns, data.row_major);
                let who = self.lanes + subgroup;
                let word = self.read(place.root, at, 0, &leaf(kind), who, Touch::Read)?;
                value.words[e / size * self.lanes + subgroup * size + e % size] = word;
            }
        }
        Ok(value)
    }

    pub fn cooperative_store(
        &mut self,
        target: Handle<Expression>,
        data: &CooperativeData,
        mask: &[bool],
    ) -> Result<()> {
        let (rows, columns, kind) = self.matrix(target)?;
        let size = self.program.machine.subgroup_size as usize;
        let value = self.value(target)?.clone();
        for subgroup in self.whole_subgroups(mask)? {
            let place = self.place(data, subgroup)?;
            self.count_matrix(&place, rows, kind);
            for e in 0..rows * columns {
                let at = place.at(e / columns, e % columns, data.row_major);
                let word = value.at(e / size, subgroup * size + e % size);
                let who = self.lanes + subgroup;
                self.write(place.root, at, 0, &leaf(kind), who, word, Touch::Write)?;
            }
        }
        Ok(())
    }

    /// `a b + c`: products and sums in f32 where `c` is f32, one after the other.
    pub fn cooperative_multiply_add(
        &mut self,
        a: Handle<Expression>,
        b: Handle<Expression>,
        c: Handle<Expression>,
        mask: &[bool],
    ) -> Result<Value> {
        let (rows, columns, kind) = self.matrix(c)?;
        let (_, inner, _) = self.matrix(a)?;
        let size = self.program.machine.subgroup_size as usize;
        let subgroups = self.whole_subgroups(mask)?;
        if let Some(tally) = self.tally {
            let each = 2 * rows * columns * inner;
            tally.add(Counts {
                matrix_operations: (each * subgroups.len()) as u64,
                ..Counts::default()
            });
        }
        let (a, b, c) = (self.value(a)?, self.value(b)?, self.value(c)?);
        let mut value = Value::zeros((rows * columns).div_ceil(size), self.lanes);
        for subgroup in subgroups {
            let first = subgroup * size;
            let element = |m: &Value, e: usize| f32::from_bits(m.at(e / size, first + e % size));
            for e in 0..rows * columns {
                let (row, column) = (e / columns, e % columns);
                let mut sum = element(c, e);
                for k in 0..inner {
                    sum += element(a, row * inner + k) * element(b, k * columns + column);
                }
                value.words[e / size * self.lanes + first + e % size] = float(kind, sum);
            }
        }
        Ok(value)
    }
}

impl Place {
    fn at(&self, row: usize, column: usize, row_major: bool) -> u32 {
        let (major, minor) = if row_major {
            (row, column)
        } else {
            (column, row)
        };
        self.start + major as u32 * self.stride + minor as u32 * self.step
    }
}

fn leaf(kind: Kind) -> Leaf {
    Leaf { byte: 0, kind }
}
