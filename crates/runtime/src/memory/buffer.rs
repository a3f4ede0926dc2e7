//! Handles to device memory. A handle says where its memory is, and that may change ([`crate::Device::pack`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::pool::Taken;
use crate::error::{Error, Result};

/// A piece of device memory. Clones share it; the last one to go returns it to the pool. Its memory may
/// move ([`crate::Device::pack`]); handles stay valid.
#[derive(Clone)]
pub struct Buffer(Arc<Handle>);

struct Handle {
    place: RwLock<Place>,
    size: u64,
    /// How often its contents were replaced in place.
    version: AtomicU64,
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
        Buffer(Arc::new(Handle {
            size: taken.size(),
            place: RwLock::new(Place::Own(Arc::new(taken))),
            version: AtomicU64::new(0),
        }))
    }

    /// The size asked for, in bytes (a multiple of 4).
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Bytes that may be read: the size rounded up to whole 16-byte texels.
    pub(crate) fn padded_size(&self) -> u64 {
        self.0.size.next_multiple_of(16)
    }

    /// How often [`Buffer::mark_written`] was called on a handle to it.
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// Says that its contents were replaced in place: whoever remembers an earlier version has lost them.
    pub fn mark_written(&self) {
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether both lie in one piece of device memory: a launch cannot read one and write the other.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.place().0, &other.place().0)
    }

    /// How many handles there are to this buffer, this one included; nothing for a part of another.
    pub fn handles(&self) -> Option<usize> {
        let place = self.0.place.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*place, Place::Own(_)).then(|| Arc::strong_count(&self.0))
    }

    /// Its memory, and the byte there that it begins at.
    pub(crate) fn place(&self) -> (Arc<Taken>, u64) {
        let place = self.0.place.read().unwrap_or_else(PoisonError::into_inner);
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
        let place = self.0.place.read().unwrap_or_else(PoisonError::into_inner);
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
        Ok(Buffer(Arc::new(Handle {
            place: RwLock::new(Place::Inside(self.clone(), offset)),
            size,
            version: AtomicU64::new(0),
        })))
    }

    /// Lets the handle stand for a part of `outer` from now on.
    pub(crate) fn move_into(&self, outer: &Buffer, at: u64) {
        let mut place = self.0.place.write().unwrap_or_else(PoisonError::into_inner);
        *place = Place::Inside(outer.clone(), at);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.size())
    }
}
