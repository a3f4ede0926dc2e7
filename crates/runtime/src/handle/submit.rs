//! The recording of a device: adding commands and submitting it.

#[cfg(feature = "emulator")]
use std::collections::BTreeMap;
use std::sync::MutexGuard;

use super::{Device, Inner};
use crate::error::Result;
#[cfg(feature = "emulator")]
use crate::submit::emulated::KernelCounts;
use crate::submit::queue::{Context, submit};
use crate::submit::recording::Recorder;

impl Device {
    /// The open recording, locked, with room for a command and `params` bytes of parameters. A full one is submitted
    /// first.
    pub(crate) fn recording(&self, params: usize) -> Result<MutexGuard<'_, Recorder>> {
        loop {
            let recorder = self.lock(&self.0.recorder);
            if recorder.has_room(params) || recorder.is_empty() {
                return Ok(recorder);
            }
            self.submit(recorder)?;
        }
    }

    /// Submits what is recorded. If more than three submits are running, it waits for the oldest.
    pub fn flush(&self) -> Result<()> {
        let recorder = self.lock(&self.0.recorder);
        if !recorder.is_empty() {
            self.submit(recorder)?;
        }
        self.0.pool.check(String::new)
    }

    /// Submits a recording that has become long.
    pub(crate) fn flush_if_full(&self) -> Result<()> {
        let recorder = self.lock(&self.0.recorder);
        match recorder.is_full() {
            true => self.submit(recorder),
            false => Ok(()),
        }
    }

    fn submit(&self, mut recorder: MutexGuard<'_, Recorder>) -> Result<()> {
        let submitted = submit(&mut recorder, &self.0.context());
        drop(recorder);
        submitted.settle(&self.0.pool)
    }

    /// (dispatches, submits) so far.
    pub fn counters(&self) -> (u64, u64) {
        self.lock(&self.0.recorder).counters()
    }

    /// Bytes that launches and copies recorded so far read and write in device memory, as if nothing were cached. A
    /// binding counts completely, once if the launch reads it and once if it writes it; a copy counts twice. Uploads and
    /// readbacks are not counted. The second number is the part of copies into textures, which kernels of the software
    /// adapter read faster than buffers.
    pub fn bytes_moved(&self) -> (u64, u64) {
        self.lock(&self.0.recorder).bytes_moved()
    }

    /// The counts of each kernel since the last call, by name, on an emulated device that counts.
    #[cfg(feature = "emulator")]
    pub fn take_counts(&self) -> Result<BTreeMap<String, KernelCounts>> {
        self.flush()?;
        Ok(std::mem::take(&mut *self.lock(&self.0.counted)))
    }
}

impl Inner {
    fn context(&self) -> Context<'_> {
        Context {
            pool: &self.pool,
            profile: &self.profile,
            #[cfg(feature = "emulator")]
            staging: &self.staging,
            #[cfg(feature = "emulator")]
            counted: &self.counted,
        }
    }
}
