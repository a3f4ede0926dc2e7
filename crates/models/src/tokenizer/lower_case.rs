//! Lower-casing as `sentence-transformers` adds it to a tokenizer.

use anyhow::{Result, anyhow};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence};

use super::{TextTokenizer, one_line};

impl TextTokenizer {
    /// Texts become lower-case before anything else is done with them, special tokens within them aside. A tokenizer
    /// that has such a step already stays as it is.
    pub(crate) fn lower_case(&mut self) {
        let mut steps = vec![NormalizerWrapper::Lowercase(Lowercase)];
        match self.tokenizer.get_normalizer() {
            None => {}
            Some(NormalizerWrapper::Lowercase(_)) => return,
            Some(NormalizerWrapper::Sequence(sequence)) => {
                let inside: Vec<NormalizerWrapper> = sequence.as_ref().to_vec();
                if inside
                    .iter()
                    .any(|step| matches!(step, NormalizerWrapper::Lowercase(_)))
                {
                    return;
                }
                steps.extend(inside);
            }
            Some(other) => steps.push(other.clone()),
        }
        // Refused only where added tokens cannot be normalised, which lower-casing can.
        let _ = self
            .tokenizer
            .with_normalizer(Some(NormalizerWrapper::Sequence(Sequence::new(steps))));
    }

    /// The tokens that `prefix` takes at the start of a text of at most `max_length` tokens: those that it has alone,
    /// without a special token at the end.
    pub(crate) fn prefix_length(&self, prefix: &str, max_length: usize) -> Result<usize> {
        let encoding = self
            .tokenizer
            .encode(prefix, true)
            .map_err(|error| anyhow!("cannot tokenize: {}", one_line(&error.to_string())))?;
        let trailing = encoding.get_special_tokens_mask().last() == Some(&1);
        let length = encoding.get_ids().len().min(max_length);
        Ok(length - usize::from(trailing && length > 0))
    }
}
