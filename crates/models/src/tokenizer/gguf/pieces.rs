//! SentencePiece's BPE (Kudo and Richardson, arXiv:1808.06226), `tokenizer.ggml.model` "llama": pieces with
//! scores, single bytes for characters that no piece has, `▁` for spaces.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer};

use super::{BYTE, NORMAL, UNKNOWN, USER_DEFINED, of_type, token_types};
use crate::io::gguf::Metadata;
use crate::tokenizer::one_line;

/// A space, as pieces hold it.
const SPACE: &str = "▁";
/// The most bytes of a piece: the longest known has 93. Every place in a piece is a possible merge.
const MAX_PIECE: usize = 512;

/// Builds the tokenizer without its whole tokens.
pub(super) fn build(metadata: &Metadata, tokens: &[String]) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.scores";
    let scores = Metadata::need(key, metadata.floats(key))?;
    ensure!(
        scores.len() == tokens.len(),
        "`{key}` has {} entries for {} tokens",
        scores.len(),
        tokens.len()
    );
    let key = "tokenizer.ggml.token_type";
    let types = token_types(metadata, tokens)?;
    let types = types.with_context(|| format!("the metadata has no `{key}`"))?;
    let unknown = of_type(tokens, types, UNKNOWN).next();
    // Characters without a piece would be lost in silence.
    ensure!(
        of_type(tokens, types, BYTE).count() >= 256 || unknown.is_some(),
        "`{key}` marks neither 256 tokens for bytes nor one for what is unknown"
    );

    let vocab: Vocab = (0u32..)
        .zip(tokens)
        .map(|(id, token)| (token.clone(), id))
        .collect();
    let merges = merges(tokens, scores, types)?;
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown.clone());
    }
    let bpe = bpe
        .build()
        .map_err(|error| anyhow!("`tokenizer.ggml.tokens`: {}", one_line(&error.to_string())))?;

    let prefix = metadata.bool("tokenizer.ggml.add_space_prefix")?;
    let prefix = prefix.unwrap_or(true);
    let replace = |from: &str, to: &str| Replace::new(from, to).map_err(|error| anyhow!("{error}"));
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        replace(SPACE, " ")?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        normalizers.push(Prepend::new(SPACE.to_owned()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(replace(" ", SPACE)?.into());
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .map_err(|error| anyhow!("{error}"))?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// Every pair of pieces that makes a piece, the highest score first. Of pairs with one score those with the
/// longer first part come first, as in the converter of `transformers`, so that a saved `tokenizer.json` is its.
fn merges(tokens: &[String], scores: &[f64], types: &[i64]) -> Result<Merges> {
    let id_of: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| matches!(types[*id], NORMAL | USER_DEFINED))
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut found = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        if !id_of.contains_key(token.as_str()) {
            continue;
        }
        ensure!(
            token.len() <= MAX_PIECE,
            "`tokenizer.ggml.tokens` holds a token of {} bytes; {MAX_PIECE} at most are allowed",
            token.len()
        );
        for (characters, (place, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(place);
            if let (Some(l), Some(r)) = (id_of.get(left), id_of.get(right)) {
                found.push((*score, characters, *l, *r));
            }
        }
    }
    found.sort_by(|a, b| {
        let by_score = b.0.total_cmp(&a.0);
        by_score.then(Reverse(a.1).cmp(&Reverse(b.1)))
    });
    let pair = |(_, _, l, r): (f64, usize, usize, usize)| (tokens[l].clone(), tokens[r].clone());
    Ok(found.into_iter().map(pair).collect())
}
