//! Handles to device memory. A handle holds the position of its memory, which may change ([`crate::Device::pack`]).

use std::sync::{Arc, PoisonError, RwLock};

use super::pool::Taken;
use super::versions::Versions;
use super::watch::Watch;
use crate::error::{Error, Result};

/// A piece of device memory. Clones share it; the last one to go returns it to the pool. Its memory may
/// move ([`crate::Device::pack`]); handles stay valid.
#[derive(Clone)]
pub struct Buffer {
    handle: Arc<Handle>,
    watch: Option<Watch>,
}

struct Handle {
    place: RwLock<Place>,
    size: u64,
    versions: Arc<Versions>,
}

/// Where a buffer's memory is.
enum Place {
    Own(Arc<Taken>),
    /// Inside another buffer, from this byte on.
    Inside(Buffer, u64),
}

impl Buffer {
    /// A handle to the whole of `taken`.
    pub(crate) fn new(taken: Taken) -> Self {
        let size = taken.size();
        Self::at(Place::Own(Arc::new(taken)), size)
    }

    fn at(place: Place, size: u64) -> Self {
        Self {
            handle: Arc::new(Handle {
                place: RwLock::new(place),
                size,
                versions: Arc::default(),
            }),
            watch: None,
        }
    }

    /// The same memory with the mark `watch`, or without a mark: see [`Watch`].
    pub fn watched(&self, watch: Option<Watch>) -> Self {
        Self {
            handle: self.handle.clone(),
            watch,
        }
    }

    /// The mark on this handle.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// The requested size, in bytes (a multiple of 4).
    pub fn size(&self) -> u64 {
        self.handle.size
    }

    /// Bytes that may be read: the size rounded up to whole 16-byte texels.
    pub(crate) fn padded_size(&self) -> u64 {
        self.handle.size.next_multiple_of(16)
    }

    /// How often its bytes were written, through any handle to them. Launches count what they bind to be written.
    pub fn version(&self) -> u64 {
        self.handle.versions.count()
    }

    /// Marks its bytes as written, so that saved earlier versions become invalid. For launches that do not mark their
    /// buffers themselves ([`crate::Launch::without_marks`]).
    pub fn mark_written(&self) {
        self.mark_bytes(0, self.size());
    }

    /// Marks `bytes` bytes from `offset` on as written.
    pub(crate) fn mark_bytes(&self, offset: u64, bytes: u64) {
        let (outer, at) = self.outermost();
        let start = at + offset;
        outer.handle.versions.written(start, start + bytes);
    }

    /// Whether both are parts of one buffer of the driver. A launch cannot read one and write the other then.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.place().0, &other.place().0)
    }

    /// How many handles there are to this buffer, this one included; nothing for a part of another.
    pub fn handles(&self) -> Option<usize> {
        let place = self
            .handle
            .place
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        matches!(&*place, Place::Own(_)).then(|| Arc::strong_count(&self.handle))
    }

    /// Its memory, and the byte there that it begins at.
    pub(crate) fn place(&self) -> (Arc<Taken>, u64) {
        let place = self
            .handle
            .place
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Place::Own(taken) => (taken.clone(), 0),
            Place::Inside(outer, at) => {
                let (taken, start) = outer.place();
                (taken, start + at)
            }
        }
    }

    /// The outermost buffer that this one lies in (itself, if in none), and the byte it begins at there.
    pub fn outermost(&self) -> (Buffer, u64) {
        let place = self
            .handle
            .place
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Place::Own(_) => (self.clone(), 0),
            Place::Inside(outer, at) => {
                let (found, start) = outer.outermost();
                (found, start + at)
            }
        }
    }

    /// A handle to `size` bytes of this buffer from `offset` on (a multiple of 256 in the outermost one, if
    /// it is to be bound).
    pub fn part(&self, offset: u64, size: u64) -> Result<Buffer> {
        if offset.checked_add(size).is_none_or(|end| end > self.size()) {
            return Err(Error::Launch {
                kernel: "part".into(),
                message: format!("{size} bytes at {offset} of a buffer of {}", self.size()),
            });
        }
        let part = Self::at(Place::Inside(self.watched(None), offset), size);
        let versions = &self.handle.versions;
        versions.add(&part.handle.versions, offset, offset + size);
        Ok(part.watched(self.watch.clone()))
    }

    /// Makes the handle refer to a part of `outer` from now on.
    pub(crate) fn move_into(&self, outer: &Buffer, at: u64) {
        let mut place = self
            .handle
            .place
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Place::Inside(outer.watched(None), at);
        let versions = &outer.handle.versions;
        versions.add(&self.handle.versions, at, at + self.size());
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.size())
    }
}
