//! BERT (arXiv:1810.04805) and its relatives RoBERTa and DistilBERT: the encoder, sentence embeddings
//! and sequence classification.

mod checkpoint;
pub mod names;

use anyhow::{Result, bail, ensure};
use wgrad_nn::{
    AttentionNames, Dropout, Embedding, FeedForward, LayerNorm, Linear, Mode, Module,
    MultiHeadAttention, VarBuilder,
};
use wgrad_tensor::{DType, Device, Tensor};

use crate::config::{BertConfig, Family};
use crate::io::safetensors::Weights;
use crate::pooling::Pooling;
use crate::tokenizer::PaddedBatch;

pub(crate) use checkpoint::{CanonicalWeights, few_names};

/// A padded batch on the device.
pub struct TokenBatch {
    /// u32 (B, T)
    pub input_ids: Tensor,
    /// u32 (B, T), 0 where a position is padding.
    pub attention_mask: Tensor,
    /// u32 (B, T), for pairs: 0 in the first text, 1 in the second. Models without token types for two
    /// texts get none.
    token_type_ids: Option<Tensor>,
    /// u32 (B, T): the positions of RoBERTa's tokens.
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
                let rows = batch.input_ids.chunks(batch.seq_len.max(1));
                let ids: Vec<u32> = rows
                    .flat_map(|row| positions(row, config.pad_token_id))
                    .collect();
                Some(Tensor::from_slice(device, &ids, &shape)?)
            }
            Family::Bert | Family::DistilBert => None,
        };
        Ok(Self {
            input_ids: Tensor::from_slice(device, &batch.input_ids, &shape)?,
            attention_mask: Tensor::from_slice(device, &batch.attention_mask, &shape)?,
            token_type_ids: match config.type_vocab_size >= 2
                && batch.token_type_ids.iter().any(|id| *id != 0)
            {
                true => Some(Tensor::from_slice(device, &batch.token_type_ids, &shape)?),
                false => None,
            },
            position_ids,
        })
    }
}

/// RoBERTa's positions, as `transformers` counts them: from behind the padding id, over the ids that are not it. A text
/// may hold the padding token itself (`<pad>`): it is attended to, but has no position of its own.
fn positions(row: &[u32], pad_token_id: u32) -> impl Iterator<Item = u32> {
    let mut last = pad_token_id;
    row.iter().map(move |id| match *id == pad_token_id {
        true => pad_token_id,
        false => {
            last += 1;
            last
        }
    })
}

/// One encoder layer: attention and feed-forward, each followed by dropout, the residual and a norm.
#[derive(Debug, Module)]
pub struct BertLayer {
    attention: MultiHeadAttention,
    #[module(rename = "attention.output.LayerNorm")]
    attention_norm: LayerNorm,
    #[module(flatten)]
    feed_forward: FeedForward,
    #[module(rename = "output.LayerNorm")]
    output_norm: LayerNorm,
    dropout: Dropout,
}

/// What BERT calls the layers of an attention.
const ATTENTION: AttentionNames = AttentionNames {
    query: "self.query",
    key: "self.key",
    value: "self.value",
    out: "output.dense",
};
/// What BERT calls the layers of the feed-forward part.
const FEED_FORWARD: [&str; 2] = ["intermediate.dense", "output.dense"];

impl BertLayer {
    fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let dropout = Dropout::new(config.hidden_dropout_prob as f32)?;
        let norm = |name: &str| LayerNorm::new(hidden, config.layer_norm_eps as f32, &vb.pp(name));
        Ok(Self {
            attention: MultiHeadAttention::with_names(
                hidden,
                config.num_attention_heads,
                config.attention_probs_dropout_prob as f32,
                ATTENTION,
                &vb.pp("attention"),
            )?,
            attention_norm: norm("attention.output.LayerNorm")?,
            feed_forward: FeedForward::with_names(
                hidden,
                config.intermediate_size,
                config.hidden_act,
                FEED_FORWARD,
                vb,
            )?,
            output_norm: norm("output.LayerNorm")?,
            dropout,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, mode: &Mode) -> Result<Tensor> {
        let y = self.attention.forward(x, Some(mask), false, mode)?;
        let x = self
            .attention_norm
            .forward_residual(&y, x, &self.dropout, mode)?;
        let y = self.feed_forward.forward(&x, mode)?;
        Ok(self
            .output_norm
            .forward_residual(&y, &x, &self.dropout, mode)?)
    }
}

/// The tables that tokens are looked up in, and the norm of their sum.
#[derive(Debug, Module)]
struct BertEmbeddings {
    #[module(rename = "word_embeddings")]
    word: Embedding,
    #[module(rename = "position_embeddings")]
    position: Embedding,
    #[module(rename = "token_type_embeddings")]
    token_type: Option<Embedding>,
    #[module(rename = "LayerNorm")]
    norm: LayerNorm,
}

impl BertEmbeddings {
    fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let pad = Some(config.pad_token_id as usize);
        let table = |name: &str, rows| Embedding::new(rows, hidden, &vb.pp(name));
        let position_pad = pad.filter(|_| config.family == Family::Roberta);
        Ok(Self {
            word: table("word_embeddings", config.vocab_size)?.with_padding_idx(pad)?,
            position: table("position_embeddings", config.max_position_embeddings)?
                .with_padding_idx(position_pad)?,
            token_type: match config.type_vocab_size {
                0 => None,
                rows => Some(table("token_type_embeddings", rows)?),
            },
            norm: LayerNorm::new(hidden, config.layer_norm_eps as f32, &vb.pp("LayerNorm"))?,
        })
    }
}

/// The encoder, with parameters under the names of `transformers`' `BertModel`.
#[derive(Debug, Module)]
pub struct BertModel {
    /// What it was built from.
    #[module(skip)]
    pub config: BertConfig,
    embeddings: BertEmbeddings,
    dropout: Dropout,
    #[module(rename = "encoder.layer")]
    layers: Vec<BertLayer>,
    #[module(rename = "pooler.dense")]
    pooler: Option<Linear>,
}

impl BertModel {
    /// Loads the encoder onto `device`, every parameter trainable. Errors name the tensor that is
    /// missing or has another shape than `config.json` says.
    pub fn load(device: &Device, config: &BertConfig, weights: &Weights) -> Result<Self> {
        let source = CanonicalWeights::new(config, weights)?;
        Self::new(config, &VarBuilder::from_source(device, Box::new(source)))
    }

    /// The encoder with the tensors that `vb` gives. From a source it has a pooler if the source has one.
    pub fn new(config: &BertConfig, vb: &VarBuilder) -> Result<Self> {
        let hidden = config.hidden_size;
        let pooler = vb.pp("pooler.dense");
        let layer = |i: usize| BertLayer::new(config, &vb.pp("encoder.layer").pp(i));
        Ok(Self {
            embeddings: BertEmbeddings::new(config, &vb.pp("embeddings"))?,
            dropout: Dropout::new(config.hidden_dropout_prob as f32)?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            pooler: match !pooler.has_source() || pooler.contains("weight") {
                true => Some(Linear::new(hidden, hidden, &pooler)?),
                false => None,
            },
            config: config.clone(),
        })
    }

    /// Token, position and type embeddings, normalised: f32 (B, T, C).
    pub fn embed(&self, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        let tables = &self.embeddings;
        let words = tables.word.forward(&batch.input_ids)?;
        let tokens = batch.input_ids.shape()[1];
        let mut shared = match &batch.position_ids {
            Some(ids) => tables.position.forward(ids)?,
            None => tables.position.weight().narrow(0, 0, tokens)?,
        };
        if let Some(types) = &tables.token_type {
            // A single text has type 0 throughout. Rows that all texts share are added up first.
            let of_tokens = match &batch.token_type_ids {
                Some(ids) => types.forward(ids)?,
                None => types.weight().narrow(0, 0, 1)?,
            };
            shared = shared.add(&of_tokens)?;
        }
        let x = words.add(&shared)?;
        Ok(self.dropout.forward(&tables.norm.forward(&x)?, mode)?)
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

    /// One vector a text (B, C) from hidden states (B, T, C) and the mask, padding left out: the first, the mean or the
    /// maximum. The other modes need the texts' lengths, see [`crate::pooling::pool`].
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
            other => bail!("pooling {other:?} needs the lengths of the texts; use pooling::pool"),
        })
    }

    /// Sets the probability of every dropout of the encoder.
    pub fn set_dropout(&mut self, p: f32) -> Result<()> {
        self.dropout = Dropout::new(p)?;
        for layer in &mut self.layers {
            layer.dropout = self.dropout;
            layer.attention.set_dropout(self.dropout);
        }
        Ok(())
    }

    pub(crate) fn set_pooler(&mut self, pooler: Option<Linear>) {
        self.pooler = pooler;
    }

    pub(crate) fn pooler(&self) -> Option<&Linear> {
        self.pooler.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `create_position_ids_from_input_ids` of `transformers` counts them.
    #[test]
    fn a_padding_token_within_a_text_has_no_position() {
        let row = |ids: &[u32]| positions(ids, 1).collect::<Vec<_>>();
        assert_eq!(row(&[0, 288, 225, 1, 284, 2]), [2, 3, 4, 1, 5, 6]);
        assert_eq!(row(&[0, 1, 225, 2, 1, 1]), [2, 1, 3, 4, 1, 1]);
    }
}
