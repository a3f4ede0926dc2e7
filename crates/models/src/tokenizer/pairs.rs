//! Pairs of texts as one sequence.

use anyhow::{Context, Result, ensure};
use tokenizers::{PostProcessor, TruncationParams, TruncationStrategy, truncate_encodings};

use super::{CHUNK, TextTokenizer, caught};

/// Token sequences, each a text or a pair of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Token ids of each, special tokens included, without padding.
    pub ids: Vec<Vec<u32>>,
    /// For pairs: which text each token belongs to, 0 or 1, as BERT's token types.
    pub types: Option<Vec<Vec<u32>>>,
}

impl Sequences {
    /// The number of tokens of each.
    pub fn lengths(&self) -> Vec<usize> {
        self.ids.iter().map(Vec::len).collect()
    }

    /// Those that `which` names.
    pub fn pick(&self, which: &[usize]) -> Sequences {
        let of = |rows: &Vec<Vec<u32>>| which.iter().map(|i| rows[*i].clone()).collect();
        Sequences {
            ids: of(&self.ids),
            types: self.types.as_ref().map(of),
        }
    }
}

impl TextTokenizer {
    /// Encodes texts, or pairs of texts where `pairs` holds as many second texts. A pair that takes more than
    /// `max_length` tokens loses tokens of the longer text first (`transformers`' `longest_first`).
    ///
    /// # Errors
    /// `max_length` has no room for the special tokens; different numbers of texts.
    pub fn encode_sequences(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        max_length: usize,
    ) -> Result<Sequences> {
        let Some(pairs) = pairs else {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            return Ok(Sequences {
                ids: self.encode_batch(&texts, max_length)?,
                types: None,
            });
        };
        ensure!(
            texts.len() == pairs.len(),
            "{} texts and {} second texts; give one each",
            texts.len(),
            pairs.len()
        );
        let special = self
            .tokenizer
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(true));
        let room = max_length.checked_sub(special).with_context(|| {
            format!(
                "a max_seq_length of {max_length} has no room for the tokenizer's {special} special tokens of a pair"
            )
        })?;
        let truncation = TruncationParams {
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            direction: self.direction,
            ..TruncationParams::default()
        };
        let (mut ids, mut types) = (Vec::new(), Vec::new());
        for (texts, pairs) in texts.chunks(CHUNK).zip(pairs.chunks(CHUNK)) {
            let seconds = self.encode_all(pairs)?;
            for (first, second) in self.encode_all(texts)?.into_iter().zip(seconds) {
                let both = caught("tokenize", || {
                    let (mut first, mut second) =
                        truncate_encodings(first, Some(second), &truncation)?;
                    // The parts cut off would get special tokens too.
                    first.take_overflowing();
                    if let Some(second) = &mut second {
                        second.take_overflowing();
                    }
                    self.tokenizer.post_process(first, second, true)
                })?;
                ids.push(both.get_ids().to_vec());
                types.push(both.get_type_ids().to_vec());
            }
        }
        Ok(Sequences {
            ids,
            types: Some(types),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{TempDir, error_line};
    use crate::tokenizer::TextTokenizer;

    #[test]
    fn a_pair_has_two_types_and_loses_the_longer_text_first() {
        let dir = TempDir::new();
        dir.write(
            "vocab.txt",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n!\n",
        );
        let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
        let texts = ["hello world", "hello", ""].map(str::to_owned);
        let pairs = ["world !", "world world world world", "!"].map(str::to_owned);
        let encode = |length| tokenizer.encode_sequences(&texts, Some(&pairs), length);
        let whole = encode(64).unwrap();
        assert_eq!(whole.ids[0], [2, 5, 6, 3, 6, 7, 3]);
        assert_eq!(whole.types.as_ref().unwrap()[0], [0, 0, 0, 0, 1, 1, 1]);
        assert_eq!(whole.ids[2], [2, 3, 7, 3]);
        let cut = encode(6).unwrap();
        assert_eq!(cut.ids[0], [2, 5, 3, 6, 7, 3]);
        assert_eq!(cut.ids[1], [2, 5, 3, 6, 6, 3]);
        assert!(error_line(encode(2)).contains("max_seq_length of 2"));
        assert!(
            error_line(tokenizer.encode_sequences(&texts, Some(&pairs[..1]), 8))
                .contains("3 texts and 1")
        );
        assert_eq!(
            tokenizer.encode_sequences(&texts, None, 8).unwrap().types,
            None
        );
    }
}
