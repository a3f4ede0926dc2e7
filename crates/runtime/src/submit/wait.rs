//! Waits for the device. No other code does.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::device::open::Gpu;
use crate::error::{Error, Result};
use crate::memory::pool::Pool;
use crate::panics::catch_panic;

/// How long another thread may take to report that this thread's buffer is mapped.
const MAP_TIMEOUT: Duration = Duration::from_secs(30);

/// Blocks until the submission `index`, or all work so far, is done.
pub(crate) fn wait(pool: &Pool, index: Option<wgpu::SubmissionIndex>) -> Result<()> {
    match poll(pool.gpu(), index) {
        Ok(()) => Ok(()),
        Err(text) => {
            // An error that the driver reported is more precise.
            pool.check(|| "wait".into())?;
            Err(Error::DeviceLost(text))
        }
    }
}

fn poll(gpu: &Gpu, index: Option<wgpu::SubmissionIndex>) -> std::result::Result<(), String> {
    let waited = catch_panic(|| {
        gpu.raw.poll(wgpu::PollType::Wait {
            submission_index: index,
            timeout: None,
        })
    });
    waited?.map(|_| ()).map_err(|e| e.to_string())
}

/// The answer to one request of wgpu's, given by whichever thread polls the device first.
pub(crate) struct Answer {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Open(Option<Waker>),
    Given(std::result::Result<(), String>),
}

/// Gives an [`Answer`]. Dropping it without an answer gives an error.
pub(crate) struct Promise(Arc<Answer>);

impl Promise {
    pub(crate) fn new() -> (Promise, Arc<Answer>) {
        let answer = Arc::new(Answer {
            state: Mutex::new(State::Open(None)),
            changed: Condvar::new(),
        });
        (Promise(answer.clone()), answer)
    }

    pub(crate) fn give(self, result: std::result::Result<(), String>) {
        self.0.give(result);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.give(Err("the request was dropped".into()));
    }
}

impl Answer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer stands.
    fn give(&self, result: std::result::Result<(), String>) {
        let mut state = self.state();
        if let State::Open(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Given(result);
            drop(state);
            self.changed.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Blocks until the answer has arrived.
    fn block(&self) -> std::result::Result<(), String> {
        let open = |state: &mut State| matches!(state, State::Open(_));
        let waited = self
            .changed
            .wait_timeout_while(self.state(), MAP_TIMEOUT, open);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Given(result) => result.clone(),
            State::Open(_) => Err("no answer came".into()),
        }
    }
}

/// [`Answer`] as a future.
struct Given(Arc<Answer>);

impl Future for Given {
    type Output = std::result::Result<(), String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.state() {
            State::Given(result) => Poll::Ready(result.clone()),
            State::Open(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Who waits for the device.
#[derive(Clone, Copy)]
pub(crate) enum Waiting<'a> {
    /// The calling thread, blocked.
    Here,
    /// A thread of the device's own; the calling task gives its thread back meanwhile.
    Elsewhere(&'a Waiter),
}

impl Waiting<'_> {
    /// Completes when `answer`, which follows the submission `index`, has arrived.
    pub(crate) async fn on(
        self,
        pool: &Pool,
        index: wgpu::SubmissionIndex,
        answer: Arc<Answer>,
    ) -> std::result::Result<(), String> {
        match self {
            Waiting::Here => {
                poll(pool.gpu(), Some(index))?;
                answer.block()
            }
            Waiting::Elsewhere(waiter) => {
                waiter.ask(pool.gpu(), index, answer.clone())?;
                Given(answer).await
            }
        }
    }
}

/// A thread that waits for submissions, started by the first read that does not block.
#[derive(Default)]
pub(crate) struct Waiter(Mutex<Option<mpsc::Sender<Request>>>);

type Request = (wgpu::SubmissionIndex, Arc<Answer>);

impl Waiter {
    fn ask(
        &self,
        gpu: &Arc<Gpu>,
        index: wgpu::SubmissionIndex,
        answer: Arc<Answer>,
    ) -> std::result::Result<(), String> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            let (requests, received) = mpsc::channel::<Request>();
            let gpu = gpu.clone();
            // It ends when the device is dropped, and with it the sender.
            let thread = std::thread::Builder::new().name("wgrad-wait".into());
            thread
                .spawn(move || {
                    for (index, answer) in received {
                        if let Err(text) = poll(&gpu, Some(index)) {
                            answer.give(Err(text));
                        }
                    }
                })
                .map_err(|e| format!("no thread to wait on: {e}"))?;
            *sender = Some(requests);
        }
        let sent = sender.as_ref().map(|s| s.send((index, answer)));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err("the waiting thread has ended".into()),
        }
    }
}
