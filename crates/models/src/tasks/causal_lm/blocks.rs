//! A tokenized text in blocks of equal length.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use wgrad_tensor::{Device, Tensor};

use crate::tokenizer::TextTokenizer;

/// The target of a block's last token, which is not in the vocabulary: its successor stands in the next block.
pub(super) const NO_TARGET: u32 = u32::MAX;

/// A text cut into blocks of `block_size` consecutive tokens, as `run_clm.py` of `transformers` cuts it. The tokens at
/// the end that fill no block are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBlocks {
    ids: Vec<u32>,
    block_size: usize,
    len: usize,
}

impl TokenBlocks {
    /// Blocks of token ids that are known.
    ///
    /// # Errors
    /// Blocks of less than 2 tokens, in which no token has a successor; a text that is shorter than one block.
    pub fn new(ids: Vec<u32>, block_size: usize) -> Result<Self> {
        ensure!(
            block_size >= 2,
            "block_size is {block_size}; it must be at least 2, for a token and its successor"
        );
        ensure!(
            ids.len() >= block_size,
            "the text has {} tokens, less than one block of {block_size}; give a longer text or a smaller block_size",
            ids.len()
        );
        let len = ids.len() / block_size;
        Ok(Self {
            ids,
            block_size,
            len,
        })
    }

    /// Reads a UTF-8 text and tokenizes it line by line, line breaks included, as `run_clm.py` does.
    ///
    /// # Errors
    /// One line that names the file: it cannot be read, is empty, is not UTF-8, is shorter than one block.
    pub fn from_file(
        path: impl AsRef<Path>,
        tokenizer: &TextTokenizer,
        block_size: usize,
    ) -> Result<Self> {
        let path = path.as_ref();
        let read = || {
            let bytes = std::fs::read(path).context("cannot read the text")?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                anyhow::anyhow!("the text is not UTF-8: byte {at} does not belong there")
            })?;
            // Some editors put a mark of the byte order in front.
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            ensure!(!text.is_empty(), "the text is empty");
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let ids = tokenizer.encode_batch(&lines, usize::MAX)?.concat();
            Self::new(ids, block_size)
        };
        read().with_context(|| path.display().to_string())
    }

    /// The first `most` blocks, or all.
    pub fn take(mut self, most: Option<usize>) -> Self {
        self.len = self.len.min(most.unwrap_or(usize::MAX));
        self
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Tokens of a block that have a target: all but the last one.
    pub fn targets(&self) -> usize {
        self.block_size - 1
    }

    /// The tokens of all blocks.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.ids[..self.len * self.block_size]
    }

    /// The largest token id of the blocks.
    pub(super) fn largest(&self) -> u32 {
        self.tokens().iter().max().copied().unwrap_or(0)
    }

    /// Ids u32 (B, T) of some blocks, and the successor of each token, u32 (B T).
    ///
    /// # Errors
    /// There is no such block, a failed device.
    pub fn batch(&self, device: &Device, blocks: &[usize]) -> Result<(Tensor, Tensor)> {
        let size = self.block_size;
        let mut ids = Vec::with_capacity(blocks.len() * size);
        let mut targets = Vec::with_capacity(blocks.len() * size);
        for block in blocks {
            ensure!(
                *block < self.len,
                "there is no block {block}, the text has {}",
                self.len
            );
            let block = &self.ids[block * size..(block + 1) * size];
            ids.extend_from_slice(block);
            targets.extend_from_slice(&block[1..]);
            targets.push(NO_TARGET);
        }
        let shape = [blocks.len(), size];
        Ok((
            Tensor::from_slice(device, &ids, &shape)?,
            Tensor::from_slice(device, &targets, &[targets.len()])?,
        ))
    }
}
