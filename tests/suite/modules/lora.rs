//! Adapters: they start without effect, learn, do not change the base, and merge.

use wgrad::nn::lora::{self, LoraConfig};
use wgrad::nn::optim::{AdamW, AdamWConfig, Optimizer};
use wgrad::nn::{
    Activation, FeedForward, Linear, LinearCall, Mode, Module, MultiHeadAttention, VarBuilder,
    load, save, save_tensors,
};
use wgrad::tensor::{Device, Generator, Result, Tensor, no_grad};

use super::{device, names, temporary, values};

#[derive(Module)]
struct Block {
    attention: MultiHeadAttention,
    mlp: FeedForward,
}

impl Block {
    fn new(vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            attention: MultiHeadAttention::new(8, 2, 0.0, &vb.pp("attention"))?,
            mlp: FeedForward::new(8, 12, Activation::Gelu, &vb.pp("mlp"))?,
        })
    }

    fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.attention.forward_residual(x, x, None, true, mode)?;
        self.mlp.forward_residual(&x, &x, mode)
    }
}

fn config(dropout: f32) -> LoraConfig {
    LoraConfig {
        r: 2,
        lora_alpha: 6.0,
        lora_dropout: dropout,
        ..LoraConfig::new(["query", "value", "linear1", "mlp.linear2"])
    }
}

fn input(device: &Device) -> Tensor {
    let values: Vec<f32> = (0..80)
        .map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0)
        .collect();
    Tensor::from_slice(device, &values, &[2, 5, 8]).unwrap()
}

fn close(a: &Tensor, b: &Tensor) {
    let (a, b) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a}, {b}");
    }
}

#[test]
fn adapters_learn_and_merge() {
    let device = device();
    let generator = Generator::new(&device, 3).unwrap();
    let plain = Block::new(&VarBuilder::fresh(&device, &generator)).unwrap();
    let path = temporary();
    save(&plain, &path).unwrap();
    let file = wgrad::nn::safetensors::SafeFile::open(&path).unwrap();
    let vb = VarBuilder::from_source(&device, Box::new(&file))
        .with_lora(config(0.0), &generator)
        .unwrap();
    let block = Block::new(&vb).unwrap();
    let trained = lora::mark_only_lora_as_trainable(&block).unwrap();
    assert_eq!(
        names(&trained),
        [
            "attention.query.lora_A.weight",
            "attention.query.lora_B.weight",
            "attention.value.lora_A.weight",
            "attention.value.lora_B.weight",
            "mlp.linear1.lora_A.weight",
            "mlp.linear1.lora_B.weight",
            "mlp.linear2.lora_A.weight",
            "mlp.linear2.lora_B.weight",
        ]
    );
    let (x, mode) = (input(&device), Mode::eval());
    let before = plain.forward(&x, &mode).unwrap();
    close(&block.forward(&x, &mode).unwrap(), &before);

    let base = values(&plain);
    let mut optimizer = AdamW::new(
        trained.clone(),
        AdamWConfig {
            lr: 0.05,
            ..Default::default()
        },
    )
    .unwrap();
    let loss = |block: &Block| block.forward(&x, &mode)?.pow_scalar(2.0)?.mean_all();
    let first = loss(&block).unwrap().item().unwrap();
    for _ in 0..10 {
        let gradients = loss(&block).unwrap().backward().unwrap();
        assert_eq!(gradients.len(), 8, "the adapters' only");
        optimizer.step(&gradients, None).unwrap();
    }
    assert!(loss(&block).unwrap().item().unwrap() < 0.8 * first);
    for (name, tensor) in plain.named_parameters() {
        let all = block.named_parameters();
        let same = all.iter().find(|(known, _)| *known == name).unwrap();
        assert_eq!(
            tensor.to_vec::<f32>().unwrap(),
            same.1.to_vec::<f32>().unwrap(),
            "{name}"
        );
    }
    assert_eq!(values(&plain), base);

    // Only the adapters go to a file, and into another model with the same base.
    let adapters = temporary();
    save_tensors(&lora::lora_state_dict(&block).unwrap(), &adapters, &[]).unwrap();
    let other = Block::new(&vb).unwrap();
    load(&other, &adapters).unwrap().allow_missing().unwrap();
    let with_adapters = block.forward(&x, &mode).unwrap();
    close(&other.forward(&x, &mode).unwrap(), &with_adapters);

    assert_eq!(lora::merge(&block).unwrap(), 4);
    assert_eq!(
        names(&block.named_parameters()),
        names(&plain.named_parameters())
    );
    close(&block.forward(&x, &mode).unwrap(), &with_adapters);
    assert!(lora::merge(&block).is_err() && lora::merge(&plain).is_err());
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(adapters).unwrap();
}

#[test]
fn every_call_of_a_layer_goes_through_its_adapter() {
    let device = device();
    let generator = Generator::new(&device, 5).unwrap();
    let config = LoraConfig {
        r: 3,
        use_rslora: true,
        ..LoraConfig::new(["layer"])
    };
    assert!((config.scaling() - 8.0 / 3f64.sqrt()).abs() < 1e-12);
    let vb = VarBuilder::fresh(&device, &generator)
        .with_lora(config, &generator)
        .unwrap();
    let layer = Linear::new(8, 8, &vb.pp("layer")).unwrap();
    let lora = layer.lora().unwrap();
    let random: Vec<f32> = (0..24)
        .map(|i| ((i * 29 % 17) as f32 - 8.0) / 30.0)
        .collect();
    lora.b().copy_from_slice(&random).unwrap();
    let product = lora
        .b()
        .matmul(lora.a())
        .unwrap()
        .mul_scalar(lora.scaling())
        .unwrap();
    let weight = no_grad(|| layer.weight().add(&product)).unwrap();
    let plain = Linear::from_tensors(weight, layer.bias().cloned()).unwrap();
    let (x, r) = (input(&device), input(&device).mul_scalar(0.5).unwrap());
    close(&layer.forward(&x).unwrap(), &plain.forward(&x).unwrap());
    close(
        &layer.forward_residual(&x, &r).unwrap(),
        &plain.forward_residual(&x, &r).unwrap(),
    );
    close(
        &layer.forward_gelu(&x).unwrap(),
        &plain.forward_gelu(&x).unwrap(),
    );
    let call = LinearCall {
        residual: Some(&r),
        activation: Some(Activation::Silu),
        ..LinearCall::default()
    };
    close(
        &layer.forward_with(&x, &call).unwrap(),
        &plain.forward_with(&x, &call).unwrap(),
    );
    assert!(
        Linear::forward_stacked(&[&layer, &plain], &x)
            .unwrap()
            .is_none()
    );
}

#[test]
fn dropout_of_adapters_follows_the_mode() {
    let device = device();
    let generator = Generator::new(&device, 5).unwrap();
    let vb = VarBuilder::fresh(&device, &generator)
        .with_lora(config(0.5), &generator)
        .unwrap();
    let block = Block::new(&vb).unwrap();
    for (name, tensor) in lora::lora_state_dict(&block).unwrap() {
        if name.contains("lora_B") {
            tensor
                .copy_from_slice(&vec![0.1f32; tensor.numel()])
                .unwrap();
        }
    }
    let x = input(&device);
    let run = |mode: &Mode| block.forward(&x, mode).unwrap().to_vec::<f32>().unwrap();
    generator.begin_step(0, 0).unwrap();
    let trained = run(&Mode::train(&generator));
    assert_ne!(trained, run(&Mode::eval()));
    assert_eq!(run(&Mode::eval()), run(&Mode::eval()));
    let layer = Linear::new(8, 8, &vb.pp("query")).unwrap();
    let error = layer.forward(&x).unwrap_err().to_string();
    assert!(error.contains("forward_with"), "{error}");
}
