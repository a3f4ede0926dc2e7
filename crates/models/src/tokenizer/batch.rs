//! Rows of token ids, filled up to one rectangle.

use anyhow::{Context, Result, ensure};

/// Token ids of several texts, filled up on the right to one length. The three matrices are
/// row-major, (batch, seq_len).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaddedBatch {
    /// Token ids, `pad_token_id` where there is none.
    pub input_ids: Vec<u32>,
    /// 1 for a token, 0 for padding.
    pub attention_mask: Vec<u32>,
    /// 0 for a token of the first text and for padding, 1 for a token of the second text of a pair.
    pub token_type_ids: Vec<u32>,
    /// Rows.
    pub batch: usize,
    /// Columns; at least 1.
    pub seq_len: usize,
    /// Tokens that are not padding, over all rows.
    pub tokens: usize,
}

impl PaddedBatch {
    /// With the token types of pairs, a row for each row of tokens.
    ///
    /// # Errors
    /// Other numbers of rows or tokens.
    pub fn with_token_types(mut self, types: &[Vec<u32>]) -> Result<Self> {
        ensure!(
            types.len() == self.batch && types.iter().map(Vec::len).sum::<usize>() == self.tokens,
            "token types: {} rows for {} rows of tokens; give one type for each token",
            types.len(),
            self.batch
        );
        for (row, types) in self.token_type_ids.chunks_mut(self.seq_len).zip(types) {
            let len = types.len().min(row.len());
            row[..len].copy_from_slice(&types[..len]);
        }
        Ok(self)
    }
}

/// Fills up the rows to the longest one's length, rounded up to a multiple of `pad_to_multiple_of`
/// (1 for none) but not beyond `max_length`.
///
/// Errors: no rows, a multiple of 0, a row longer than `max_length`.
pub fn pad_batch(
    rows: &[Vec<u32>],
    pad_token_id: u32,
    pad_to_multiple_of: usize,
    max_length: usize,
) -> Result<PaddedBatch> {
    let longest = rows.iter().map(Vec::len).max();
    let longest = longest.context("pad_batch: there are no rows")?.max(1);
    ensure!(
        longest <= max_length,
        "pad_batch: a row has {longest} tokens, max_length is {max_length}"
    );
    let seq_len = longest
        .checked_next_multiple_of(pad_to_multiple_of)
        .with_context(|| format!("pad_batch: cannot pad to a multiple of {pad_to_multiple_of}"))?
        .min(max_length);
    let size = rows
        .len()
        .checked_mul(seq_len)
        .with_context(|| format!("pad_batch: {} rows of {seq_len} overflow", rows.len()))?;
    let mut input_ids = Vec::with_capacity(size);
    let mut attention_mask = Vec::with_capacity(size);
    for (row, end) in rows.iter().zip((1..).map(|row| row * seq_len)) {
        input_ids.extend_from_slice(row);
        attention_mask.resize(input_ids.len(), 1);
        input_ids.resize(end, pad_token_id);
        attention_mask.resize(end, 0);
    }
    Ok(PaddedBatch {
        input_ids,
        attention_mask,
        token_type_ids: vec![0; size],
        batch: rows.len(),
        seq_len,
        tokens: rows.iter().map(Vec::len).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::error_line;

    #[test]
    fn pads_to_the_longest_row() {
        let rows = [vec![5, 6, 7], vec![8]];
        let batch = pad_batch(&rows, 9, 1, 64).unwrap();
        assert_eq!(batch.input_ids, [5, 6, 7, 8, 9, 9]);
        assert_eq!(batch.attention_mask, [1, 1, 1, 1, 0, 0]);
        assert_eq!(batch.token_type_ids, [0; 6]);
        assert_eq!((batch.batch, batch.seq_len, batch.tokens), (2, 3, 4));
        assert_eq!(pad_batch(&rows, 0, 8, 64).unwrap().seq_len, 8);
        assert_eq!(pad_batch(&rows, 0, 8, 6).unwrap().seq_len, 6);
        assert_eq!(pad_batch(&rows, 0, 3, 3).unwrap().seq_len, 3);
        let empty = pad_batch(&[vec![]], 9, 1, 4).unwrap();
        assert_eq!((empty.input_ids, empty.tokens), (vec![9], 0));
        assert!(error_line(pad_batch(&rows, 0, 1, 2)).contains("3 tokens"));
        assert!(error_line(pad_batch(&rows, 0, 0, 8)).contains("multiple of 0"));
        assert!(error_line(pad_batch(&[], 0, 1, 8)).contains("no rows"));
    }
}
