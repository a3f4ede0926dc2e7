//! The task `causal_lm`: blocks of a text, a loss by token, and folders that keep the model.

use std::path::PathBuf;

use serde_json::json;
use wgrad::models::generate::{CausalLM, LanguageModel};
use wgrad::models::gpt::GptConfig;
use wgrad::models::llama::LlamaForCausalLM;
use wgrad::models::tasks::causal_lm::{CausalLMTask, TokenBlocks};
use wgrad::nn::{Mode, Module};
use wgrad::tensor::{Device, DeviceOptions, Tensor, no_grad};
use wgrad::train::metrics::greater_is_better;
use wgrad::train::{Callbacks, Task, TrainingArguments, train};

use crate::decoders::{small_gpt, small_llama};

fn device() -> Device {
    Device::open(DeviceOptions::default()).expect("an adapter; `cargo xtask test` installs one")
}

fn llama(device: &Device) -> LlamaForCausalLM {
    small_llama(device, true, 0.1)
}

/// A text of six blocks of eight tokens and a rest, which a small model can learn.
fn blocks() -> TokenBlocks {
    let ids = (0..8 * 6 + 3).map(|i| [4, 9, 17, 2, 33][i % 5]).collect();
    TokenBlocks::new(ids, 8).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("wgrad-causal-lm-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Trains through the loop.
fn fit(device: &Device, task: &mut CausalLMTask, parameters: &dyn Module, a: &TrainingArguments) {
    let mut optimizer = a.optimizer(parameters.named_parameters()).unwrap();
    let mut scheduler = a.scheduler(a.total_steps(task.lengths().len())).unwrap();
    let mut callbacks = Callbacks::new();
    train(
        device,
        task,
        &mut *optimizer,
        &mut scheduler,
        a,
        &mut callbacks,
    )
    .unwrap();
}

#[test]
fn causal_lm_blocks_are_those_of_run_clm() {
    let device = device();
    let blocks = TokenBlocks::new((0..11).collect(), 4).unwrap();
    assert_eq!((blocks.len(), blocks.targets()), (2, 3));
    let (ids, targets) = blocks.batch(&device, &[1]).unwrap();
    assert_eq!(ids.shape(), [1, 4]);
    assert_eq!(ids.to_vec::<u32>().unwrap(), [4, 5, 6, 7]);
    // The token after the last one is in another block.
    assert_eq!(targets.to_vec::<u32>().unwrap(), [5, 6, 7, u32::MAX]);
    assert!(blocks.batch(&device, &[2]).is_err());
    assert_eq!(blocks.take(Some(1)).len(), 1);
    let message = |ids, size| TokenBlocks::new(ids, size).unwrap_err().to_string();
    assert!(message(vec![1, 2, 3], 4).contains("3 tokens, less than one block of 4"));
    assert!(message(vec![1, 2, 3], 1).contains("at least 2"));
    let model = llama(&device);
    let refused = |ids, size| {
        let blocks = TokenBlocks::new(ids, size).unwrap();
        let task = CausalLMTask::new(&device, &model, blocks, None);
        task.unwrap_err().to_string()
    };
    assert!(refused(vec![1; 50], 41).contains("longer than the model's 40 positions"));
    assert!(refused(vec![1, 50, 2], 3).contains("beyond the model's vocabulary of 50"));
}

#[test]
fn causal_lm_loss_falls() {
    let device = device();
    let out = folder("falls");
    let models: [Box<dyn CausalLM>; 2] = [
        Box::new(llama(&device)),
        Box::new(small_gpt(&device, GptConfig::gpt2().embedding_std)),
    ];
    for model in &models {
        let model = model.as_ref();
        let mut task = CausalLMTask::new(&device, model, blocks(), Some(blocks())).unwrap();
        let before = task.evaluate().unwrap().unwrap();
        let perplexity = before.get("eval_perplexity").unwrap();
        assert!((perplexity - before.loss.exp()).abs() < 1e-9 * perplexity);
        assert!(!greater_is_better("eval_perplexity") && !greater_is_better("eval_loss"));
        // A block of 8 tokens has 7 targets; the mean over all blocks is the evaluation's loss.
        let loss = task.loss(&[0, 1, 2, 3, 4, 5], &Mode::eval()).unwrap();
        assert_eq!(loss.count, 6 * 7);
        let mean = f64::from(loss.mean.item().unwrap());
        assert!((mean - before.loss).abs() < 1e-5, "{mean} {}", before.loss);
        let arguments = TrainingArguments {
            learning_rate: 1e-2,
            max_steps: 40,
            no_checkpoints: true,
            per_device_train_batch_size: 3,
            ..TrainingArguments::new(&out)
        };
        fit(&device, &mut task, &model, &arguments);
        let after = task.evaluate().unwrap().unwrap();
        assert!(after.loss < 0.3 * before.loss, "{before:?} {after:?}");
    }
    std::fs::remove_dir_all(&out).unwrap();
}

#[test]
fn causal_lm_accumulation_equals_the_big_batch() {
    let device = device();
    let out = folder("accumulation");
    let trained = |batch: usize, accumulation: usize| {
        let model = llama(&device);
        let mut task = CausalLMTask::new(&device, &model, blocks(), None).unwrap();
        let arguments = TrainingArguments {
            optim: "sgd".to_owned(),
            learning_rate: 0.5,
            max_steps: 3,
            no_shuffle: true,
            no_checkpoints: true,
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulation,
            ..TrainingArguments::new(&out)
        };
        fit(&device, &mut task, &model, &arguments);
        let values = |(name, tensor): (String, Tensor)| (name, tensor.to_vec::<f32>().unwrap());
        let all = model.named_parameters().into_iter().map(values);
        all.collect::<Vec<_>>()
    };
    let whole = trained(6, 1);
    // Micro-batches of equal size, and of four blocks and two.
    for (batch, accumulation) in [(3, 2), (4, 2)] {
        for ((name, a), (_, b)) in whole.iter().zip(trained(batch, accumulation)) {
            let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= 1e-5 * largest, "{batch} {name}: {a} {b}");
            }
        }
    }
    std::fs::remove_dir_all(&out).unwrap();
}

#[test]
fn causal_lm_folders_keep_the_model() {
    let device = device();
    let (dir, again) = (folder("kept"), folder("again"));
    let logits = |model: &dyn CausalLM| {
        let ids = Tensor::from_slice(&device, &[7u32, 3, 49, 0, 12], &[1, 5]).unwrap();
        let logits = no_grad(|| model.logits(&ids, &Mode::eval())).unwrap();
        logits.to_vec::<f32>().unwrap()
    };
    let model = llama(&device);
    let mut task = CausalLMTask::new(&device, &model, blocks(), None).unwrap();
    let arguments = TrainingArguments {
        learning_rate: 1e-2,
        max_steps: 2,
        no_checkpoints: true,
        ..TrainingArguments::new(&dir)
    };
    fit(&device, &mut task, &model, &arguments);
    task.save(&dir).unwrap();
    let words = (0..50).map(|id| (format!("w{id}"), json!(id)));
    let words: serde_json::Map<String, serde_json::Value> = words.collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let loaded = LanguageModel::load(&device, &dir).unwrap();
    assert_eq!(logits(loaded.model()), logits(&model));
    // The model is saved with its tokenizer, and a task can load the folder.
    std::fs::write(dir.join("text.txt"), "w4 w9 w17\n".repeat(9)).unwrap();
    let text = TokenBlocks::from_file(dir.join("text.txt"), loaded.tokenizer(), 8).unwrap();
    assert_eq!(text.len(), 3);
    let task = CausalLMTask::with_tokenizer(&device, &loaded, text, None).unwrap();
    task.save(&again).unwrap();
    let whole = LanguageModel::load(&device, &again).unwrap();
    assert_eq!(logits(whole.model()), logits(&model));
    let fresh = llama(&device);
    assert_ne!(logits(&fresh), logits(&model));
    let mut task = CausalLMTask::new(&device, &fresh, blocks(), None).unwrap();
    task.load(&again).unwrap();
    assert_eq!(logits(&fresh), logits(&model));
    for dir in [dir, again] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}
