//! Training on emulated GPUs: every kernel of a step as a GPU with matrix units runs it, none of which this machine
//! would take.

use wgrad::nn::optim::{AdamW, AdamWConfig, GradScaler, Optimizer, no_decay};
use wgrad::nn::{Activation, Embedding, FeedForward, Init, LayerNorm, Linear, Mode, Module};
use wgrad::nn::{MultiHeadAttention, VarBuilder};
use wgrad::runtime::{Emulated, Error, MatrixUnit};
use wgrad::tensor::ops::cross_entropy::CrossEntropy;
use wgrad::tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};

const CHANNELS: usize = 32;
const TOKENS: u32 = 11;
const STEPS: usize = 4;

fn gpu(subgroup_size: u32, side: u32) -> Device {
    Device::open(DeviceOptions {
        emulated: Some(Emulated {
            subgroup_size,
            matrix_unit: Some(MatrixUnit { side, half: true }),
            limit: None,
            counts: false,
        }),
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

/// The losses of some steps of a causal language model, activations in `dtype`, and the first bits of a weight.
fn train(device: &Device, dtype: DType) -> Result<(Vec<f32>, Vec<f32>)> {
    let generator = Generator::new(device, 7)?;
    let normal = Init::Normal {
        mean: 0.0,
        std: 0.5,
    };
    let vb = VarBuilder::fresh(device, &generator);
    let (tokens, hidden) = (TOKENS as usize, 64);
    let embedding = Embedding::with_init(tokens, CHANNELS, normal, &vb.pp("embedding"))?;
    let norm = LayerNorm::new(CHANNELS, 1e-5, &vb.pp("norm"))?;
    let attention = MultiHeadAttention::new(CHANNELS, 2, 0.0, &vb.pp("attention"))?;
    let feed_forward =
        FeedForward::new(CHANNELS, hidden, Activation::Gelu, &vb.pp("feed_forward"))?;
    let head = Linear::new(CHANNELS, tokens, &vb.pp("head"))?;
    let parameters = [
        &embedding as &dyn Module,
        &norm,
        &attention,
        &feed_forward,
        &head,
    ]
    .named_parameters();

    let (batch, time) = (3, 37);
    let numbers: Vec<u32> = (0..=batch * time)
        .map(|i| (i * i + 3 * i) as u32 % TOKENS)
        .collect();
    let ids = Tensor::from_slice(device, &numbers[..batch * time], &[batch, time])?;
    let next = Tensor::from_slice(device, &numbers[1..], &[batch * time])?;
    let groups = no_decay(parameters, 0.01);
    let config = AdamWConfig {
        lr: 1e-2,
        ..AdamWConfig::default()
    };
    let mut optimizer = AdamW::new(groups, config)?;
    if dtype == DType::F16 {
        optimizer.set_grad_scaler(GradScaler::default())?;
    }
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        let x = embedding.forward(&ids)?.cast(dtype)?;
        let attended = attention.forward(&norm.forward(&x)?, None, true, &Mode::eval())?;
        let x = x.add(&attended)?;
        let x = x.add(&feed_forward.forward(&x, &Mode::eval())?)?;
        let logits = head.forward(&x.reshape(&[batch * time, CHANNELS])?)?;
        let loss = logits
            .cast(DType::F32)?
            .cross_entropy(&next, &CrossEntropy::default())?;
        losses.push(loss.item()?);
        let gradients = optimizer.scale(&loss)?.backward()?;
        optimizer.step(&gradients, None)?;
    }
    Ok((losses, head.weight().to_vec()?))
}

#[test]
fn training_follows_the_adapters_losses() {
    let adapter = Device::open(DeviceOptions::default()).unwrap();
    let (expected, _) = train(&adapter, DType::F32).unwrap();
    assert!(expected[STEPS - 1] < 0.8 * expected[0], "{expected:?}");
    for (subgroup_size, side) in [(32, 16), (64, 16), (8, 8)] {
        let device = gpu(subgroup_size, side);
        // Both runs take the same kernels from their first step on.
        wgrad::tensor::ops::run_self_tests(&device);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 4e-3)] {
            let (losses, weight) = train(&device, dtype).unwrap();
            for (got, expected) in losses.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() < tolerance * expected,
                    "subgroups of {subgroup_size}, {dtype:?}: {losses:?}, {expected:?}"
                );
            }
            let again = train(&device, dtype).unwrap();
            assert_eq!(again, (losses, weight), "the same bits");
        }
        let used = |name: &str| device.kernels().iter().any(|kernel| kernel.name == name);
        for kernel in [
            "matmul_cooperative",
            "attention_cooperative",
            "attention_backward_q_cooperative",
            "attention_backward_kv_cooperative",
        ] {
            assert!(used(kernel), "{kernel}: subgroups of {subgroup_size}");
        }
    }
}

#[test]
fn a_race_is_an_error_that_names_kernel_and_line() {
    let device = gpu(32, 16);
    let text = "
        @group(0) @binding(1) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(32)
        fn total(@builtin(local_invocation_index) i: u32) {
            y[0] += i;
        }";
    let kernel = device.compile("total", text).unwrap().into();
    let y = device.alloc(4).unwrap();
    device.upload(&y, 0, &[0; 4]).unwrap();
    device.launch(&kernel).bind(&y).groups(1).unwrap();
    let error = device.read(&y, 0, 4).unwrap_err();
    assert!(matches!(&error, Error::Fault { .. }), "{error:?}");
    for part in ["kernel `total`", "race", "`y`", "line 5", "y[0] += i"] {
        assert!(error.to_string().contains(part), "no {part} in {error}");
    }
    // The device can go on.
    device.upload(&y, 0, &[1; 4]).unwrap();
    assert_eq!(device.read(&y, 0, 4).unwrap(), [1; 4]);
}
