//! Submits recorded work. No other code does.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[cfg(feature = "emulator")]
use super::emulated::{self, Counted};
use super::encode::encode;
use super::recording::{Recorder, adapt};
use super::timestamps::{Profile, Timed};
use super::wait::wait;
use crate::error::{Error, Result};
use crate::memory::pool::Pool;
#[cfg(feature = "emulator")]
use crate::memory::staging::Staging;

/// The largest number of running submits. Without it, a training loop that never reads back would queue without end.
const IN_FLIGHT: usize = 3;

/// The parts of the device that a submit needs besides the recording.
pub(crate) struct Context<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) profile: &'a Mutex<Option<Profile>>,
    #[cfg(feature = "emulator")]
    pub(crate) staging: &'a Staging,
    #[cfg(feature = "emulator")]
    pub(crate) counted: &'a Mutex<Counted>,
}

/// The work that remains after a submit, when the recorder is no longer locked.
#[must_use]
#[derive(Default)]
pub(crate) struct Submitted {
    oldest: Option<wgpu::SubmissionIndex>,
    timed: Option<(Timed, wgpu::SubmissionIndex)>,
    error: Option<Error>,
}

/// Submits the recording and begins the next. It does not wait for the device (an emulated one runs here): the caller
/// holds the recorder's lock.
pub(crate) fn submit(recorder: &mut Recorder, context: &Context) -> Submitted {
    let gpu = context.pool.gpu();
    #[cfg(feature = "emulator")]
    if gpu.options.emulated.is_some() {
        let (pool, staging) = (context.pool, context.staging);
        let ran = emulated::run(pool, staging, context.counted, &recorder.commands);
        recorder.next(ran.is_err());
        return Submitted {
            error: ran.err(),
            ..Submitted::default()
        };
    }
    if !recorder.params.is_empty() {
        gpu.queue.write_buffer(&recorder.arena, 0, &recorder.params);
    }
    let mut encoder = gpu.raw.create_command_encoder(&Default::default());
    let profile = context.profile.lock();
    let profile = profile.unwrap_or_else(PoisonError::into_inner);
    let timed = profile
        .as_ref()
        .map(|profile| profile.begin(gpu, &recorder.commands));
    drop(profile);
    encode(&mut encoder, &recorder.commands, timed.as_ref());
    if let Some(timed) = &timed {
        timed.resolve(&mut encoder);
    }
    let started = Instant::now();
    let count = recorder.commands.len() as u64;
    let index = gpu.queue.submit([encoder.finish()]);
    let most = recorder.most.clone();
    gpu.queue.on_submitted_work_done(move || {
        adapt(&most, count, started.elapsed());
    });
    let failure = gpu.failure();
    let error = failure.map(|failure| context.pool.error(failure, recorder.recent()));
    // Every call on a lost device is an error, so its buffers need no mark.
    let results_lost = matches!(&error, Some(error) if !matches!(error, Error::DeviceLost(_)));
    recorder.next(results_lost);
    recorder.in_flight.push(index.clone());
    let full = recorder.in_flight.len() > IN_FLIGHT;
    Submitted {
        oldest: full.then(|| recorder.in_flight.remove(0)),
        timed: timed.map(|timed| (timed, index)),
        error,
    }
}

impl Submitted {
    /// Waits for the oldest submit if too many are running, and for a profile's times. The recorder is not locked.
    ///
    /// # Errors
    /// Why the submit failed.
    pub(crate) fn settle(self, pool: &Pool) -> Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let Some(oldest) = self.oldest {
            wait(pool, Some(oldest))?;
        }
        match self.timed {
            Some((timed, index)) => timed.collect(pool, index),
            None => Ok(()),
        }
    }
}
