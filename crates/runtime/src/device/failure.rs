//! Errors that wgpu reports apart from the call that caused them: the device is lost, memory ran out, a call was
//! refused.

use std::sync::{Arc, Mutex, PoisonError};

/// Why work on the device failed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The driver gave up on the device; no later call succeeds.
    Lost(String),
    OutOfMemory,
    Refused(String),
}

/// Keeps the first failure until it is taken.
#[derive(Clone, Default)]
pub(crate) struct FailureSlot(Arc<Mutex<Option<Failure>>>);

impl FailureSlot {
    /// Makes `raw` report its errors here.
    pub(crate) fn listen(&self, raw: &wgpu::Device) {
        let slot = self.clone();
        raw.on_uncaptured_error(Arc::new(move |error: wgpu::Error| slot.note(error.into())));
        let slot = self.clone();
        raw.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                slot.note(Failure::Lost(text));
            }
        });
    }

    /// Keeps `failure`, unless an earlier one was not taken yet. A lost device replaces any other failure.
    pub(crate) fn note(&self, failure: Failure) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() || matches!(failure, Failure::Lost(_)) {
            *slot = Some(failure);
        }
    }

    /// The failure kept, if any. A lost device stays lost.
    pub(crate) fn take(&self) -> Option<Failure> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(Failure::Lost(_)) => slot.clone(),
            _ => slot.take(),
        }
    }
}

impl From<wgpu::Error> for Failure {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
            refused => Failure::Refused(refused.to_string()),
        }
    }
}
