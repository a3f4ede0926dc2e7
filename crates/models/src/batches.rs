//! Batches of sequences when nothing is trained: of like length, and as large as memory and bindings allow.

use anyhow::{Context, Result};
use wgrad_tensor::Device;

use crate::bert::TokenBatch;
use crate::config::BertConfig;
use crate::tokenizer::{Sequences, pad_batch};

/// Sequences of a batch are padded to a multiple of this: kernels read whole texels, and fewer shapes
/// mean fewer buffers.
pub const PAD_TO_MULTIPLE_OF: usize = 8;

/// The largest activation of a forward pass is to be at most this large, in bytes. A handful of that size are
/// alive at a time; a kernel is busy with far less.
const ACTIVATION_BYTES: u64 = 32 << 20;

/// How many sequences fit into one batch when nothing is trained.
#[derive(Debug, Clone, Copy)]
pub struct EvalBatchSize {
    most: usize,
    /// Of the widest activation.
    bytes_per_token: u64,
    bytes: u64,
}

impl EvalBatchSize {
    /// For an encoder on `device`: its widest activation must fit into one binding. At most `most` sequences,
    /// where that is given.
    pub fn new(device: &Device, config: &BertConfig, most: Option<usize>) -> Self {
        // The feed-forward part's inside, or queries, keys and values side by side.
        let widest = config.intermediate_size.max(3 * config.hidden_size);
        Self {
            most: most.unwrap_or(usize::MAX).max(1),
            bytes_per_token: (widest * size_of::<f32>()) as u64,
            bytes: ACTIVATION_BYTES.min(device.max_binding_bytes()),
        }
    }

    /// Sequences of `tokens` tokens in a batch, at least 1.
    pub fn rows(&self, tokens: usize) -> usize {
        let tokens = tokens.max(1).next_multiple_of(PAD_TO_MULTIPLE_OF) as u64;
        let rows = (self.bytes / (tokens * self.bytes_per_token).max(1)) as usize;
        // Few different sizes mean few different buffers.
        let rows = if rows > 8 { rows / 8 * 8 } else { rows };
        rows.clamp(1, self.most)
    }
}

/// The batches in which sequences of these lengths are computed when nothing is trained: of like length, the
/// longest first, so that the largest buffers are made once and serve all that follows.
pub fn batches_by_length(lengths: &[usize], size: &EvalBatchSize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lengths[*i]), *i));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(longest) = rest.first() {
        let rows = size.rows(lengths[*longest]).min(rest.len());
        let (batch, after) = rest.split_at(rows);
        batches.push(batch.to_vec());
        rest = after;
    }
    batches
}

/// Calls `f` with the [`batches_by_length`] and puts its rows back in order.
///
/// # Errors
/// Those of `f`; too few rows from it.
pub fn in_batches_by_length<T: Clone>(
    lengths: &[usize],
    size: &EvalBatchSize,
    mut f: impl FnMut(&[usize]) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut out: Vec<Option<T>> = vec![None; lengths.len()];
    for batch in batches_by_length(lengths, size) {
        for (i, row) in batch.iter().zip(f(&batch)?) {
            out[*i] = Some(row);
        }
    }
    out.into_iter()
        .map(|row| row.context("a batch gave too few rows"))
        .collect()
}

/// Pads and uploads token sequences for an encoder.
///
/// # Errors
/// No sequence; one that is longer than the model takes; a token that the model does not have.
pub fn token_batch(
    device: &Device,
    config: &BertConfig,
    sequences: &Sequences,
) -> Result<TokenBatch> {
    let mut padded = pad_batch(
        &sequences.ids,
        config.pad_token_id,
        PAD_TO_MULTIPLE_OF,
        config.max_tokens(),
    )?;
    if let Some(types) = &sequences.types {
        padded = padded.with_token_types(types)?;
    }
    TokenBatch::new(device, config, &padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(most: usize, bytes: u64) -> EvalBatchSize {
        EvalBatchSize {
            most,
            bytes_per_token: 1024,
            bytes,
        }
    }

    #[test]
    fn batches_fit_memory_and_the_requested_size() {
        let lengths: Vec<usize> = (0..100).map(|i| 1 + i * 37 % 61).collect();
        for (most, bytes) in [(usize::MAX, 1 << 20), (7, 1 << 20), (usize::MAX, 1)] {
            let size = size(most, bytes);
            let batches = batches_by_length(&lengths, &size);
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
            for batch in &batches {
                let longest = lengths[batch[0]].next_multiple_of(8);
                assert!(batch.iter().all(|i| lengths[*i] <= lengths[batch[0]]));
                let fits = (batch.len() * longest) as u64 * 1024 <= bytes;
                assert!(batch.len() <= most && (fits || batch.len() == 1));
            }
        }
        // 1 MiB holds 1024 tokens.
        assert_eq!(size(usize::MAX, 1 << 20).rows(64), 16);
        assert_eq!(size(usize::MAX, 1 << 20).rows(100), 8);
        assert_eq!(size(usize::MAX, 1 << 20).rows(2000), 1);
    }
}
