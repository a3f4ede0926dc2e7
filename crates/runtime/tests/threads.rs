//! Several threads on one device, and reads that do not block.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use wgrad_runtime::{Buffer, Device, DeviceOptions, Kernel, Result};

const ADD: &str = "
    struct Params { n: u32, a: f32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64)
    fn add(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < params.n { y[id.x] = x[id.x] + params.a; }
    }";

/// Runs `work` and fails where it takes so long that threads must be waiting for each other.
fn within(seconds: u64, work: impl FnOnce() + Send + 'static) {
    let (done, answer) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match answer.recv_timeout(Duration::from_secs(seconds)) {
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => thread.join().unwrap(),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after {seconds} s: a deadlock"),
    }
}

struct Adder {
    device: Device,
    kernel: Arc<Kernel>,
}

impl Adder {
    fn new() -> Self {
        let device = Device::open(DeviceOptions::default());
        let device = device.expect("an adapter; `cargo xtask test` installs one");
        let kernel = Arc::new(device.compile("add", ADD).unwrap());
        Self { device, kernel }
    }

    fn upload(&self, values: &[f32]) -> Result<Buffer> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let buffer = self.device.alloc(bytes.len() as u64)?;
        self.device.upload(&buffer, 0, &bytes)?;
        Ok(buffer)
    }

    fn add(&self, x: &Buffer, a: f32) -> Result<Buffer> {
        let (y, n) = (self.device.alloc(x.size())?, x.size() / 4);
        let launch = self.device.launch(&self.kernel);
        let launch = launch.u32("n", n as usize).f32("a", a);
        launch.bind(x).bind(&y).invocations(n)?;
        Ok(y)
    }

    fn read(&self, x: &Buffer) -> Result<Vec<f32>> {
        Ok(floats(&self.device.read(x, 0, x.size())?))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// Launches, reads and uploads on some threads, while another trims and a third takes profiles.
#[test]
fn launches_reads_trims_and_profiles_at_once() {
    within(240, || {
        let adder = Adder::new();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (adder, ended) = (&adder, &ended);
            let device = &adder.device;
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    device.trim().unwrap();
                }
            });
            scope.spawn(move || {
                while device.has_timestamps() && !ended.load(Ordering::Relaxed) {
                    device.start_profile().unwrap();
                    adder.upload(&[1.0; 64]).unwrap();
                    device.stop_profile().unwrap();
                }
            });
            let work = |thread: usize| {
                for i in 0..150 {
                    let n = 64 + 64 * (i % 5);
                    let x = adder.upload(&vec![i as f32; n]).unwrap();
                    let y = adder.add(&adder.add(&x, thread as f32).unwrap(), 1.0);
                    let expected = vec![(i + thread + 1) as f32; n];
                    assert_eq!(adder.read(&y.unwrap()).unwrap(), expected);
                }
            };
            let workers: Vec<_> = (0..3).map(|t| scope.spawn(move || work(t))).collect();
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ended.store(true, Ordering::Relaxed);
            assert!(results.iter().all(|result| result.is_ok()));
        });
    });
}

/// Threads that record without reading fill one arena of parameters together: none may write past its end.
#[test]
fn many_threads_fill_the_parameter_arena() {
    within(240, || {
        let adder = &Adder::new();
        std::thread::scope(|scope| {
            for thread in 0..16 {
                scope.spawn(move || {
                    let mut y = adder.upload(&[thread as f32; 4]).unwrap();
                    for _ in 0..600 {
                        y = adder.add(&y, 1.0).unwrap();
                    }
                    assert_eq!(adder.read(&y).unwrap(), [(600 + thread) as f32; 4]);
                });
            }
        });
    });
}

/// A read that does not block gives the same bytes, and its thread is free meanwhile.
#[test]
fn a_read_may_be_awaited() {
    let adder = Adder::new();
    let values: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
    let y = adder.add(&adder.upload(&values).unwrap(), 1.0).unwrap();
    let mut out = vec![0; 4 * values.len()];
    within_polls(adder.device.read_async(&y, 0, &mut out)).unwrap();
    assert_eq!(floats(&out)[99_999], 100_000.0);
    assert_eq!(adder.read(&y).unwrap(), floats(&out));
}

/// Polls as an executor that does other things in between.
fn within_polls<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let started = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
}
