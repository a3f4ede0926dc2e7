//! The open device below the handle: wgpu's device and queue, their limits, and their failures.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::failure::{Failure, FailureSlot};
use super::limits::Capabilities;
use super::options::DeviceOptions;
use crate::adapter::{self, AdapterDescription, MatrixUnit};
use crate::error::{Error, Result};

/// wgpu's pending answer about the calls in an error scope.
type Answer = Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;

/// An open device without memory, kernels or a recording: these take it as an argument.
pub(crate) struct Gpu {
    pub(crate) raw: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) features: wgpu::Features,
    pub(crate) limits: wgpu::Limits,
    pub(crate) description: AdapterDescription,
    pub(crate) matrix_unit: Option<MatrixUnit>,
    pub(crate) options: DeviceOptions,
    pub(crate) pipeline_cache: Option<wgpu::PipelineCache>,
    failure: FailureSlot,
    /// Error scopes that had no answer when they ended.
    unanswered: Mutex<Vec<Answer>>,
    ids: AtomicU64,
    /// Distinguishes devices of one adapter.
    number: u64,
}

/// The devices opened in this process so far.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Gpu {
    /// Opens the adapter that `options` names.
    pub(crate) async fn open(options: DeviceOptions) -> Result<Gpu> {
        let (description, adapter) = adapter::choose(options.adapter.as_deref()).await?;
        let capabilities = Capabilities::of(&adapter, description, &options);
        let (features, limits) = capabilities.requested;
        let request = wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::Performance,
            // SAFETY: the one experimental feature asked for is cooperative matrices; only kernels of our
            // own use them, which the shader test validates.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        };
        let opened = adapter.request_device(&request).await;
        let (raw, queue) = opened.map_err(|e| {
            Error::Adapter(format!(
                "{}: the device cannot be opened: {e}",
                capabilities.description.name
            ))
        })?;
        let failure = FailureSlot::default();
        failure.listen(&raw);
        let features = capabilities.features;
        let pipeline_cache = features.contains(wgpu::Features::PIPELINE_CACHE).then(|| {
            // SAFETY: the bytes come from `pipeline_cache()` below, and the driver checks their
            // header against itself and falls back to an empty cache.
            unsafe {
                raw.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: None,
                    data: options.pipeline_cache.as_deref(),
                    fallback: true,
                })
            }
        });
        Ok(Gpu {
            raw,
            queue,
            features,
            limits: capabilities.limits,
            description: capabilities.description,
            matrix_unit: capabilities.matrix_unit,
            options,
            pipeline_cache,
            failure,
            unanswered: Mutex::default(),
            ids: AtomicU64::new(1),
            number: OPENED.fetch_add(1, Ordering::Relaxed) + 1,
        })
    }

    /// Names the device in errors.
    pub(crate) fn label(&self) -> String {
        format!("Device {} ({})", self.number, self.description.name)
    }

    /// A number that no other call on this device returns.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Calls `make`; with it the error of kind `filter` that wgpu reports about those calls. It never waits: an answer
    /// that wgpu does not have yet (native back ends always have it) becomes a [`Failure`] later.
    pub(crate) fn caught<T>(
        &self,
        filter: wgpu::ErrorFilter,
        make: impl FnOnce(&wgpu::Device) -> T,
    ) -> (T, Option<wgpu::Error>) {
        let scope = self.raw.push_error_scope(filter);
        let made = make(&self.raw);
        let mut answer: Answer = Box::pin(scope.pop());
        match look(&mut answer) {
            Poll::Ready(error) => (made, error),
            Poll::Pending => {
                let mut unanswered = self
                    .unanswered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                unanswered.push(answer);
                (made, None)
            }
        }
    }

    /// The failure since the last call, if any.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let mut unanswered = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unanswered.retain_mut(|answer| match look(answer) {
            Poll::Pending => true,
            Poll::Ready(error) => {
                if let Some(error) = error {
                    self.failure.note(error.into());
                }
                false
            }
        });
        drop(unanswered);
        self.failure.take()
    }

    /// Marks the device as lost, as the driver would.
    pub(crate) fn lose(&self, reason: &str) {
        self.failure.note(Failure::Lost(reason.to_owned()));
        self.raw.destroy();
    }

    pub(crate) fn has(&self, features: wgpu::Features) -> bool {
        self.features.contains(features)
    }
}

/// Whether the answer has arrived.
fn look(answer: &mut Answer) -> Poll<Option<wgpu::Error>> {
    answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}
