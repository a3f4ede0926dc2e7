//! The layers of a decoder: their values and gradients against PyTorch, and the cache against a whole pass.

use wgrad::nn::{
    GroupedQueryAttention, GroupedQueryCall, GroupedQueryConfig, KvCache, Mode, Module, RMSNorm,
    RotaryEmbedding, RotaryPairs, SwiGlu, VarBuilder,
};
use wgrad::tensor::{DType, Device, Generator, Result, Tensor, no_grad};

use super::device;

#[derive(Module)]
struct Decoder {
    attention: GroupedQueryAttention,
    mlp: SwiGlu,
    norm: RMSNorm,
}

impl Decoder {
    fn new(device: &Device, pairs: RotaryPairs) -> Result<Self> {
        let generator = Generator::new(device, 0)?;
        let vb = VarBuilder::fresh(device, &generator);
        let config = GroupedQueryConfig {
            head_dim: 4,
            ..GroupedQueryConfig::new(8, 4, 2)
        };
        let rotary = RotaryEmbedding::new(device, 4, 10_000.0, 16, pairs);
        Ok(Self {
            attention: GroupedQueryAttention::new(&config, Some(rotary), &vb.pp("attention"))?,
            mlp: SwiGlu::new(8, 12, &vb.pp("mlp"))?,
            norm: RMSNorm::new(8, 1e-6, &vb.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor, cache: Option<(&KvCache, usize)>) -> Result<Tensor> {
        let mode = Mode::eval();
        let call = GroupedQueryCall {
            residual: Some(x),
            cache,
            ..GroupedQueryCall::causal(&mode)
        };
        let y = self.attention.forward(&self.norm.forward(x)?, &call)?;
        self.mlp.forward_residual(&y, &y, &mode)
    }
}

fn input(device: &Device) -> Tensor {
    let values: Vec<f32> = (0..80)
        .map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0)
        .collect();
    Tensor::from_slice(device, &values, &[2, 5, 8]).unwrap()
}

/// Loss, and the norm of each parameter's gradient in the order of the model, as torch gives them in float64 for
/// weights filled with `((i * 7 + k * 5) % 13 - 6) / d`.
const TORCH: [(RotaryPairs, f64, [f64; 8]); 2] = [
    (
        RotaryPairs::Halves,
        67.64893012892283,
        [
            112.0634915,
            20.1959602,
            272.6990537,
            298.5731166,
            185.5697437,
            95.85399991,
            102.9497881,
            130.602337,
        ],
    ),
    (
        RotaryPairs::Interleaved,
        74.10209347790091,
        [
            113.4439055,
            37.35504468,
            305.5875054,
            318.3378663,
            197.9229641,
            103.4940601,
            110.6028152,
            151.5235897,
        ],
    ),
];

#[test]
fn a_decoder_layer_gives_pytorchs_loss_and_gradients() {
    let device = device();
    for (pairs, loss, norms) in TORCH {
        let decoder = Decoder::new(&device, pairs).unwrap();
        let parameters = decoder.named_parameters();
        assert_eq!(parameters[0].0, "attention.q_proj.weight");
        for (k, (name, tensor)) in parameters.iter().enumerate() {
            let d = if name.starts_with("norm") { 4.0 } else { 8.0 };
            let value = |i: usize| (((i * 7 + (k + 1) * 5) % 13) as f32 - 6.0) / d;
            let values: Vec<f32> = (0..tensor.numel()).map(value).collect();
            tensor.copy_from_slice(&values).unwrap();
        }
        let y = decoder.forward(&input(&device), None).unwrap();
        let y = y.mul(&y).unwrap().mean_all().unwrap();
        let gradients = y.backward().unwrap();
        let got = f64::from(y.item().unwrap());
        assert!((got / loss - 1.0).abs() < 1e-5, "{pairs:?}: {got}, {loss}");
        for ((name, tensor), want) in parameters.iter().zip(norms) {
            let gradient = gradients.get(tensor).unwrap().to_vec::<f32>().unwrap();
            let squares = gradient.iter().map(|g| f64::from(*g).powi(2));
            let norm = squares.sum::<f64>().sqrt();
            assert!(
                (norm / want - 1.0).abs() < 1e-5,
                "{pairs:?} {name}: {norm}, {want}"
            );
        }
    }
}

#[test]
fn tokens_one_by_one_from_a_cache_equal_a_whole_pass() {
    let device = device();
    let decoder = Decoder::new(&device, RotaryPairs::Halves).unwrap();
    let x = input(&device);
    no_grad(|| {
        let whole = decoder.forward(&x, None).unwrap().to_vec::<f32>().unwrap();
        for parts in [vec![1, 1, 1, 1, 1], vec![3, 2], vec![1, 4], vec![5]] {
            let mut cache = KvCache::new(&device, 1, [2, 2, 6, 4], DType::F32).unwrap();
            let mut got = Vec::new();
            for tokens in &parts {
                let part = x.narrow(1, cache.len(), *tokens).unwrap();
                got.push(decoder.forward(&part, Some((&cache, 0))).unwrap());
                cache.advance(*tokens).unwrap();
            }
            let got = Tensor::concat(&got.iter().collect::<Vec<_>>(), 1).unwrap();
            for (g, w) in got.to_vec::<f32>().unwrap().iter().zip(&whole) {
                assert!(
                    (g - w).abs() < 1e-4 * (1.0 + w.abs()),
                    "{parts:?}: {g}, {w}"
                );
            }
            let error = decoder
                .forward(&x, Some((&cache, 0)))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("room for 6 tokens, 10 are needed"),
                "{error}"
            );
            assert!(cache.advance(2).is_err());
            cache.truncate(1);
            assert_eq!(cache.len(), 1);
            let error = decoder
                .forward(&part_of(&x), Some((&cache, 1)))
                .unwrap_err()
                .to_string();
            assert!(error.contains("no layer 1"), "{error}");
        }
    });
}

fn part_of(x: &Tensor) -> Tensor {
    x.narrow(1, 0, 1).unwrap()
}

#[test]
fn rotary_tables_grow_up_to_the_models_positions() {
    let device = device();
    let rotary = RotaryEmbedding::new(&device, 4, 10_000.0, 1000, RotaryPairs::Halves);
    assert_eq!(rotary.table(3).unwrap().shape(), [256, 4]);
    assert_eq!(rotary.table(257).unwrap().shape(), [512, 4]);
    assert_eq!(rotary.table(1000).unwrap().shape(), [1000, 4]);
    let error = rotary.table(1001).unwrap_err().to_string();
    assert!(
        error.contains("longer than the model's 1000 positions"),
        "{error}"
    );
}
