//! Llama and GPT: a cache changes no logits, every parameter gets a gradient, files keep the model.

use wgrad::models::generate::{CausalLM, Sampler, SamplingOptions, generate};
use wgrad::models::gpt::{GptConfig, GptLMHeadModel};
use wgrad::models::io::safetensors::{SafeWriter, Weights};
use wgrad::models::llama::{LlamaConfig, LlamaForCausalLM};
use wgrad::nn::{Mode, Module, VarBuilder};
use wgrad::tensor::ops::cross_entropy::CrossEntropy;
use wgrad::tensor::{Device, DeviceOptions, Generator, Tensor, no_grad};

fn device() -> Device {
    Device::open(DeviceOptions {
        guard: true,
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

fn llama_config(tied: bool, std: f64) -> LlamaConfig {
    let json = serde_json::json!({
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 40,
        "initializer_range": std, "tie_word_embeddings": tied,
    });
    LlamaConfig::from_json(json).unwrap()
}

/// Two small layers whose weights begin with the standard deviation `std`.
pub(crate) fn small_llama(device: &Device, tied: bool, std: f64) -> LlamaForCausalLM {
    let generator = Generator::new(device, 3).unwrap();
    let vb = VarBuilder::fresh(device, &generator);
    LlamaForCausalLM::new(&llama_config(tied, std), &vb).unwrap()
}

/// The same of the GPT family; `embedding_std` is that of its table.
pub(crate) fn small_gpt(device: &Device, embedding_std: f64) -> GptLMHeadModel {
    let config = GptConfig {
        vocab_size: 50,
        n_positions: 40,
        n_embd: 32,
        n_layer: 2,
        n_head: 4,
        n_inner: 64,
        embedding_std,
        ..GptConfig::gpt2()
    };
    let generator = Generator::new(device, 3).unwrap();
    GptLMHeadModel::new(&config, &VarBuilder::fresh(device, &generator)).unwrap()
}

const IDS: [u32; 9] = [7, 3, 49, 0, 12, 12, 5, 30, 21];

fn close(found: &[f32], expected: &[f32], at: &str) {
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-5 * largest,
            "{at}: {a} at {i}, expected {b}"
        );
    }
}

/// Logits from a cache, filled in parts of these lengths, against those of the whole text.
fn cache_changes_nothing(device: &Device, model: &dyn CausalLM) {
    let v = model.vocab_size();
    let ids = Tensor::from_slice(device, &IDS, &[1, IDS.len()]).unwrap();
    let whole = no_grad(|| model.logits(&ids, &Mode::eval())).unwrap();
    let whole = whole.to_vec::<f32>().unwrap();
    for parts in [vec![9], vec![1; 9], vec![4, 1, 3, 1]] {
        let mut cache = model.new_cache(1, IDS.len()).unwrap();
        let mut start = 0;
        for length in parts {
            let part = &IDS[start..start + length];
            let part = Tensor::from_slice(device, part, &[1, length]).unwrap();
            let logits = no_grad(|| model.next_logits(&part, &mut cache)).unwrap();
            start += length;
            let expected = &whole[(start - 1) * v..start * v];
            close(
                &logits.to_vec::<f32>().unwrap(),
                expected,
                &format!("token {start}"),
            );
            assert_eq!(cache.len(), start);
        }
        let one = Tensor::from_slice(device, &[1u32], &[1, 1]).unwrap();
        let full = no_grad(|| model.next_logits(&one, &mut cache));
        let message = full.expect_err("a full cache").to_string();
        assert!(
            message.contains("room for 9 tokens, 10 are needed"),
            "{message}"
        );
    }
}

#[test]
fn a_cache_changes_no_logits() {
    let device = device();
    cache_changes_nothing(&device, &small_llama(&device, true, 0.3));
    cache_changes_nothing(&device, &small_llama(&device, false, 0.3));
    cache_changes_nothing(&device, &small_gpt(&device, 0.5));
}

fn loss(model: &dyn CausalLM, device: &Device) -> Tensor {
    let ids = Tensor::from_slice(device, &IDS[..8], &[1, 8]).unwrap();
    let targets = Tensor::from_slice(device, &IDS[1..], &[8]).unwrap();
    let logits = model.logits(&ids, &Mode::eval()).unwrap();
    let rows = logits.reshape(&[8, model.vocab_size()]).unwrap();
    rows.cross_entropy(&targets, &CrossEntropy::default())
        .unwrap()
}

#[test]
fn every_parameter_gets_a_gradient_and_steps_lower_the_loss() {
    let device = device();
    let models: [Box<dyn CausalLM>; 3] = [
        Box::new(small_llama(&device, true, 0.3)),
        Box::new(small_llama(&device, false, 0.3)),
        Box::new(small_gpt(&device, 0.5)),
    ];
    for model in models {
        let parameters = model.named_parameters();
        let first: f32 = loss(model.as_ref(), &device).item().unwrap();
        for _ in 0..10 {
            let gradients = loss(model.as_ref(), &device).backward().unwrap();
            for (name, tensor) in &parameters {
                let gradient = gradients.get(tensor).unwrap_or_else(|| panic!("{name}"));
                no_grad(|| {
                    let step = tensor.detach().sub(&gradient.mul_scalar(0.05)?)?;
                    step.copy_into(tensor)
                })
                .unwrap();
            }
        }
        let last: f32 = loss(model.as_ref(), &device).item().unwrap();
        assert!(last < 0.8 * first, "{first} {last}");
    }
}

#[test]
fn names_are_those_of_transformers_and_files_keep_the_model() {
    let device = device();
    let dir = std::env::temp_dir().join(format!("wgrad-decoders-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for tied in [true, false] {
        let model = small_llama(&device, tied, 0.3);
        let state = model.state_dict();
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "model.embed_tokens.weight");
        assert!(names.contains(&"model.layers.1.self_attn.k_proj.weight"));
        assert!(names.contains(&"model.layers.0.mlp.down_proj.weight"));
        assert!(names.contains(&"model.layers.0.post_attention_layernorm.weight"));
        assert_eq!(names.contains(&"lm_head.weight"), !tied);
        assert_eq!(names.len(), 2 + 2 * 9 + usize::from(!tied));
        let layout: Vec<(&str, &[usize])> = state
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape()))
            .collect();
        let mut writer = SafeWriter::create(dir.join("model.safetensors"), &layout, &[]).unwrap();
        for (_, tensor) in &state {
            writer
                .push(&tensor.detach().to_vec::<f32>().unwrap())
                .unwrap();
        }
        writer.finish().unwrap();
        let weights = Weights::open(&dir).unwrap();
        let again =
            LlamaForCausalLM::from_weights(&device, &llama_config(tied, 0.3), &weights).unwrap();
        let bits = |model: &LlamaForCausalLM| loss(model, &device).item().unwrap().to_bits();
        assert_eq!(bits(&again), bits(&model));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn generation_ends_at_the_requested_tokens() {
    let device = device();
    let model = small_llama(&device, true, 0.3);
    let greedy = || Sampler::new(SamplingOptions::default()).unwrap();
    let run = |prompt: &[u32], count: usize, end: &[u32]| {
        generate(&model, prompt, count, &mut greedy(), end, &mut |_| Ok(true))
    };
    let tokens = run(&IDS, 12, &[]).unwrap();
    assert_eq!(tokens.len(), 12);
    assert_eq!(run(&IDS, 12, &[]).unwrap(), tokens);
    let end = run(&IDS, 12, &tokens[3..4]).unwrap();
    let place = tokens.iter().position(|id| *id == tokens[3]).unwrap();
    assert_eq!(end, tokens[..=place]);
    // 40 positions.
    assert_eq!(run(&IDS, 1000, &[]).unwrap().len(), 31);
    assert!(run(&IDS, 0, &[]).unwrap().is_empty());
    let stopped = generate(&model, &IDS, 9, &mut greedy(), &[], &mut |_| Ok(false)).unwrap();
    assert_eq!(stopped, tokens[..1]);
    let message = |prompt: &[u32]| run(prompt, 5, &[]).unwrap_err().to_string();
    assert!(message(&[]).contains("no tokens"));
    assert!(message(&[50]).contains("beyond the model's vocabulary of 50"));
    assert!(message(&[1; 40]).contains("leaves none of the model's 40 positions"));
}

/// Launches of a forward pass with its loss, of the backward pass, and of a token behind a cache.
#[test]
fn launches_do_not_grow() {
    let device = device();
    let models: [(Box<dyn CausalLM>, [usize; 3]); 2] = [
        (Box::new(small_llama(&device, true, 0.3)), [23, 67, 29]),
        (Box::new(small_gpt(&device, 0.5)), [20, 50, 26]),
    ];
    for (model, most) in models {
        let count = |run: &dyn Fn()| {
            let before = device.counters().0;
            run();
            (device.counters().0 - before) as usize
        };
        let run = || loss(model.as_ref(), &device);
        let forward = count(&|| drop(run()));
        let both = count(&|| drop(run().backward().unwrap()));
        let token = Tensor::from_slice(&device, &[1u32], &[1, 1]).unwrap();
        let mut cache = model.new_cache(1, 4).unwrap();
        no_grad(|| model.next_logits(&token, &mut cache)).unwrap();
        let before = device.counters().0;
        no_grad(|| model.next_logits(&token, &mut cache)).unwrap();
        let decode = (device.counters().0 - before) as usize;
        assert_eq!([forward, both - forward, decode], most);
    }
}
