//! LoRA on BERT: the model stays frozen, and small matrices beside the projections of queries and values
//! are trained together with a new head. They are saved alone, loaded into a second model, and merged into
//! its weights.
//!
//! The model is a small BERT with generated weights; give a folder with the `config.json` and
//! `model.safetensors` of a BERT to start from its weights.
//!
//! Run: cargo run --release --example lora_bert [-- MODEL_FOLDER]

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use wgrad::models::bert::{BertModel, TokenBatch};
use wgrad::models::config::BertConfig;
use wgrad::models::folder::Pooling;
use wgrad::models::tokenizer::pad_batch;
use wgrad::nn::lora::{self, LoraConfig};
use wgrad::nn::safetensors::SafeFile;
use wgrad::nn::{load, save_tensors};
use wgrad::prelude::*;

/// The encoder, and a head on the mean of its last hidden states.
#[derive(Module)]
struct Classifier {
    bert: BertModel,
    classifier: Linear,
}

impl Classifier {
    /// With adapters beside the layers called `query` and `value`. Weights that `folder` does not have are
    /// drawn from `seed`.
    fn new(device: &Device, config: &BertConfig, folder: Option<&Path>, seed: u64) -> Result<Self> {
        let generator = Generator::new(device, seed)?;
        let vb = match folder {
            Some(folder) => {
                let file = SafeFile::open(folder.join("model.safetensors"))?;
                let prefixed = file.names().any(|name| name.starts_with("bert."));
                let rename = move |name: &str| match prefixed {
                    true => name.to_owned(),
                    false => name.trim_start_matches("bert.").to_owned(),
                };
                VarBuilder::from_source_or_fresh(device, Box::new(file), &generator)
                    .renamed(rename)?
            }
            None => VarBuilder::fresh(device, &generator),
        };
        let adapters = LoraConfig {
            r: 4,
            lora_alpha: 8.0,
            ..LoraConfig::new(["query", "value"])
        };
        let vb = vb.with_lora(adapters, &generator)?;
        Ok(Self {
            bert: BertModel::new(config, &vb.pp("bert"))?,
            classifier: Linear::new(config.hidden_size, 2, &vb.pp("classifier"))?,
        })
    }

    /// The logits of two classes, (B, 2).
    fn forward(&self, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        let hidden = self.bert.forward(batch, mode)?;
        let pooled = BertModel::pool(&hidden, &batch.attention_mask, Pooling::Mean)?;
        Ok(self.classifier.forward(&pooled)?)
    }
}

/// Texts of made-up tokens: those of class 1 hold the token 7.
fn texts(count: usize) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut state = 1u32;
    let mut below = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n
    };
    (0..count)
        .map(|i| {
            let class = i as u32 % 2;
            let mut text: Vec<u32> = (0..8 + below(8)).map(|_| 10 + below(40)).collect();
            if class == 1 {
                let at = below(text.len() as u32) as usize;
                text[at] = 7;
            }
            (text, class)
        })
        .unzip()
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let config = match &folder {
        Some(folder) => BertConfig::from_file(folder.join("config.json"))?,
        None => BertConfig::from_json(json!({
            "model_type": "bert", "vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 32,
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        }))?,
    };
    let device = Device::open(DeviceOptions::default())?;
    let model = Classifier::new(&device, &config, folder.as_deref(), 1)?;
    let all = model.num_parameters();
    lora::mark_only_lora_as_trainable(&model)?;
    unfreeze(&model, "classifier.*")?;
    let mut trained = model.named_parameters();
    trained.retain(|(_, tensor)| tensor.requires_grad());
    let count: usize = trained.iter().map(|(_, tensor)| tensor.numel()).sum();
    println!("training {count} of {all} parameters");

    let (rows, classes) = texts(64);
    let batch = pad_batch(&rows, config.pad_token_id, 8, config.max_tokens())?;
    let batch = TokenBatch::new(&device, &config, &batch)?;
    let targets = Tensor::from_slice(&device, &classes, &[classes.len()])?;
    let word_table = |model: &Classifier| -> Result<Vec<f32>> {
        let parameters = model.named_parameters();
        let table = parameters
            .iter()
            .find(|(name, _)| name.ends_with("word_embeddings.weight"));
        Ok(table.map_or(Ok(Vec::new()), |(_, table)| table.to_vec::<f32>())?)
    };
    let before = word_table(&model)?;

    let generator = Generator::new(&device, 2)?;
    let config_adamw = AdamWConfig {
        lr: 1e-2,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(trained.clone(), config_adamw)?;
    for step in 1..=80 {
        generator.begin_step(step, 0)?;
        let logits = model.forward(&batch, &Mode::train(&generator))?;
        let loss = logits.cross_entropy(&targets, &CrossEntropy::default())?;
        optimizer.step(&loss.backward()?, Some(1.0))?;
        if step % 20 == 0 {
            println!("step {step}: loss {:.4}", loss.item()?);
        }
    }
    let logits = no_grad(|| model.forward(&batch, &Mode::eval()))?;
    let predicted = logits.argmax(-1, false)?.to_vec::<u32>()?;
    let right = predicted
        .iter()
        .zip(&classes)
        .filter(|(a, b)| a == b)
        .count();
    println!("{right} of {} texts are right", classes.len());
    ensure!(right * 20 >= classes.len() * 19, "it did not learn");
    ensure!(word_table(&model)? == before, "a frozen weight has changed");

    // A second model of the same base gets the adapters and the head from the file, then merges them.
    let path = std::env::temp_dir().join(format!("wgrad-lora-{}.safetensors", std::process::id()));
    save_tensors(&trained, &path, &[])?;
    let other = Classifier::new(&device, &config, folder.as_deref(), 1)?;
    load(&other, &path)?.allow_missing()?;
    std::fs::remove_file(&path)?;
    println!("{} adapters merged", lora::merge(&other)?);
    let merged = no_grad(|| other.forward(&batch, &Mode::eval()))?.to_vec::<f32>()?;
    let difference = logits
        .to_vec::<f32>()?
        .iter()
        .zip(&merged)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    println!("largest difference of a logit: {difference:.1e}");
    ensure!(
        difference < 1e-3,
        "the merged model computes something else"
    );
    Ok(())
}
