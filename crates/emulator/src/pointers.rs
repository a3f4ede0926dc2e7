//! Pointers: their targets, and reads and writes through them.

use std::borrow::Cow;

use naga::{AddressSpace, ArraySize, AtomicFunction, Expression, Handle, TypeInner};

use crate::arithmetic::atomic_result;
use crate::group::Group;
use crate::memory::Touch;
use crate::types::{Kind, Leaf, row};
use crate::value::{Root, Value};
use crate::{Fault, Result};

/// An index out of bounds; using the pointer gives the error.
const NOWHERE: u32 = u32::MAX;

impl Group<'_, '_> {
    /// What a pointer points to: its scalars.
    fn pointee(&self, pointer: Handle<Expression>) -> Result<Cow<'_, [Leaf]>> {
        match self.inner(pointer) {
            TypeInner::Pointer { base, .. } => {
                if self.program.types.slots(*base) != self.program.types.leaves(*base).len() {
                    return Err(Fault::new(
                        "so large an array or struct as one value is not emulated",
                    ));
                }
                Ok(Cow::Borrowed(self.program.types.leaves(*base)))
            }
            TypeInner::ValuePointer { size, scalar, .. } => {
                let n = size.map_or(1, |size| size as usize);
                Ok(Cow::Owned(row(n, Kind::of(*scalar)?)))
            }
            _ => Err(Fault::new("a load through what is no pointer")),
        }
    }

    /// The pointer to an element or a member. `index` is a number of each invocation.
    pub fn step(&self, base: Handle<Expression>, index: &Value, mask: &[bool]) -> Result<Value> {
        let pointer = self.value(base)?;
        let types = &self.program.types;
        let in_buffer = matches!(pointer.root, Root::Buffer(_));
        // Elements, and how far apart they lie.
        let (count, stride) = match self.inner(base) {
            TypeInner::Pointer { base: ty, .. } => match &self.program.module.types[*ty].inner {
                TypeInner::Array { base, size, stride } => {
                    let stride = if in_buffer {
                        *stride as usize
                    } else {
                        types.slots(*base)
                    };
                    let count = match size {
                        ArraySize::Constant(n) => n.get() as usize,
                        _ => self.runtime_length(pointer, stride),
                    };
                    (count, stride)
                }
                TypeInner::Vector { size, scalar } => {
                    let width = if in_buffer {
                        usize::from(scalar.width)
                    } else {
                        1
                    };
                    (*size as usize, width)
                }
                TypeInner::Struct { members, .. } => {
                    let at = index.at(0, 0) as usize;
                    let offset = match in_buffer {
                        true => members[at].offset,
                        false => members[..at].iter().map(|m| types.slots(m.ty) as u32).sum(),
                    };
                    return Ok(pointer
                        .map(|start| start.saturating_add(offset))
                        .at_root(pointer.root));
                }
                _ => return Err(Fault::new("indexing such a type is not emulated")),
            },
            TypeInner::ValuePointer {
                size: Some(size),
                scalar,
                ..
            } => {
                let width = if in_buffer {
                    usize::from(scalar.width)
                } else {
                    1
                };
                (*size as usize, width)
            }
            _ => return Err(Fault::new("indexing such a type is not emulated")),
        };
        let checked = self.program.machine.checked;
        let next = pointer.zip(index, |start, i| {
            let last = count.saturating_sub(1) as u32;
            let i = if checked { i.min(last) } else { i };
            if start == NOWHERE || i as usize >= count {
                return NOWHERE;
            }
            start + (i as usize * stride) as u32
        });
        // Said here, where the index is known; a pointer that only an inactive invocation holds does no harm.
        for (lane, active) in mask.iter().enumerate() {
            if *active && next.at(0, lane) == NOWHERE && pointer.at(0, lane) != NOWHERE {
                let i = index.at(0, lane);
                let name = self.name_of(pointer.root);
                return Err(Fault::broken(format!(
                    "out of bounds: invocation {lane} takes element {i} of {count} in `{name}`"
                )));
            }
        }
        Ok(next.at_root(pointer.root))
    }

    /// How many elements of `stride` bytes follow a pointer in its buffer.
    pub fn runtime_length(&self, pointer: &Value, stride: usize) -> usize {
        match pointer.root {
            Root::Buffer(index) => {
                let size = self.buffers[index]
                    .as_ref()
                    .map_or(0, |buffer| buffer.size());
                size.saturating_sub(pointer.at(0, 0) as usize) / stride.max(1)
            }
            _ => 0,
        }
    }

    pub fn name_of(&self, root: Root) -> &str {
        let globals = &self.program.module.global_variables;
        let name = match root {
            Root::None => None,
            Root::Local { frame, variable } => {
                let locals = &self.frames[frame].function.local_variables;
                locals
                    .iter()
                    .nth(variable)
                    .and_then(|(_, v)| v.name.as_deref())
            }
            Root::Private(i) | Root::Shared(i) | Root::Buffer(i) => {
                globals.iter().nth(i).and_then(|(_, v)| v.name.as_deref())
            }
        };
        name.unwrap_or("a variable")
    }

    /// What the pointer points to, for the invocations of `mask`.
    pub fn load(
        &mut self,
        pointer: Handle<Expression>,
        mask: &[bool],
        touch: Touch,
    ) -> Result<Value> {
        let at = self.value(pointer)?;
        let lanes = self.lanes;
        if let Some(own) = self.own(at.root) {
            let slots = self.pointee(pointer)?.len();
            if own.lanes == 1 && at.lanes == 1 {
                let start = at.at(0, 0) as usize;
                return Ok(own.pick(start..start + slots));
            }
            let mut words = Vec::with_capacity(slots * lanes);
            for slot in 0..slots {
                if own.lanes == 1 {
                    let word = |lane: usize| own.words[at.at(0, lane) as usize + slot];
                    words.extend((0..lanes).map(|lane| if mask[lane] { word(lane) } else { 0 }));
                } else if at.lanes == 1 {
                    let row = (at.at(0, 0) as usize + slot) * lanes;
                    words.extend_from_slice(&own.words[row..row + lanes]);
                } else {
                    let word =
                        |lane: usize| own.words[(at.at(0, lane) as usize + slot) * lanes + lane];
                    words.extend((0..lanes).map(|lane| if mask[lane] { word(lane) } else { 0 }));
                }
            }
            return Ok(Value {
                words,
                lanes,
                root: Root::None,
            });
        }
        let leaves = self.pointee(pointer)?.into_owned();
        let at = at.clone();
        if let Some(leaf) = leaves.first()
            && !self.is_uniform(at.root)
        {
            self.count_access(at.root, &at, leaves.len(), leaf.kind, touch, mask);
        }
        // Memory that all invocations share and cannot write is read once for each group.
        if let Root::Buffer(index) = at.root
            && at.lanes == 1
            && self.buffers[index]
                .as_ref()
                .is_some_and(|b| !b.is_written())
        {
            let mut words = Vec::with_capacity(leaves.len());
            for leaf in &leaves {
                words.push(self.read(at.root, at.at(0, 0), 0, leaf, 0, touch)?);
            }
            return Ok(Value::uniform(words));
        }
        let mut value = Value::zeros(leaves.len(), lanes);
        for (slot, leaf) in leaves.iter().enumerate() {
            for lane in (0..lanes).filter(|lane| mask[*lane]) {
                value.words[slot * lanes + lane] =
                    self.read(at.root, at.at(0, lane), slot, leaf, lane, touch)?;
            }
        }
        Ok(value)
    }

    /// Whether the memory is in a uniform buffer, which has its own cache.
    fn is_uniform(&self, root: Root) -> bool {
        let Root::Buffer(index) = root else {
            return false;
        };
        let variable = self.program.module.global_variables.iter().nth(index);
        variable.is_some_and(|(_, v)| v.space == AddressSpace::Uniform)
    }

    /// Memory of each invocation's own.
    fn own(&self, root: Root) -> Option<&Value> {
        match root {
            Root::Local { frame, variable } => Some(&self.frames[frame].locals[variable]),
            Root::Private(index) => Some(&self.private[index]),
            _ => None,
        }
    }

    /// One scalar of shared memory for one invocation, or for a subgroup (`lane` from `lanes` on).
    pub fn read(
        &mut self,
        root: Root,
        at: u32,
        slot: usize,
        leaf: &Leaf,
        lane: usize,
        touch: Touch,
    ) -> Result<u32> {
        let (who, lanes) = (self.who(root, lane), self.lanes);
        match root {
            Root::Shared(index) => match &mut self.shared[index] {
                Some(shared) => Ok(*shared.touch(at as usize + slot, touch, who, lanes)?),
                None => Err(Fault::new("no such workgroup variable")),
            },
            Root::Buffer(index) => match &mut self.buffers[index] {
                Some(buffer) => buffer.read((at + leaf.byte) as usize, *leaf, touch, who, lanes),
                None => Err(Fault::new("no such binding")),
            },
            _ => Err(Fault::new(
                "a load of shared memory through another pointer",
            )),
        }
    }

    /// Writes one scalar of shared memory.
    #[allow(clippy::too_many_arguments)]
    pub fn write(
        &mut self,
        root: Root,
        at: u32,
        slot: usize,
        leaf: &Leaf,
        lane: usize,
        word: u32,
        touch: Touch,
    ) -> Result<()> {
        let (who, lanes) = (self.who(root, lane), self.lanes);
        let slot = at as usize + slot;
        match root {
            Root::Shared(index) => match &mut self.shared[index] {
                Some(shared) => *shared.touch(slot, touch, who, lanes)? = word,
                None => return Err(Fault::new("no such workgroup variable")),
            },
            Root::Buffer(index) => match &mut self.buffers[index] {
                Some(buffer) => {
                    buffer.write((at + leaf.byte) as usize, *leaf, word, touch, who, lanes)?;
                }
                None => return Err(Fault::new("no such binding")),
            },
            _ => {
                return Err(Fault::new(
                    "a store to shared memory through another pointer",
                ));
            }
        }
        Ok(())
    }

    pub fn store(
        &mut self,
        pointer: Handle<Expression>,
        value: Handle<Expression>,
        mask: &[bool],
    ) -> Result<()> {
        let leaves = self.pointee(pointer)?.into_owned();
        let at = self.value(pointer)?.clone();
        let value = self.value(value)?.clone();
        let lanes = self.lanes;
        let own = match at.root {
            Root::Local { frame, variable } => Some(&mut self.frames[frame].locals[variable]),
            Root::Private(index) => Some(&mut self.private[index]),
            _ => None,
        };
        if let Some(own) = own {
            // What all invocations set alike is kept once.
            if value.lanes == 1
                && at.lanes == 1
                && own.slots() == leaves.len()
                && !mask.contains(&false)
            {
                *own = value;
                return Ok(());
            }
            if own.lanes != lanes {
                *own = own.spread(lanes);
            }
            for slot in 0..leaves.len() {
                for lane in (0..lanes).filter(|lane| mask[*lane]) {
                    let row = at.at(0, lane) as usize + slot;
                    own.words[row * lanes + lane] = value.at(slot, lane);
                }
            }
            return Ok(());
        }
        if let Some(leaf) = leaves.first() {
            self.count_access(at.root, &at, leaves.len(), leaf.kind, Touch::Write, mask);
        }
        for (slot, leaf) in leaves.iter().enumerate() {
            for lane in (0..self.lanes).filter(|lane| mask[*lane]) {
                let word = value.at(slot, lane);
                self.write(
                    at.root,
                    at.at(0, lane),
                    slot,
                    leaf,
                    lane,
                    word,
                    Touch::Write,
                )?;
            }
        }
        Ok(())
    }

    /// An atomic operation: one invocation after the other.
    pub fn atomic(
        &mut self,
        pointer: Handle<Expression>,
        fun: &AtomicFunction,
        value: Handle<Expression>,
        result: Option<Handle<Expression>>,
        mask: &[bool],
    ) -> Result<()> {
        let at = self.value(pointer)?.clone();
        let value_kind = self.kind(value)?;
        let leaf = Leaf {
            byte: 0,
            kind: value_kind,
        };
        let operand = self.value(value)?.clone();
        let compare = match fun {
            AtomicFunction::Exchange {
                compare: Some(compare),
            } => Some(self.value(*compare)?.clone()),
            _ => None,
        };
        let slots = 1 + usize::from(compare.is_some());
        let mut old = Value::zeros(slots, self.lanes);
        for lane in (0..self.lanes).filter(|lane| mask[*lane]) {
            let start = at.at(0, lane);
            let before = self.read(at.root, start, 0, &leaf, lane, Touch::Atomic)?;
            let compare = compare.as_ref().map(|compare| compare.at(0, lane));
            let after = atomic_result(fun, leaf.kind, before, operand.at(0, lane), compare);
            self.write(at.root, start, 0, &leaf, lane, after, Touch::Atomic)?;
            old.words[lane] = before;
            if let Some(compare) = compare {
                old.words[self.lanes + lane] = u32::from(before == compare);
            }
        }
        if let Some(result) = result {
            self.set(result, old);
        }
        Ok(())
    }
}
