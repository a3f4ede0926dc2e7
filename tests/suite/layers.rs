//! Layers: their values and gradients against PyTorch, initial values, freezing, dropout's modes.

mod init;

use wgrad::nn::optim::{AdamW, AdamWConfig, Optimizer, no_decay};
use wgrad::nn::{
    Activation, Dropout, Embedding, FeedForward, LayerNorm, Linear, Mode, Module,
    MultiHeadAttention, VarBuilder, freeze, unfreeze,
};
use wgrad::runtime::Emulated;
use wgrad::tensor::Generator;
use wgrad::tensor::{Device, DeviceOptions, Result, Tensor};

fn device() -> Device {
    Device::open(DeviceOptions {
        guard: true,
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

/// A transformer block with causal self-attention.
#[derive(Module)]
struct Block {
    embedding: Embedding,
    norm: LayerNorm,
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
}

impl Block {
    /// 8 channels, 2 heads, 7 ids, 12 hidden.
    fn new(device: &Device, activation: Activation, generator: &Generator) -> Result<Self> {
        let vb = VarBuilder::fresh(device, generator);
        Ok(Self {
            embedding: Embedding::new(7, 8, &vb.pp("embedding"))?,
            norm: LayerNorm::new(8, 1e-5, &vb.pp("norm"))?,
            attention: MultiHeadAttention::new(8, 2, 0.1, &vb.pp("attention"))?,
            feed_forward: FeedForward::new(8, 12, activation, &vb.pp("feed_forward"))?,
        })
    }

    fn loss(&self, ids: &Tensor, mask: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.norm.forward(&self.embedding.forward(ids)?)?;
        let y = x.add(&self.attention.forward(&x, Some(mask), true, mode)?)?;
        let z = y.add(&self.feed_forward.forward(&y, mode)?)?;
        z.mul(&z)?.mean_all()
    }
}

fn batch(device: &Device) -> (Tensor, Tensor) {
    let ids = Tensor::from_slice(device, &[1u32, 5, 2, 0, 6, 3, 3, 4, 0, 0], &[2, 5]).unwrap();
    let mask = Tensor::from_slice(device, &[1u32, 1, 1, 1, 1, 1, 1, 1, 0, 0], &[2, 5]).unwrap();
    (ids, mask)
}

/// Activation, loss, and the norm of each parameter's gradient in the order of `parameters`, as torch
/// 2.15 gives them in float64 for the block filled with `((i * 7 + k * 5) % 13 - 6) / d`.
const TORCH: [(&str, f64, [f64; 15]); 5] = [
    (
        "gelu",
        0.669244445747,
        [
            0.7739842239,
            0.4341339342,
            0.4046155271,
            0.01913273197,
            0.011108064,
            0.03434674162,
            0.0,
            0.3956770752,
            0.2070963031,
            0.4066921298,
            0.3790821627,
            0.3878325503,
            0.2352575511,
            0.4431867391,
            0.3325014027,
        ],
    ),
    (
        "gelu_new",
        0.669229834675,
        [
            0.7739271282,
            0.4341445255,
            0.4046000514,
            0.0191315454,
            0.01110736345,
            0.03434472445,
            0.0,
            0.3956820123,
            0.207094993,
            0.4066814991,
            0.379068751,
            0.3878163005,
            0.2352588688,
            0.4431446763,
            0.3324942462,
        ],
    ),
    (
        "relu",
        0.686635863543,
        [
            0.8161800046,
            0.4513063848,
            0.434846033,
            0.01946070457,
            0.01127489066,
            0.03515941374,
            0.0,
            0.4127290632,
            0.2152823275,
            0.4301611916,
            0.403086918,
            0.4516885459,
            0.2704097411,
            0.5211380351,
            0.352085482,
        ],
    ),
    (
        "silu",
        0.652945385954,
        [
            0.7298150556,
            0.429857384,
            0.3703511248,
            0.01817558214,
            0.01055384036,
            0.03266140679,
            0.0,
            0.3680840875,
            0.1928432909,
            0.3773991078,
            0.3533514856,
            0.3540767273,
            0.2064154199,
            0.4003638383,
            0.3244217214,
        ],
    ),
    (
        "tanh",
        0.608304239696,
        [
            0.6887598689,
            0.4365781459,
            0.3667147238,
            0.01801019819,
            0.01049169597,
            0.0317665135,
            0.0,
            0.2680771391,
            0.1447680186,
            0.3469950782,
            0.3347466919,
            0.4344282727,
            0.2648680454,
            0.4864006123,
            0.3163103238,
        ],
    ),
];

#[test]
fn a_transformer_block_gives_pytorchs_loss_and_gradients() {
    against_pytorch(&device());
}

#[test]
fn a_transformer_block_is_right_on_an_emulated_gpu() {
    let emulated = Emulated {
        subgroup_size: 32,
        matrix_unit: None,
        limit: None,
        counts: false,
    };
    let options = DeviceOptions {
        emulated: Some(emulated),
        ..Default::default()
    };
    against_pytorch(&Device::open(options).unwrap());
}

fn against_pytorch(device: &Device) {
    let generator = Generator::new(device, 0).unwrap();
    let (ids, mask) = batch(device);
    for (name, loss, norms) in TORCH {
        let activation = Activation::from_name(name).unwrap();
        let block = Block::new(device, activation, &generator).unwrap();
        let params = block.named_parameters();
        let names: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names[..5],
            [
                "embedding.weight",
                "norm.weight",
                "norm.bias",
                "attention.query.weight",
                "attention.query.bias"
            ]
        );
        for (k, (name, tensor)) in params.iter().enumerate() {
            let larger = [
                "norm.weight",
                "attention.query.weight",
                "attention.key.weight",
            ];
            let d = if larger.contains(&name.as_str()) {
                4.0
            } else {
                16.0
            };
            let value = |i| ((i * 7 + (k + 1) * 5) % 13) as f32;
            let values: Vec<f32> = (0..tensor.numel()).map(|i| (value(i) - 6.0) / d).collect();
            tensor.copy_from_slice(&values).unwrap();
        }
        let y = block.loss(&ids, &mask, &Mode::eval()).unwrap();
        let gradients = y.backward().unwrap();
        let got = f64::from(y.item().unwrap());
        assert!((got - loss).abs() < 1e-6, "{name}: {got}, {loss}");
        for ((parameter, tensor), want) in params.iter().zip(norms) {
            let gradient = gradients.get(tensor).unwrap().to_vec::<f32>().unwrap();
            let norm = gradient
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                (norm - want).abs() < 2e-6,
                "{name} {parameter}: {norm}, {want}"
            );
        }
    }
    assert_eq!(device.check_guards().unwrap(), 0);
}

#[test]
fn frozen_layers_get_no_gradient() {
    let device = device();
    let generator = Generator::new(&device, 1).unwrap();
    let (ids, mask) = batch(&device);
    let block = Block::new(&device, Activation::Gelu, &generator).unwrap();
    let params = block.named_parameters();
    assert_eq!(freeze(&block, "embedding.*").unwrap(), 1);
    assert_eq!(freeze(&block, "attention.*").unwrap(), 8);
    assert_eq!(unfreeze(&block, "attention.o*.bias").unwrap(), 1);
    let gradients = block
        .loss(&ids, &mask, &Mode::eval())
        .unwrap()
        .backward()
        .unwrap();
    for (name, tensor) in &params {
        let trained = !name.starts_with("embedding") && !name.starts_with("attention")
            || name == "attention.out.bias";
        assert_eq!(gradients.get(tensor).is_some(), trained, "{name}");
    }
    let error = freeze(&block, "encoder.*").unwrap_err().to_string();
    assert!(
        error.contains("`encoder.*`") && error.contains("embedding.weight"),
        "{error}"
    );
}

#[test]
fn dropout_acts_in_training_only_and_repeats() {
    let device = device();
    let generator = Generator::new(&device, 5).unwrap();
    let (ids, mask) = batch(&device);
    let block = Block::new(&device, Activation::Gelu, &generator).unwrap();
    let evaluated = |mode: &Mode| block.loss(&ids, &mask, mode).unwrap().item().unwrap();
    let plain = evaluated(&Mode::eval());
    assert_eq!(plain, evaluated(&Mode::default()));
    generator.begin_step(1, 0).unwrap();
    let first = evaluated(&Mode::train(&generator));
    let second = evaluated(&Mode::train(&generator));
    generator.begin_step(1, 0).unwrap();
    assert_eq!(first, evaluated(&Mode::train(&generator)));
    assert!(first != plain && first != second);

    let x = Tensor::full(&device, &[100_000], 2.0, wgrad::tensor::DType::F32).unwrap();
    let dropout = Dropout::new(0.25).unwrap();
    let y = dropout
        .forward(&x, &Mode::train(&generator))
        .unwrap()
        .to_vec::<f32>()
        .unwrap();
    let kept = y.iter().filter(|v| **v != 0.0).count() as f64 / 1e5;
    assert!((kept - 0.75).abs() < 0.006, "{kept}");
    assert!(
        y.iter()
            .all(|v| *v == 0.0 || (*v - 2.0 / 0.75).abs() < 1e-6)
    );
    assert!(Dropout::new(1.0).is_err() && Dropout::new(f32::NAN).is_err());
}

#[test]
fn a_small_network_learns_xor() {
    let device = device();
    let generator = Generator::new(&device, 2).unwrap();
    let vb = VarBuilder::fresh(&device, &generator);
    let hidden = Linear::new(2, 8, &vb.pp("hidden")).unwrap();
    let out = Linear::new(8, 1, &vb.pp("out")).unwrap();
    let params = (&hidden, &out).named_parameters();
    let x = Tensor::from_slice(
        &device,
        &[0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
        &[4, 2],
    )
    .unwrap();
    let y = Tensor::from_slice(&device, &[0.0f32, 1.0, 1.0, 0.0], &[4, 1]).unwrap();
    let config = AdamWConfig {
        lr: 0.05,
        ..AdamWConfig::default()
    };
    let mut optimizer = AdamW::new(no_decay(params, 0.01), config).unwrap();
    let mut last = f32::MAX;
    for _ in 0..200 {
        let error = out
            .forward(&hidden.forward(&x).unwrap().tanh().unwrap())
            .unwrap()
            .sub(&y)
            .unwrap();
        let loss = error.mul(&error).unwrap().mean_all().unwrap();
        optimizer
            .step(&loss.backward().unwrap(), Some(1.0))
            .unwrap();
        last = loss.item().unwrap();
    }
    assert!(last < 0.01, "{last}");
}

#[test]
fn layers_refuse_tensors_that_do_not_fit() {
    let device = device();
    let generator = Generator::new(&device, 0).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, wgrad::tensor::DType::F32).unwrap();
    let text = |result: Result<()>| result.unwrap_err().to_string();
    let error = text(Linear::from_tensors(zeros(&[3, 2]), Some(zeros(&[2]))).map(|_| ()));
    assert!(error.contains("(out, in)"), "{error}");
    let error = text(Embedding::from_tensor(zeros(&[3])).map(|_| ()));
    assert!(error.contains("(V, C)"), "{error}");
    let table = Embedding::from_tensor(zeros(&[3, 2])).unwrap();
    let error = text(table.with_padding_idx(Some(3)).map(|_| ()));
    assert!(error.contains("the table has 3 rows"), "{error}");
    let error = text(LayerNorm::from_tensors(zeros(&[3]), zeros(&[2]), 1e-5).map(|_| ()));
    assert!(error.contains("(C)"), "{error}");
    let vb = VarBuilder::fresh(&device, &generator);
    let error = text(MultiHeadAttention::new(8, 3, 0.0, &vb).map(|_| ()));
    assert!(
        error.contains("8 channels do not divide into 3 heads"),
        "{error}"
    );
    let error = text(Activation::from_name("mish").map(|_| ()));
    assert!(
        error.contains("`mish`") && error.contains("gelu_new"),
        "{error}"
    );
    let attention = MultiHeadAttention::new(8, 2, 0.0, &vb).unwrap();
    let error = text(
        attention
            .forward(&zeros(&[5, 8]), None, false, &Mode::eval())
            .map(|_| ()),
    );
    assert!(error.contains("(B, T, C)"), "{error}");
}
