//! Memory stays flat, frozen parameters cost nothing, and a device that fails gives errors.

mod limits;

use half::f16;
use wgrad::nn::optim::{AdamW, AdamWConfig, Optimizer};
use wgrad::nn::{Linear, Module, VarBuilder};
use wgrad::runtime::Error as DeviceError;
use wgrad::tensor::{DType, Device, DeviceOptions, Error, Generator, Result, Tensor};

fn device() -> Device {
    Device::open(DeviceOptions::default()).expect("an adapter; `cargo xtask test` installs one")
}

/// 8 - 32 - 32 - 3 with tanh, fitted to a fixed function.
#[derive(Module)]
struct Mlp {
    layers: Vec<Linear>,
    #[module(skip)]
    x: Tensor,
    #[module(skip)]
    target: Tensor,
}

impl Mlp {
    fn new(device: &Device) -> Result<Self> {
        let g = Generator::new(device, 7)?;
        let rows = 40;
        let x: Vec<f32> = (0..rows * 8).map(|i| (i as f32 * 0.37).sin()).collect();
        let target: Vec<f32> = (0..rows * 3).map(|i| (i as f32 * 0.21).cos()).collect();
        let vb = VarBuilder::fresh(device, &g).pp("layers");
        let layers = [(8, 32), (32, 32), (32, 3)]
            .iter()
            .enumerate()
            .map(|(i, (inputs, outputs))| Linear::new(*inputs, *outputs, &vb.pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            layers,
            x: Tensor::from_slice(device, &x, &[rows, 8])?,
            target: Tensor::from_slice(device, &target, &[rows, 3])?,
        })
    }

    fn loss(&self) -> Result<Tensor> {
        let hidden = self.layers[0].forward(&self.x)?.tanh()?;
        let hidden = self.layers[1].forward(&hidden)?.tanh()?;
        let error = self.layers[2].forward(&hidden)?.sub(&self.target)?;
        error.mul(&error)?.mean_all()
    }

    fn optimizer(&self) -> Result<AdamW> {
        for (_, tensor) in self.named_parameters() {
            tensor.set_requires_grad(true)?;
        }
        let config = AdamWConfig {
            lr: 1e-2,
            ..AdamWConfig::default()
        };
        AdamW::new(self.named_parameters(), config)
    }
}

#[test]
fn step_200_uses_what_step_20_used() {
    let device = device();
    let mlp = Mlp::new(&device).unwrap();
    let mut optimizer = mlp.optimizer().unwrap();
    let mut losses = Vec::new();
    let mut after_20 = None;
    for step in 1..=200 {
        let loss = mlp.loss().unwrap();
        let gradients = loss.backward().unwrap();
        optimizer.step(&gradients, Some(1.0)).unwrap();
        // Reading back now and then, as a training loop does.
        if step % 10 == 0 {
            losses.push(loss.item().unwrap());
        }
        drop((loss, gradients));
        if step == 20 {
            after_20 = Some(device.memory());
        }
    }
    assert_eq!(Some(device.memory()), after_20);
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let device = device();
    let mlp = Mlp::new(&device).unwrap();
    let parameters = mlp.named_parameters();
    for (_, tensor) in &parameters {
        tensor.set_requires_grad(true).unwrap();
    }
    let before = device.counters().0;
    let all = mlp.loss().unwrap().backward().unwrap();
    let dispatches = device.counters().0 - before;
    assert_eq!(all.len(), parameters.len());

    for (name, tensor) in &parameters {
        let head = name.starts_with("layers.2");
        tensor.set_requires_grad(head).unwrap();
    }
    let before = device.counters().0;
    let some = mlp.loss().unwrap().backward().unwrap();
    let fewer = device.counters().0 - before;
    assert_eq!(some.len(), 2, "the head's weight and bias");
    assert!(
        fewer < dispatches,
        "{fewer} dispatches, {dispatches} before"
    );
    for (name, tensor) in &parameters {
        let values = |t: Option<&Tensor>| t.map(|t| t.to_vec::<f32>().unwrap());
        let frozen = !name.starts_with("layers.2");
        let expected = values(all.get(tensor)).filter(|_| !frozen);
        assert_eq!(values(some.get(tensor)), expected, "{name}");
    }
}

#[test]
fn a_frozen_part_passes_gradients_on() {
    // Trained below, frozen above: the gradient must come through.
    let device = device();
    let mlp = Mlp::new(&device).unwrap();
    let parameters = mlp.named_parameters();
    for (_, tensor) in &parameters {
        tensor.set_requires_grad(true).unwrap();
    }
    let all = mlp.loss().unwrap().backward().unwrap();
    for (name, tensor) in &parameters {
        tensor
            .set_requires_grad(name.starts_with("layers.0"))
            .unwrap();
    }
    let some = mlp.loss().unwrap().backward().unwrap();
    assert_eq!(some.len(), 2);
    let (_, weight) = &parameters[0];
    let expected = all.get(weight).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(some.get(weight).unwrap().to_vec::<f32>().unwrap(), expected);
}

#[test]
fn a_lost_device_gives_errors_and_another_can_be_opened() {
    let device = device();
    let mlp = Mlp::new(&device).unwrap();
    let mut optimizer = mlp.optimizer().unwrap();
    let step = |mlp: &Mlp, optimizer: &mut AdamW| -> Result<f32> {
        let loss = mlp.loss()?;
        optimizer.step(&loss.backward()?, None)?;
        loss.item()
    };
    let first = step(&mlp, &mut optimizer).unwrap();
    device.lose("for the test");
    for _ in 0..2 {
        match step(&mlp, &mut optimizer) {
            Err(Error::Device(DeviceError::DeviceLost(reason))) => {
                assert!(reason.contains("for the test"), "{reason}");
            }
            other => panic!("{other:?} instead of the loss of the device"),
        }
    }
    assert!(device.synchronize().is_err());
    assert!(mlp.x.to_vec::<f32>().is_err());
    drop((mlp, optimizer));

    let fresh = self::device();
    let mlp = Mlp::new(&fresh).unwrap();
    let mut optimizer = mlp.optimizer().unwrap();
    assert_eq!(step(&mlp, &mut optimizer).unwrap(), first);
}

#[test]
fn too_much_memory_is_refused_with_a_reason() {
    let device = device();
    let text = device.alloc(1 << 50).map(|_| ()).unwrap_err().to_string();
    assert!(
        text.contains("a buffer: 1125899906842624 bytes is beyond this adapter's limit"),
        "{text}"
    );
    // Sides whose product does not fit 32 bits.
    let text = Tensor::zeros(&device, &[1 << 20, 1 << 20], DType::F32)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(text.contains("[1048576, 1048576]"), "{text}");
    // The device goes on.
    assert_eq!(Tensor::scalar(&device, 3.0).unwrap().item().unwrap(), 3.0);
}

/// Memory that a packed tensor left is handed out again at once, also to an upload.
#[test]
fn packed_tensors_keep_their_values_and_the_memory_they_left_is_free() {
    let device = Device::open(DeviceOptions::default()).expect("an adapter");
    let filled =
        |value: f32| Tensor::from_slice(&device, &[value; 256], &[4, 64]).expect("a tensor");
    for round in 0..4 {
        let base = 10.0 * round as f32;
        let parts = [filled(base), filled(base + 1.0), filled(base + 2.0)];
        Tensor::pack(&parts.each_ref()).expect("packed");
        let later = [filled(-1.0), filled(-2.0), filled(-3.0)];
        for (i, part) in parts.iter().enumerate() {
            assert_eq!(
                part.to_vec::<f32>().expect("values"),
                [base + i as f32; 256]
            );
        }
        parts[1]
            .copy_from_slice(&[7.0f32; 256])
            .expect("a new value");
        let x = Tensor::ones(&device, &[1, 64], DType::F32).expect("ones");
        let y = x.linear_stacked(&parts.each_ref(), &[]).expect("a product");
        let (a, c) = (64.0 * base, 64.0 * (base + 2.0));
        let want = [[a; 4], [448.0; 4], [c; 4]].concat();
        assert_eq!(y.to_vec::<f32>().expect("values"), want);
        assert_eq!(later[2].to_vec::<f32>().expect("values"), [-3.0; 256]);
    }
}

/// Set where a test runs itself again with little memory.
#[cfg(target_os = "linux")]
const LITTLE_MEMORY: &str = "WGRAD_TEST_LITTLE_MEMORY";

/// Memory that really runs out. The error names the requested bytes, and after the tensors are dropped the device works as before.
#[test]
#[cfg(target_os = "linux")]
fn memory_that_runs_out_is_an_error() {
    let Some(device) = in_little_memory("memory::memory_that_runs_out_is_an_error") else {
        return;
    };
    let x = Tensor::from_slice(&device, &[1f32, 2.0], &[2]).unwrap();
    let sum = || x.add(&x)?.sum_all()?.item();
    assert_eq!(sum().unwrap(), 6.0);
    let (tensors, error) = fill(&device);
    assert!(
        matches!(error, Error::Device(DeviceError::OutOfMemory { .. })),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("67108864 more bytes were requested"),
        "{text}"
    );
    let used = device.memory().in_use;
    drop(tensors);
    assert!(used > device.memory().in_use);
    assert_eq!(sum().unwrap(), 6.0);
    Tensor::zeros(&device, &[16 << 20], DType::F32).unwrap();
    assert_eq!(sum().unwrap(), 6.0);
}

/// Free memory is given back when memory runs out, also if running work still uses it.
#[test]
#[cfg(target_os = "linux")]
fn memory_in_flight_is_waited_for() {
    let Some(device) = in_little_memory("memory::memory_in_flight_is_waited_for") else {
        return;
    };
    let (tensors, _) = fill(&device);
    for _ in 0..4 {
        for target in &tensors[1..] {
            tensors[0].copy_into(target).unwrap();
        }
    }
    device.flush().unwrap();
    drop(tensors);
    Tensor::empty(&device, &[80 << 20], DType::F32).unwrap();
}

/// As many tensors of 64 MiB as there is room for, and the error after the last.
#[cfg(target_os = "linux")]
fn fill(device: &Device) -> (Vec<Tensor>, Error) {
    let mut tensors = Vec::new();
    loop {
        match Tensor::zeros(device, &[16 << 20], DType::F32) {
            Ok(tensor) => tensors.push(tensor),
            Err(error) => return (tensors, error),
        }
        assert!(tensors.len() < 64, "the limit of memory does not hold");
    }
}

/// A device in a process with 2 GB of address space; nothing in the process that starts it to run `test` again, or
/// where a device's memory is not the process's.
#[cfg(target_os = "linux")]
fn in_little_memory(test: &str) -> Option<Device> {
    if std::env::var_os(LITTLE_MEMORY).is_none() {
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(LITTLE_MEMORY, "1")
            .status();
        assert!(status.unwrap().success());
        return None;
    }
    let device = device();
    if !device.adapter().is_software() {
        println!("skipped: a GPU's memory is not the process's");
        return None;
    }
    Some(device)
}

/// The first thread that waits receives the answers for all ready buffers, so the other threads must wait for it.
#[test]
fn several_threads_read_at_once() {
    let device = device();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let device = &device;
            scope.spawn(move || {
                for i in 0..400 {
                    let x = Tensor::from_slice(device, &[i as f32; 64], &[64]).unwrap();
                    let y = x.add_scalar(thread as f32).unwrap();
                    assert_eq!(y.to_vec::<f32>().unwrap(), [(i + thread) as f32; 64]);
                }
            });
        }
    });
}

/// Sizes are rounded up to whole texels, and a buffer is never smaller than requested.
#[test]
fn the_last_bytes_below_the_limit_are_refused() {
    let device = device();
    let most = device.max_buffer_bytes() & !3;
    if !most.is_multiple_of(16) {
        let refused = device.alloc(most).map(|_| ()).unwrap_err();
        assert!(matches!(refused, DeviceError::Limit { .. }), "{refused}");
    }
}

#[test]
fn f16_values_are_replaced_at_odd_places_too() {
    let device = device();
    if !device.has_f16() {
        return;
    }
    let ones = Tensor::ones(&device, &[9], DType::F16).unwrap();
    let halves =
        |values: &[f32]| -> Vec<f16> { values.iter().map(|v| f16::from_f32(*v)).collect() };
    for (start, values) in [(1, &[2.0, 3.0][..]), (4, &[4.0]), (5, &[5.0, 6.0, 7.0])] {
        let part = ones.narrow(0, start, values.len()).unwrap();
        part.copy_from_slice(&halves(values)).unwrap();
    }
    let want = halves(&[1.0, 2.0, 3.0, 1.0, 4.0, 5.0, 6.0, 7.0, 1.0]);
    assert_eq!(ones.to_vec::<f16>().unwrap(), want);
    let text = device
        .upload(ones.buffer(), 2, &[0; 4])
        .unwrap_err()
        .to_string();
    assert!(text.contains("multiples of 4"), "{text}");
}

/// Backward rules read inputs and outputs in place; values that were overwritten since are refused, not used.
#[test]
fn values_overwritten_before_backward_are_refused() {
    let device = device();
    let leaf = |values: &[f32]| {
        let leaf = Tensor::from_slice(&device, values, &[values.len()]).unwrap();
        leaf.set_requires_grad(true).unwrap();
        leaf
    };
    let refused = |loss: Tensor, op: &str| {
        let text = loss.backward().map(|_| ()).unwrap_err().to_string();
        assert!(text.contains(op) && text.contains("overwritten"), "{text}");
    };
    let p = leaf(&[3.0]);
    let square = || p.mul(&p).unwrap().sum_all().unwrap();
    let loss = square();
    p.copy_from_slice(&[100f32]).unwrap();
    refused(loss, "mul");
    let loss = square();
    let other = Tensor::from_slice(&device, &[4f32], &[1]).unwrap();
    other.copy_into(&p.detach()).unwrap();
    refused(loss, "mul");
    let y = p.exp().unwrap();
    y.detach().copy_from_slice(&[0f32]).unwrap();
    refused(y.sum_all().unwrap(), "exp");

    // Of two losses the second loses its values to the step of the first.
    let parameters = vec![("p".into(), p.clone())];
    let mut optimizer = AdamW::new(parameters, AdamWConfig::default()).unwrap();
    let (first, second) = (square(), square());
    optimizer.step(&first.backward().unwrap(), None).unwrap();
    refused(second, "mul");

    // Ops that read no values, and graphs that are built again, still work.
    let sum = p.add(&p).unwrap().sum_all().unwrap();
    p.copy_from_slice(&[5f32]).unwrap();
    let gradient = |loss: Tensor| loss.backward().unwrap().get(&p).unwrap().item().unwrap();
    assert_eq!(gradient(sum), 2.0);
    assert_eq!(gradient(square()), 10.0);
}
