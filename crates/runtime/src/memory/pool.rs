//! Device memory: whole buffers in size classes, taken back when the last handle goes.
//!
//! A buffer that is dropped may be handed out again at once, although work that uses it is still
//! recorded or running: the queue runs everything in the order of recording, so the next user's
//! writes come after the last user's reads.

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::device::{Device, Inner};
use crate::error::{Error, Result};

/// Bytes put behind every buffer in guard mode.
const GUARD_BYTES: u64 = 1024;
/// Guard and poison pattern: a NaN as f32 and f16, and an index far out of range as u32.
const POISON: u8 = 0xff;

/// Free buffers by capacity, and the books.
#[derive(Default)]
pub(crate) struct Pool {
    free: BTreeMap<u64, Vec<Slot>>,
    /// Guard mode: buffers given back and not yet looked at.
    returned: Vec<(Slot, u64)>,
    live: HashSet<u64>,
    in_use: u64,
    allocated: u64,
    peak: u64,
    buffers: u64,
}

/// What a device has allocated. All in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReport {
    /// Held by live tensors.
    pub in_use: u64,
    /// Allocated from the driver: in use, or free in the pool.
    pub allocated: u64,
    /// The largest `in_use` so far.
    pub peak: u64,
    /// The number of buffers allocated from the driver.
    pub buffers: u64,
}

pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) raw: wgpu::Buffer,
    capacity: u64,
    /// The recording (by number) that last used it: an upload must not overtake that.
    pub(crate) last_use: AtomicU64,
}

/// A slot in use. It returns to the pool when the last of its users goes.
pub(crate) struct Taken {
    slot: Option<Slot>,
    size: u64,
    device: Weak<Inner>,
}

impl Deref for Taken {
    type Target = Slot;
    fn deref(&self) -> &Slot {
        // The slot is taken out in `drop` only.
        match &self.slot {
            Some(slot) => slot,
            None => unreachable!("a live buffer has a slot"),
        }
    }
}

/// A piece of device memory. Clones share it; the last one to go returns it to the pool. Its memory may
/// move ([`Device::pack`]); handles stay valid.
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

impl Drop for Taken {
    fn drop(&mut self) {
        let (Some(slot), Some(inner)) = (self.slot.take(), self.device.upgrade()) else {
            return;
        };
        let device = Device(inner);
        let mut pool = device.lock(&device.0.pool);
        pool.in_use -= slot.capacity;
        if device.0.options.guard {
            pool.live.remove(&slot.id);
            pool.returned.push((slot, self.size));
        } else {
            pool.free.entry(slot.capacity).or_default().push(slot);
        }
    }
}

/// Rounds up to one of eight classes an octave: at most 12.5 % is wasted.
fn class(size: u64) -> u64 {
    let size = size.max(256);
    let step = (1u64 << size.ilog2()) / 8;
    size.next_multiple_of(step.max(256))
}

impl Device {
    /// Memory of `size` bytes (rounded up to 4). Its contents are unspecified.
    pub fn alloc(&self, size: u64) -> Result<Buffer> {
        let size = size.max(4).next_multiple_of(4);
        // Whole texels: buffers are read as such, and a class is rounded up to one.
        let max = self.0.limits.max_buffer_size & !15;
        if size > max {
            return Err(Error::Limit {
                what: "a buffer".into(),
                bytes: size,
                limit: max,
                fix: "use a smaller batch or split the tensor",
            });
        }
        let guard = self.0.options.guard;
        let wanted = if guard {
            size.next_multiple_of(16) + GUARD_BYTES
        } else {
            class(size).min(max)
        };
        let reused = {
            let mut pool = self.lock(&self.0.pool);
            // A buffer of up to twice the size will do: it keeps the pool small when shapes vary.
            let fit = pool
                .free
                .range(wanted..=wanted.saturating_mul(2))
                .next()
                .map(|(c, _)| *c);
            fit.and_then(|capacity| {
                let list = pool.free.get_mut(&capacity)?;
                let slot = list.pop();
                if list.is_empty() {
                    pool.free.remove(&capacity);
                }
                slot
            })
        };
        let slot = match reused {
            Some(slot) => slot,
            None => self.create(wanted)?,
        };
        let mut pool = self.lock(&self.0.pool);
        pool.in_use += slot.capacity;
        pool.peak = pool.peak.max(pool.in_use);
        if guard {
            pool.live.insert(slot.id);
            let poison = vec![POISON; slot.capacity as usize];
            self.0.queue.write_buffer(&slot.raw, 0, &poison);
        }
        let taken = Taken {
            slot: Some(slot),
            size,
            device: Arc::downgrade(&self.0),
        };
        Ok(Buffer(Arc::new(Handle {
            place: RwLock::new(Place::Own(Arc::new(taken))),
            size,
            version: AtomicU64::new(0),
        })))
    }

    /// What `make` asks the driver for, `bytes` of device memory.
    pub(crate) fn allocate<T>(
        &self,
        bytes: u64,
        make: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T> {
        let scope = self.0.raw.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make(&self.0.raw);
        match pollster::block_on(scope.pop()) {
            None => Ok(made),
            Some(_) => Err(self.out_of_memory(format!("{bytes} more bytes were asked for"))),
        }
    }

    pub(crate) fn out_of_memory(&self, what: String) -> Error {
        let report = self.memory();
        Error::OutOfMemory {
            what,
            in_use: report.in_use,
            pooled: report.allocated - report.in_use,
        }
    }

    /// `ask`, and once more after what lies free was given back, where memory runs out.
    pub(crate) fn with_room<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        match ask() {
            Err(Error::OutOfMemory { .. }) => {
                self.trim()?;
                ask()
            }
            other => other,
        }
    }

    fn create(&self, capacity: u64) -> Result<Slot> {
        let raw = self.with_room(|| {
            self.allocate(capacity, |raw| {
                raw.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: capacity,
                    usage: wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::COPY_SRC
                        | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
        })?;
        let mut pool = self.lock(&self.0.pool);
        pool.allocated += capacity;
        pool.buffers += 1;
        Ok(Slot {
            id: self.next_id(),
            raw,
            capacity,
            last_use: AtomicU64::new(0),
        })
    }

    /// Gives all free buffers and textures back to the driver. Waits for the device: what work under way uses
    /// stays allocated until it is done.
    pub fn trim(&self) -> Result<()> {
        self.synchronize()?;
        self.lock(&self.0.recorder).forget_bind_groups();
        self.lock(&self.0.staging).clear();
        let mut pool = self.lock(&self.0.pool);
        let free = std::mem::take(&mut pool.free);
        for slot in free.into_values().flatten() {
            pool.allocated -= slot.capacity;
            pool.buffers -= 1;
        }
        Ok(())
    }

    /// What is allocated now, and the peak.
    pub fn memory(&self) -> MemoryReport {
        let pool = self.lock(&self.0.pool);
        MemoryReport {
            in_use: pool.in_use,
            allocated: pool.allocated,
            peak: pool.peak,
            buffers: pool.buffers,
        }
    }

    /// Starts the peak anew from what is in use now.
    pub fn reset_peak(&self) {
        let mut pool = self.lock(&self.0.pool);
        pool.peak = pool.in_use;
    }

    /// Copies `bytes` into `buffer` at `offset` (both multiples of 4), after all work recorded so far.
    pub fn upload(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let (slot, start) = buffer.place();
        let fits = offset + bytes.len() as u64 <= buffer.size()
            && bytes.len().is_multiple_of(4)
            && (start + offset).is_multiple_of(4);
        if !fits {
            return Err(Error::Launch {
                kernel: "upload".into(),
                message: format!(
                    "{} bytes at {offset} (multiples of 4) do not fit a buffer of {} bytes",
                    bytes.len(),
                    buffer.size()
                ),
            });
        }
        // The queue writes before the next submit: work recorded earlier must have gone by then.
        if self.lock(&self.0.recorder).number() == slot.last_use.load(Ordering::Relaxed) {
            self.flush()?;
        }
        self.0.queue.write_buffer(&slot.raw, start + offset, bytes);
        let staged = self.lock(&self.0.recorder).staged(bytes.len() as u64);
        if staged { self.flush_always() } else { Ok(()) }
    }

    /// Guard mode: looks at the bytes behind every buffer given back since the last call. Returns the
    /// number of buffers written past their end.
    pub fn check_guards(&self) -> Result<usize> {
        self.flush()?;
        let returned = std::mem::take(&mut self.lock(&self.0.pool).returned);
        let mut bad = 0;
        for (slot, size) in returned {
            let bytes = self.read_slot(&slot, size, slot.capacity - size)?;
            bad += usize::from(bytes.iter().any(|b| *b != POISON));
            self.lock(&self.0.recorder).forget_bind_groups();
            let mut pool = self.lock(&self.0.pool);
            pool.allocated -= slot.capacity;
            pool.buffers -= 1;
        }
        Ok(bad)
    }
}
