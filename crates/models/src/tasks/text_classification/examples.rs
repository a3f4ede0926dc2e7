//! Tokenized examples with their labels, and the features that frozen layers make of them.

use anyhow::Result;
use wgrad_nn::Mode;
use wgrad_tensor::{Device, no_grad};
use wgrad_train::ContentHash;
use wgrad_train::data::{Labels, TextDataset};

use crate::batches::{EvalBatchSize, batches_by_length, token_batch};
use crate::bert::BertModel;
use crate::folder::Pooling;
use crate::tasks::facts::hash_tokens;

use super::features::FeatureRoom;
use crate::tokenizer::{Sequences, TextTokenizer};

/// The part of the encoder that stays as it is. Its dropout is off, so its features do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    Nothing,
    /// The embeddings and this many layers.
    Layers(usize),
    /// All but the head.
    Encoder,
}

impl Frozen {
    /// Bytes of the features of a text.
    fn bytes(self, tokens: usize, channels: usize) -> usize {
        let rows = match self {
            Frozen::Nothing => 0,
            Frozen::Layers(_) => tokens,
            Frozen::Encoder => 1,
        };
        rows * channels * size_of::<f32>()
    }
}

/// Tokenized texts with their labels.
#[derive(Debug)]
pub struct Examples {
    pub sequences: Sequences,
    pub lengths: Vec<usize>,
    pub labels: Labels,
    /// The batches in which features are computed for the cache. They depend on the texts and the device
    /// alone: if they followed the order of requests, a resumed run, which asks in another order, would get
    /// other bits.
    batches: Vec<Vec<usize>>,
    /// Which of them holds a text, where its features are to be cached.
    batch_of: Vec<Option<usize>>,
    /// What the frozen part gives for each text, once it was asked for: (tokens, C) row-major, or (C) of
    /// the first token.
    features: Vec<Option<Vec<f32>>>,
}

/// None.
impl Default for Examples {
    fn default() -> Self {
        Self {
            sequences: Sequences::default(),
            lengths: Vec::new(),
            labels: Labels::Classes(Vec::new()),
            batches: Vec::new(),
            batch_of: Vec::new(),
            features: Vec::new(),
        }
    }
}

impl Examples {
    /// Tokenizes `set`; a text or pair has at most `max_length` tokens.
    pub fn new(set: &TextDataset, tokenizer: &TextTokenizer, max_length: usize) -> Result<Self> {
        let sequences = tokenizer.encode_sequences(&set.texts, set.pairs.as_deref(), max_length)?;
        let lengths = sequences.lengths();
        let count = lengths.len();
        Ok(Self {
            sequences,
            lengths,
            labels: set.labels.clone(),
            batches: Vec::new(),
            batch_of: vec![None; count],
            features: vec![None; count],
        })
    }

    /// Caches the features of as many texts as `room` has place for, and takes them off `room`. Features that are
    /// used `uses` times at most once are not cached.
    pub fn cache_features(
        mut self,
        (frozen, channels): (Frozen, usize),
        uses: u64,
        size: &EvalBatchSize,
        room: &mut FeatureRoom,
    ) -> Self {
        if frozen == Frozen::Nothing {
            return self;
        }
        for batch in batches_by_length(&self.lengths, size) {
            let bytes = batch
                .iter()
                .map(|i| frozen.bytes(self.lengths[*i], channels));
            if !room.take(batch.len(), bytes.sum(), uses) {
                continue;
            }
            for text in &batch {
                self.batch_of[*text] = Some(self.batches.len());
            }
            self.batches.push(batch);
        }
        self
    }

    /// A hash of the tokens.
    pub fn hash_tokens(&self) -> ContentHash {
        let sequences = &self.sequences;
        let types = sequences.types.iter().flatten();
        let all = sequences.ids.iter().chain(types);
        hash_tokens(ContentHash::new(), all.map(Vec::as_slice))
    }

    /// A hash of the labels.
    pub fn hash_labels(&self) -> ContentHash {
        let text = match &self.labels {
            Labels::Classes(all) => format!("{all:?}"),
            Labels::Sets(all) => format!("{all:?}"),
            Labels::Values(all) => format!("{all:?}"),
        };
        ContentHash::new().with(text.as_bytes())
    }

    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// The features of `examples`, from the cache where they have a place in it.
    pub fn features(
        &mut self,
        device: &Device,
        encoder: &BertModel,
        frozen: Frozen,
        examples: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        for example in examples {
            let (Some(batch), None) = (self.batch_of[*example], &self.features[*example]) else {
                continue;
            };
            let batch = &self.batches[batch];
            let rows = features(device, encoder, frozen, &self.sequences.pick(batch))?;
            for (i, row) in batch.iter().zip(rows) {
                self.features[*i] = Some(row);
            }
        }
        let without: Vec<usize> = examples
            .iter()
            .copied()
            .filter(|i| self.features[*i].is_none())
            .collect();
        let mut computed = match without.is_empty() {
            true => Vec::new(),
            false => features(device, encoder, frozen, &self.sequences.pick(&without))?,
        }
        .into_iter();
        let mut rows = Vec::with_capacity(examples.len());
        for example in examples {
            match &self.features[*example] {
                Some(row) => rows.push(row.clone()),
                None => rows.extend(computed.next()),
            }
        }
        Ok(rows)
    }
}

/// What the frozen part makes of token sequences: their hidden states without padding, or the first
/// token's.
fn features(
    device: &Device,
    encoder: &BertModel,
    frozen: Frozen,
    sequences: &Sequences,
) -> Result<Vec<Vec<f32>>> {
    let batch = token_batch(device, &encoder.config, sequences)?;
    let channels = encoder.config.hidden_size;
    let layers = match frozen {
        Frozen::Layers(n) => n,
        _ => encoder.num_layers(),
    };
    let hidden = no_grad(|| encoder.layers_to(layers, &batch, &Mode::eval()))?;
    if frozen == Frozen::Encoder {
        let first = BertModel::pool(&hidden, &batch.attention_mask, Pooling::Cls)?;
        return Ok(first
            .to_vec::<f32>()?
            .chunks(channels)
            .map(<[f32]>::to_vec)
            .collect());
    }
    let tokens = hidden.shape()[1];
    let values = hidden.to_vec::<f32>()?;
    Ok(sequences
        .ids
        .iter()
        .zip(values.chunks(tokens * channels))
        .map(|(ids, row)| row[..ids.len() * channels].to_vec())
        .collect())
}
