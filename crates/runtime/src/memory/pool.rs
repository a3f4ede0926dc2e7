//! Device memory: whole buffers in size classes, taken back when the last handle goes.
//!
//! A buffer that is dropped may be handed out again at once, although work that uses it is still
//! recorded or running: the queue runs everything in the order of recording, so the next user's
//! writes come after the last user's reads.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::device::failure::Failure;
use crate::device::open::Gpu;
use crate::error::{Error, Result};

/// Bytes put behind every buffer in guard mode.
const GUARD_BYTES: u64 = 1024;
/// Guard and poison pattern: a NaN as f32 and f16, and an index far out of range as u32.
static POISON: [u8; 1 << 16] = [0xff; 1 << 16];

/// The memory of one device. Its lock is a leaf: nothing else is locked or waited for while it is held.
pub(crate) struct Pool {
    gpu: Arc<Gpu>,
    guard: bool,
    books: Mutex<Books>,
}

/// Free buffers by capacity, and what is in use.
#[derive(Default)]
struct Books {
    free: BTreeMap<u64, Vec<Slot>>,
    /// Guard mode: buffers given back and not yet checked.
    returned: Vec<Returned>,
    in_use: u64,
    allocated: u64,
    peak: u64,
    buffers: u64,
}

/// The memory that a device has allocated.
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

/// A buffer of the driver.
pub(crate) struct Slot {
    pub(crate) id: u64,
    pub(crate) raw: wgpu::Buffer,
    capacity: u64,
    /// The number of the recording that last used it. An upload must wait for that recording.
    pub(crate) last_use: AtomicU64,
    /// Whether its contents are lost: a submit failed that should have written them.
    pub(crate) lost: AtomicBool,
}

/// A buffer given back in guard mode.
pub(crate) struct Returned {
    slot: Slot,
    size: u64,
}

impl Returned {
    /// Its memory, and the offset of its guard bytes.
    pub(crate) fn guarded(&self) -> (&wgpu::Buffer, u64, u64) {
        let bytes = self.slot.capacity - self.size;
        (&self.slot.raw, self.size, bytes)
    }

    /// Whether the guard bytes are unchanged.
    pub(crate) fn is_intact(bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| *byte == POISON[0])
    }
}

/// A slot in use. It returns to the pool when the last of its users goes.
pub(crate) struct Taken {
    slot: Option<Slot>,
    size: u64,
    pool: Weak<Pool>,
}

impl Taken {
    /// The requested bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Notes that `bytes` bytes from `offset` on get new values. If these are the whole buffer, it is not lost any more.
    pub(crate) fn overwrite(&self, offset: u64, bytes: u64) {
        if offset == 0 && bytes >= self.size {
            self.lost.store(false, Ordering::Relaxed);
        }
    }

    /// Refuses use on another device.
    pub(crate) fn check_device(&self, here: &Arc<Pool>, what: impl Fn() -> String) -> Result<()> {
        if std::ptr::eq(self.pool.as_ptr(), Arc::as_ptr(here)) {
            return Ok(());
        }
        let there = self.pool.upgrade().map(|pool| pool.gpu.label());
        Err(Error::OtherDevice {
            what: what(),
            there: there.unwrap_or_else(|| "a device that is gone".into()),
            here: here.gpu.label(),
        })
    }

    /// An error if `reader` would read contents that are lost.
    pub(crate) fn check_read(&self, reader: &str) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::ResultLost {
                reader: reader.to_owned(),
            });
        }
        Ok(())
    }
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

impl Drop for Taken {
    fn drop(&mut self) {
        let (Some(slot), Some(pool)) = (self.slot.take(), self.pool.upgrade()) else {
            return;
        };
        let mut books = pool.books();
        books.in_use -= slot.capacity;
        if pool.guard {
            books.returned.push(Returned {
                slot,
                size: self.size,
            });
        } else {
            books.free.entry(slot.capacity).or_default().push(slot);
        }
    }
}

/// Rounds up to one of eight classes an octave: at most 12.5 % is wasted.
fn class(size: u64) -> u64 {
    let size = size.max(256);
    let step = (1u64 << size.ilog2()) / 8;
    size.next_multiple_of(step.max(256))
}

impl Pool {
    pub(crate) fn new(gpu: Arc<Gpu>) -> Arc<Self> {
        let guard = gpu.options.guard;
        Arc::new(Self {
            gpu,
            guard,
            books: Mutex::default(),
        })
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Locks even after another thread panicked: the state is valid after every statement that changes it.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory of `size` bytes (rounded up to 4). Its contents are unspecified.
    pub(crate) fn alloc(self: &Arc<Self>, size: u64) -> Result<Taken> {
        let size = size.max(4).next_multiple_of(4);
        let behind = if self.guard { GUARD_BYTES } else { 0 };
        // Sizes are whole texels, because buffers can be read as textures.
        let max = self.gpu.limits.max_buffer_size.saturating_sub(behind) & !15;
        if size > max {
            return Err(Error::Limit {
                what: "a buffer".into(),
                bytes: size,
                limit: max,
                fix: "use a smaller batch or split the tensor",
            });
        }
        let capacity = if self.guard {
            size.next_multiple_of(16) + behind
        } else {
            class(size).min(max)
        };
        let slot = match self.reuse(capacity) {
            Some(slot) => slot,
            None => self.create(capacity)?,
        };
        let mut books = self.books();
        books.in_use += slot.capacity;
        books.peak = books.peak.max(books.in_use);
        drop(books);
        if self.guard {
            for at in (0..slot.capacity).step_by(POISON.len()) {
                let bytes = (slot.capacity - at).min(POISON.len() as u64);
                let poison = &POISON[..bytes as usize];
                self.gpu.queue.write_buffer(&slot.raw, at, poison);
            }
        }
        slot.lost.store(false, Ordering::Relaxed);
        Ok(Taken {
            slot: Some(slot),
            size,
            pool: Arc::downgrade(self),
        })
    }

    /// A free buffer of up to twice the size: this keeps the pool small when shapes vary.
    fn reuse(&self, capacity: u64) -> Option<Slot> {
        let mut books = self.books();
        let (found, _) = books
            .free
            .range(capacity..=capacity.saturating_mul(2))
            .next()?;
        let found = *found;
        let list = books.free.get_mut(&found)?;
        let slot = list.pop();
        if list.is_empty() {
            books.free.remove(&found);
        }
        slot
    }

    fn create(&self, capacity: u64) -> Result<Slot> {
        let raw = self.allocate(capacity, |raw| {
            raw.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: capacity,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        let mut books = self.books();
        books.allocated += capacity;
        books.buffers += 1;
        drop(books);
        Ok(Slot {
            id: self.gpu.next_id(),
            raw,
            capacity,
            last_use: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        })
    }

    /// Calls `make`, which allocates `bytes` of device memory from the driver. Does not wait.
    pub(crate) fn allocate<T>(
        &self,
        bytes: u64,
        make: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T> {
        match self.gpu.caught(wgpu::ErrorFilter::OutOfMemory, make) {
            (made, None) => Ok(made),
            (_, Some(_)) => Err(self.out_of_memory(format!("{bytes} more bytes were requested"))),
        }
    }

    fn out_of_memory(&self, what: String) -> Error {
        let report = self.report();
        Error::OutOfMemory {
            what,
            in_use: report.in_use,
            pooled: report.allocated - report.in_use,
        }
    }

    /// The error since the last call, if any. Errors that wgpu reports late are returned here.
    pub(crate) fn check(&self, recent: impl FnOnce() -> String) -> Result<()> {
        match self.gpu.failure() {
            None => Ok(()),
            Some(failure) => Err(self.error(failure, recent())),
        }
    }

    /// `failure` of a device that last ran the kernels `recent`.
    pub(crate) fn error(&self, failure: Failure, recent: String) -> Error {
        match failure {
            Failure::Lost(text) => Error::DeviceLost(text),
            Failure::OutOfMemory => {
                self.out_of_memory(format!("none was left while running [{recent}]"))
            }
            Failure::Refused(message) => Error::Validation { recent, message },
        }
    }

    /// Gives all free buffers back to the driver.
    pub(crate) fn trim(&self) {
        let mut books = self.books();
        let free = std::mem::take(&mut books.free);
        for slot in free.values().flatten() {
            books.allocated -= slot.capacity;
            books.buffers -= 1;
        }
        drop(books);
    }

    /// Guard mode: takes the buffers given back since the last call.
    pub(crate) fn take_returned(&self) -> Vec<Returned> {
        let mut books = self.books();
        let returned = std::mem::take(&mut books.returned);
        for Returned { slot, .. } in &returned {
            books.allocated -= slot.capacity;
            books.buffers -= 1;
        }
        returned
    }

    pub(crate) fn report(&self) -> MemoryReport {
        let books = self.books();
        MemoryReport {
            in_use: books.in_use,
            allocated: books.allocated,
            peak: books.peak,
            buffers: books.buffers,
        }
    }

    pub(crate) fn reset_peak(&self) {
        let mut books = self.books();
        books.peak = books.in_use;
    }
}
