//! Sentence embeddings as the folder's `modules.json` describes them.

use anyhow::{Context, Result};
use wgrad_nn::Mode;
use wgrad_tensor::{Device, no_grad};

use crate::batches::{EvalBatchSize, in_batches_by_length, token_batch};
use crate::bert::BertModel;
use crate::folder::{EmbeddingSettings, ModelFolder};
use crate::tokenizer::{Sequences, TextTokenizer};

/// An encoder with its tokenizer and pooling.
pub struct SentenceEmbedder {
    device: Device,
    encoder: BertModel,
    tokenizer: TextTokenizer,
    embedding: EmbeddingSettings,
    max_length: usize,
}

impl SentenceEmbedder {
    /// Loads a folder onto `device`.
    pub fn load(device: &Device, folder: &ModelFolder) -> Result<Self> {
        Ok(Self {
            embedding: folder.embedding()?,
            tokenizer: folder.tokenizer()?,
            max_length: folder.max_length()?,
            encoder: BertModel::load(device, &folder.config, &folder.weights)
                .with_context(|| folder.dir.display().to_string())?,
            device: device.clone(),
        })
    }

    /// One vector a text: pooled, and divided by its length if the folder says so.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let ids = self.tokenizer.encode_batch(texts, self.max_length)?;
        let sequences = Sequences { ids, types: None };
        let config = &self.encoder.config;
        let size = EvalBatchSize::new(&self.device, config, None);
        let mut rows = in_batches_by_length(&sequences.lengths(), &size, |texts| {
            let batch = token_batch(&self.device, config, &sequences.pick(texts))?;
            let pooled = no_grad(|| {
                let hidden = self.encoder.forward(&batch, &Mode::eval())?;
                BertModel::pool(&hidden, &batch.attention_mask, self.embedding.pooling)
            })?;
            let channels = config.hidden_size;
            Ok(pooled
                .to_vec::<f32>()?
                .chunks(channels)
                .map(<[f32]>::to_vec)
                .collect::<Vec<_>>())
        })?;
        if self.embedding.normalize {
            for row in &mut rows {
                let norm = row
                    .iter()
                    .map(|v| f64::from(*v) * f64::from(*v))
                    .sum::<f64>()
                    .sqrt();
                for v in row {
                    *v = (f64::from(*v) / norm.max(1e-12)) as f32;
                }
            }
        }
        Ok(rows)
    }
}
