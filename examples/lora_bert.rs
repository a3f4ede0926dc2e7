//! LoRA on BERT: the model stays frozen, and small matrices beside the projections of queries and values
//! are trained together with a new head. The adapters are saved alone, loaded into a second model, and
//! merged into its weights.
//!
//! The model is a small BERT with generated weights; give a `transformers` folder to use its weights.
//!
//! Run: cargo run --release --example lora_bert [-- MODEL_FOLDER]

use anyhow::{Result, ensure};
use serde_json::json;
use wgrad::models::bert::{BertModel, TokenBatch};
use wgrad::models::config::BertConfig;
use wgrad::models::folder::{ModelFolder, Pooling};
use wgrad::models::tokenizer::pad_batch;
use wgrad::nn::lora::{self, LoraConfig};
use wgrad::nn::{load, save_tensors, unfreeze};
use wgrad::prelude::*;
use wgrad::tensor::ops::cross_entropy::CrossEntropy;

/// The encoder and a head on the mean of its last hidden states.
#[derive(Module)]
struct Classifier {
    bert: BertModel,
    classifier: Linear,
}
