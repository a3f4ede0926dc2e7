//! Token ids to text, one at a time.

use anyhow::Result;
use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, Tokenizer,
};

use super::caught;

/// Gives the text of each next token id as soon as its bytes make whole characters.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    stream: DecodeStream<
        'a,
        ModelWrapper,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >,
    skip_special_tokens: bool,
    /// Ids whose text has not come out yet.
    pending: Vec<u32>,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            stream: tokenizer.decode_stream(skip_special_tokens),
            skip_special_tokens,
            pending: Vec::new(),
        }
    }

    /// The text that this id completes; empty where a character is still in the making.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.pending.push(id);
        let what = format!("decode token {id}");
        let text = caught(&what, || self.stream.step(id))?;
        if text.is_some() {
            self.pending.clear();
        }
        Ok(text.unwrap_or_default())
    }

    /// What is left when no id follows: bytes of an unfinished character become U+FFFD.
    pub fn finish(self) -> Result<String> {
        caught("decode", || {
            self.tokenizer
                .decode(&self.pending, self.skip_special_tokens)
        })
    }
}

impl std::fmt::Debug for TextStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("TextStream")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
