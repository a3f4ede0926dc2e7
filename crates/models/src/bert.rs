//! BERT (arXiv:1810.04805) and its relatives RoBERTa and DistilBERT: the encoder, sentence embeddings
//! and sequence classification.

pub mod names;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use wgrad_nn::{
    Dropout, Embedding, FeedForward, LayerNorm, Linear, Mode, MultiHeadAttention, Parameters,
};
use wgrad_tensor::{DType, Device, Tensor};

use crate::bert::names::canonical_names;
use crate::config::{BertConfig, Family};
use crate::folder::Pooling;
use crate::io::safetensors::Weights;
use crate::tokenizer::PaddedBatch;

/// A padded batch on the device.
pub struct TokenBatch {
    /// u32 (B, T)
    pub input_ids: Tensor,
    /// u32 (B, T), 0 where a position is padding.
    pub attention_mask: Tensor,
    /// u32 (B, T): RoBERTa counts positions from its padding id, over kept tokens only.
    position_ids: Option<Tensor>,
}

impl TokenBatch {
    /// Uploads `batch` for a model of this configuration. Errors name a token id that the model does
    /// not have and a length beyond its positions.
    pub fn new(device: &Device, config: &BertConfig, batch: &PaddedBatch) -> Result<Self> {
        if let Some(id) = batch
            .input_ids
            .iter()
            .find(|id| **id as usize >= config.vocab_size)
        {
            bail!(
                "token id {id} is beyond the model's vocabulary of {}; does the tokenizer belong to this model?",
                config.vocab_size
            );
        }
        ensure!(
            batch.seq_len <= config.max_tokens(),
            "a sequence of {} tokens is longer than the model's {} positions; use a smaller max_seq_length",
            batch.seq_len,
            config.max_tokens()
        );
        let shape = [batch.batch, batch.seq_len];
        let position_ids = match config.family {
            Family::Roberta => {
                let mut ids = Vec::with_capacity(batch.attention_mask.len());
                for row in batch.attention_mask.chunks(batch.seq_len.max(1)) {
                    let mut next = config.pad_token_id;
                    for keep in row {
                        next += keep;
                        ids.push(if *keep == 0 {
                            config.pad_token_id
                        } else {
                            next
                        });
                    }
                }
                Some(Tensor::from_slice(device, &ids, &shape)?)
            }
            Family::Bert | Family::DistilBert => None,
        };
        Ok(Self {
            input_ids: Tensor::from_slice(device, &batch.input_ids, &shape)?,
            attention_mask: Tensor::from_slice(device, &batch.attention_mask, &shape)?,
            position_ids,
        })
    }
}

/// One encoder layer: attention and feed-forward, each followed by dropout, the residual and a norm.
pub struct BertLayer {
    attention: MultiHeadAttention,
    attention_norm: LayerNorm,
    feed_forward: FeedForward,
    output_norm: LayerNorm,
    dropout: Dropout,
}

impl BertLayer {
    fn forward(&self, x: &Tensor, mask: &Tensor, mode: &Mode) -> Result<Tensor> {
        let y = self.attention.forward(x, Some(mask), false, mode)?;
        let x = self
            .attention_norm
            .forward_residual(&y, x, &self.dropout, mode)?;
        let y = self.feed_forward.forward(&x)?;
        Ok(self
            .output_norm
            .forward_residual(&y, &x, &self.dropout, mode)?)
    }
}

/// The encoder.
pub struct BertModel {
    /// What it was built from.
    pub config: BertConfig,
    word: Embedding,
    position: Embedding,
    token_type: Option<Embedding>,
    norm: LayerNorm,
    dropout: Dropout,
    layers: Vec<BertLayer>,
    pooler: Option<Linear>,
}

/// Takes tensors out of a folder's weights by their canonical names.
struct Source<'a> {
    device: &'a Device,
    weights: &'a Weights,
    names: BTreeMap<String, String>,
}

impl Source<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let key = self.names.get(name).with_context(|| {
            format!("the weights have no `{name}`; is this checkpoint of another architecture?")
        })?;
        let found = self.weights.shape(key)?;
        ensure!(
            found == shape,
            "`{key}` has shape {found:?}, config.json asks for {shape:?}; are both of the same model?"
        );
        let tensor = Tensor::from_slice(self.device, &self.weights.to_f32(key)?, shape)?;
        tensor.set_requires_grad(true)?;
        Ok(tensor)
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear::from_tensors(weight, Some(bias))?)
    }

    fn norm(&self, name: &str, config: &BertConfig) -> Result<LayerNorm> {
        let weight = self.tensor(&format!("{name}.weight"), &[config.hidden_size])?;
        let bias = self.tensor(&format!("{name}.bias"), &[config.hidden_size])?;
        Ok(LayerNorm::from_tensors(
            weight,
            bias,
            config.layer_norm_eps as f32,
        )?)
    }

    fn embedding(
        &self,
        name: &str,
        rows: usize,
        config: &BertConfig,
        pad: Option<u32>,
    ) -> Result<Embedding> {
        let weight = self.tensor(&format!("{name}.weight"), &[rows, config.hidden_size])?;
        Ok(Embedding::from_tensors(weight, pad.map(|id| id as usize))?)
    }
}

impl BertModel {
    /// Loads the encoder onto `device`, every parameter trainable. Errors name the tensor that is
    /// missing or has another shape than `config.json` says.
    pub fn load(device: &Device, config: &BertConfig, weights: &Weights) -> Result<Self> {
        let source = source(device, config, weights)?;
        Self::from_source(&source, config)
    }

    fn from_source(source: &Source, config: &BertConfig) -> Result<Self> {
        let hidden = config.hidden_size;
        let pad = Some(config.pad_token_id);
        let dropout = Dropout::new(config.hidden_dropout_prob as f32)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            let at = |part: &str| format!("encoder.layer.{i}.{part}");
            let own = |part: &str| source.linear(&at(part), hidden, hidden);
            let attention = MultiHeadAttention {
                query: own("attention.self.query")?,
                key: own("attention.self.key")?,
                value: own("attention.self.value")?,
                out: own("attention.output.dense")?,
                heads: config.num_attention_heads,
                dropout: Dropout::new(config.attention_probs_dropout_prob as f32)?,
            };
            attention.pack()?;
            layers.push(BertLayer {
                attention,
                attention_norm: source.norm(&at("attention.output.LayerNorm"), config)?,
                feed_forward: FeedForward {
                    linear1: source.linear(
                        &at("intermediate.dense"),
                        config.intermediate_size,
                        hidden,
                    )?,
                    activation: config.hidden_act,
                    linear2: source.linear(
                        &at("output.dense"),
                        hidden,
                        config.intermediate_size,
                    )?,
                },
                output_norm: source.norm(&at("output.LayerNorm"), config)?,
                dropout,
            });
        }
        let table = |name: &str, rows: usize, pad| {
            source.embedding(&format!("embeddings.{name}_embeddings"), rows, config, pad)
        };
        let position_pad = pad.filter(|_| config.family == Family::Roberta);
        Ok(Self {
            word: table("word", config.vocab_size, pad)?,
            position: table("position", config.max_position_embeddings, position_pad)?,
            token_type: match config.type_vocab_size {
                0 => None,
                rows => Some(table("token_type", rows, None)?),
            },
            norm: source.norm("embeddings.LayerNorm", config)?,
            dropout,
            layers,
            pooler: match source.has("pooler.dense.weight") {
                true => Some(source.linear("pooler.dense", hidden, hidden)?),
                false => None,
            },
            config: config.clone(),
        })
    }

    /// Token, position and type embeddings, normalised: f32 (B, T, C).
    pub fn embed(&self, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        let words = self.word.forward(&batch.input_ids)?;
        let tokens = batch.input_ids.shape()[1];
        let mut shared = match &batch.position_ids {
            Some(ids) => self.position.forward(ids)?,
            None => self.position.weight.narrow(0, 0, tokens)?,
        };
        // One segment only: every token is of type 0. Rows that all texts share are added up first.
        if let Some(types) = &self.token_type {
            shared = shared.add(&types.weight.narrow(0, 0, 1)?)?;
        }
        let x = words.add(&shared)?;
        Ok(self.dropout.forward(&self.norm.forward(&x)?, mode)?)
    }

    /// Layers `from..` over hidden states (B, T, C) with a mask u32 (B, T). They compute in the mode's type,
    /// which is that of the result.
    pub fn layers_from(
        &self,
        from: usize,
        x: &Tensor,
        mask: &Tensor,
        mode: &Mode,
    ) -> Result<Tensor> {
        let mut x = x.cast(mode.dtype())?;
        for layer in self.layers.iter().skip(from) {
            x = layer.forward(&x, mask, mode)?;
        }
        Ok(x)
    }

    /// Layers `..to` from the embeddings on.
    pub fn layers_to(&self, to: usize, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        let mut x = self.embed(batch, mode)?.cast(mode.dtype())?;
        for layer in self.layers.iter().take(to) {
            x = layer.forward(&x, &batch.attention_mask, mode)?;
        }
        Ok(x)
    }

    /// The last hidden state, (B, T, C).
    pub fn forward(&self, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        self.layers_to(self.layers.len(), batch, mode)
    }

    /// The number of encoder layers.
    pub fn num_layers(&self) -> usize {
        self.layers.len()
    }

    /// One vector a text (B, C) from hidden states (B, T, C) and the mask, padding left out.
    pub fn pool(hidden: &Tensor, mask: &Tensor, pooling: Pooling) -> Result<Tensor> {
        let [b, t, c] = *hidden.shape() else {
            bail!("hidden states {hidden:?} are not (B, T, C)");
        };
        let column = mask.reshape(&[b, t, 1])?;
        Ok(match pooling {
            Pooling::Cls => hidden.narrow(1, 0, 1)?.reshape(&[b, c])?,
            Pooling::Mean => {
                let keep = column.cast(DType::F32)?;
                let count = keep.sum(&[1], false)?.clamp(1e-9, f32::MAX)?;
                hidden.mul(&keep)?.sum(&[1], false)?.div(&count)?
            }
            Pooling::Max => {
                let zero = Tensor::zeros(mask.device(), &[], DType::U32)?;
                hidden
                    .masked_fill(&column.eq(&zero)?, -1e9)?
                    .max(&[1], false)?
            }
        })
    }

    /// Parameters under the names of `transformers`' `BertModel`.
    pub fn parameters(&self) -> Parameters {
        let mut out = Vec::new();
        self.word.parameters("embeddings.word_embeddings", &mut out);
        self.position
            .parameters("embeddings.position_embeddings", &mut out);
        if let Some(types) = &self.token_type {
            types.parameters("embeddings.token_type_embeddings", &mut out);
        }
        self.norm.parameters("embeddings.LayerNorm", &mut out);
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |part: &str| format!("encoder.layer.{i}.{part}");
            let attention = &layer.attention;
            attention
                .query
                .parameters(&at("attention.self.query"), &mut out);
            attention
                .key
                .parameters(&at("attention.self.key"), &mut out);
            attention
                .value
                .parameters(&at("attention.self.value"), &mut out);
            attention
                .out
                .parameters(&at("attention.output.dense"), &mut out);
            layer
                .attention_norm
                .parameters(&at("attention.output.LayerNorm"), &mut out);
            layer
                .feed_forward
                .linear1
                .parameters(&at("intermediate.dense"), &mut out);
            layer
                .feed_forward
                .linear2
                .parameters(&at("output.dense"), &mut out);
            layer
                .output_norm
                .parameters(&at("output.LayerNorm"), &mut out);
        }
        if let Some(pooler) = &self.pooler {
            pooler.parameters("pooler.dense", &mut out);
        }
        out
    }

    /// Sets the probability of every dropout of the encoder.
    pub fn set_dropout(&mut self, p: f32) -> Result<()> {
        self.dropout = Dropout::new(p)?;
        for layer in &mut self.layers {
            layer.dropout = self.dropout;
            layer.attention.dropout = self.dropout;
        }
        Ok(())
    }

    pub(crate) fn set_pooler(&mut self, pooler: Linear) {
        self.pooler = Some(pooler);
    }

    pub(crate) fn pooler(&self) -> Option<&Linear> {
        self.pooler.as_ref()
    }
}

fn source<'a>(device: &'a Device, config: &BertConfig, weights: &'a Weights) -> Result<Source<'a>> {
    Ok(Source {
        device,
        weights,
        names: canonical_names(config.family, weights.names())?,
    })
}

/// Tensors of a classification head that the weights hold, by canonical name.
pub(crate) fn optional_linear(
    device: &Device,
    config: &BertConfig,
    weights: &Weights,
    name: &str,
    outputs: usize,
) -> Result<Option<Linear>> {
    let source = source(device, config, weights)?;
    if !source.has(&format!("{name}.weight")) {
        return Ok(None);
    }
    source.linear(name, outputs, config.hidden_size).map(Some)
}
