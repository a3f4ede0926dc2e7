//! Random numbers on a device: the known answers, rates, and masks that stay with their step.

use std::sync::Arc;

use wgrad::runtime::{Defines, assemble_text};
use wgrad::tensor::random::{Generator, philox4x32_10};
use wgrad::tensor::{DType, Device, DeviceOptions, Tensor};

fn open() -> Device {
    let options = DeviceOptions {
        guard: true,
        ..Default::default()
    };
    Device::open(options).expect("an adapter; `cargo xtask test` installs one")
}

const KERNEL: &str = "
#import common/philox
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<u32>; // (N, 6)
@group(0) @binding(2) var<storage, read_write> words: array<u32>; // (N, 4)
@compute @workgroup_size(64)
fn philox(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.n) {
        return;
    }
    let at = 6u * id.x;
    let counter = vec4<u32>(inputs[at], inputs[at + 1u], inputs[at + 2u], inputs[at + 3u]);
    let answer = philox4x32_10(counter, vec2<u32>(inputs[at + 4u], inputs[at + 5u]));
    for (var k = 0u; k < 4u; k++) {
        words[4u * id.x + k] = answer[k];
    }
}
";

#[test]
fn philox_on_the_device_gives_the_known_answers() {
    let device = open();
    // Random123's kat_vectors: counter, key, answer.
    let known: [([u32; 6], [u32; 4]); 3] = [
        ([0; 6], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        (
            [!0; 6],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            [
                0x243f_6a88,
                0x85a3_08d3,
                0x1319_8a2e,
                0x0370_7344,
                0xa409_3822,
                0x299f_31d0,
            ],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    let mut inputs: Vec<u32> = known.iter().flat_map(|(i, _)| *i).collect();
    let mut answers: Vec<u32> = known.iter().flat_map(|(_, a)| *a).collect();
    // And many more against the host: each answer is the next counter.
    let mut counter = [1, 2, 3, 4];
    for i in 0..1000u32 {
        let key = [i.wrapping_mul(0x9e37_79b9), !i];
        inputs.extend(counter);
        inputs.extend(key);
        counter = philox4x32_10(counter, key);
        answers.extend(counter);
    }
    let n = answers.len() / 4;
    let text = assemble_text("philox", KERNEL, &Defines::new()).unwrap();
    let kernel = Arc::new(device.compile("philox", &text).unwrap());
    let inputs = Tensor::from_slice(&device, &inputs, &[n, 6]).unwrap();
    let words = Tensor::empty(&device, &[n, 4], DType::U32).unwrap();
    device
        .launch(&kernel)
        .u32("n", n)
        .bind(inputs.buffer())
        .bind(words.buffer())
        .invocations(n as u64)
        .unwrap();
    assert_eq!(words.to_vec::<u32>().unwrap(), answers);
}

/// Dropout of ones, and the gradient of its sum.
fn ones(n: usize, p: f32, generator: &Generator) -> (Tensor, Tensor) {
    let device = generator.state().device();
    let x = Tensor::ones(device, &[n], DType::F32).unwrap();
    x.set_requires_grad(true).unwrap();
    (x.dropout(p, generator).unwrap(), x)
}

fn gradient(y: &Tensor, x: &Tensor) -> Vec<f32> {
    let dy = Tensor::ones(y.device(), y.shape(), DType::F32).unwrap();
    let gradients = y.backward_with(&dy).unwrap();
    gradients.get(x).unwrap().to_vec().unwrap()
}

#[test]
fn dropout_keeps_the_rate_and_the_backward_pass_makes_the_same_mask() {
    let generator = Generator::new(&open(), 42).unwrap();
    let n = 1_000_000;
    let (y, x) = ones(n, 0.1, &generator);
    let values: Vec<f32> = y.to_vec().unwrap();
    assert_eq!(gradient(&y, &x), values);
    let dropped = values.iter().filter(|v| **v == 0.0).count() as f64;
    let sigma = (n as f64 * 0.1 * 0.9).sqrt();
    assert!((dropped - 0.1 * n as f64).abs() < 4.0 * sigma, "{dropped}");
    assert!(
        values
            .iter()
            .all(|v| *v == 0.0 || (*v - 1.0 / 0.9).abs() < 1e-6)
    );
}

#[test]
fn masks_differ_by_seed_step_micro_batch_and_op_and_by_nothing_else() {
    let device = open();
    let mask = |seed, step, micro_batch, earlier| {
        let generator = Generator::new(&device, seed).unwrap();
        generator.begin_step(step, micro_batch).unwrap();
        for _ in 0..earlier {
            generator.next_op();
        }
        ones(4099, 0.5, &generator).0.to_vec::<f32>().unwrap()
    };
    let places = [
        (1, 1, 1, 0),
        (2, 1, 1, 0),
        (1 << 32, 1, 1, 0),
        (1, 2, 1, 0),
        (1, (1 << 32) + 1, 1, 0),
        (1, 1, 2, 0),
        (1, 1, 1, 1),
    ];
    let masks: Vec<Vec<f32>> = places.map(|(a, b, c, d)| mask(a, b, c, d)).to_vec();
    for (i, a) in masks.iter().enumerate() {
        for b in &masks[..i] {
            let same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
            // Independent coins: half of 4099 are equal, sigma 32.
            assert!((same - 2049.5).abs() < 4.0 * 32.0, "mask {i}: {same} equal");
        }
    }
    assert_eq!(masks[0], mask(1, 1, 1, 0));
}

#[test]
fn a_backward_pass_through_the_mask_of_an_earlier_step_is_refused() {
    let generator = Generator::new(&open(), 7).unwrap();
    generator.begin_step(10, 0).unwrap();
    let (first, x) = ones(1000, 0.3, &generator);
    let (second, z) = ones(1000, 0.3, &generator);
    assert_eq!(gradient(&second, &z), second.to_vec::<f32>().unwrap());
    assert_eq!(gradient(&first, &x), first.to_vec::<f32>().unwrap());
    let clone = generator.clone();
    clone.begin_step(11, 0).unwrap();
    let dy = Tensor::ones(first.device(), first.shape(), DType::F32).unwrap();
    let text = first.backward_with(&dy).err().unwrap().to_string();
    assert!(text.contains("begin_step"), "{text}");
    // The work recorded before begin_step drew the words of its own step.
    let (third, _) = ones(1000, 0.3, &generator);
    let (first, third) = (first.to_vec::<f32>(), third.to_vec::<f32>());
    assert_ne!(first.unwrap(), third.unwrap());
}

#[test]
fn work_recorded_before_begin_step_keeps_its_random_words() {
    let generator = Generator::new(&open(), 3).unwrap();
    let draw = |step| {
        generator.begin_step(step, 0).unwrap();
        ones(1000, 0.5, &generator).0
    };
    // No readback in between: all of it may lie in one recording.
    let masks: Vec<Tensor> = [4, 5, 4].map(draw).to_vec();
    let masks: Vec<Vec<f32>> = masks.iter().map(|m| m.to_vec().unwrap()).collect();
    assert_eq!(masks[0], masks[2]);
    assert_ne!(masks[0], masks[1]);
}

#[test]
fn initial_values_and_dropout_share_no_random_words() {
    let device = open();
    for (step, micro_batch) in [(0, 0), (1, 0), (0, 1), (0, 0xfffe)] {
        let generator = Generator::new(&device, 7).unwrap();
        let initial = Tensor::rand(&device, &[4096], 0.0, 1.0, &generator).unwrap();
        generator.begin_step(step, micro_batch).unwrap();
        let (kept, _) = ones(4096, 0.3, &generator);
        let pairs: Vec<(f32, f32)> = initial
            .to_vec::<f32>()
            .unwrap()
            .into_iter()
            .zip(kept.to_vec::<f32>().unwrap())
            .collect();
        // Of the initial values below 0.3, which equal words would drop, 70 % stay.
        let low = pairs.iter().filter(|(value, _)| *value < 0.3);
        let stay = low.clone().filter(|(_, kept)| *kept > 0.0).count() as f64;
        let share = stay / low.count() as f64;
        assert!((share - 0.7).abs() < 0.06, "step {step}: {share}");
    }
    let generator = Generator::new(&device, 7).unwrap();
    let text = generator.begin_step(0, 0xffff).unwrap_err().to_string();
    assert!(text.contains("initial values"), "{text}");
}

#[test]
fn no_dropout_is_the_tensor_itself() {
    let generator = Generator::new(&open(), 7).unwrap();
    let x = Tensor::ones(generator.state().device(), &[3], DType::F32).unwrap();
    assert_eq!(x.dropout(0.0, &generator).unwrap().id(), x.id());
    assert_eq!(generator.next_op(), 0);
}

#[test]
fn another_device_is_refused() {
    let generator = Generator::new(&open(), 7).unwrap();
    let x = Tensor::ones(&open(), &[3], DType::F32).unwrap();
    let text = x.dropout(0.5, &generator).unwrap_err().to_string();
    assert!(text.contains("make a generator for that device"), "{text}");
}

#[test]
fn normal_numbers_have_their_moments() {
    let generator = Generator::new(&open(), 3).unwrap();
    let n = 1_000_000;
    let device = generator.state().device();
    let values: Vec<f32> = Tensor::randn(device, &[n], &generator)
        .unwrap()
        .to_vec()
        .unwrap();
    let moment = |k: i32| values.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / n as f64;
    // The variance of the k-th power of a normal number is (2k - 1)!! less the squared mean.
    for (k, mean, variance) in [
        (1, 0.0, 1.0),
        (2, 1.0, 2.0),
        (3, 0.0, 15.0),
        (4, 3.0, 96.0f64),
    ] {
        let off = (moment(k) - mean).abs() / (variance / n as f64).sqrt();
        assert!(off < 4.0, "moment {k} is {off} sigma off");
    }
    assert!(values.iter().all(|v| v.abs() < 5.8));
}
