//! The tokenizer that a GGUF file's metadata describes: byte-level BPE, as `tokenizer.ggml.model` "gpt2", or
//! SentencePiece's, as "llama".

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::{SpecialToken, TemplateProcessing};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::one_line;
use crate::io::gguf::Metadata;

mod pieces;

/// `tokenizer.ggml.token_type` of a plain token.
const NORMAL: i64 = 1;
/// That of the token for characters that no other has.
const UNKNOWN: i64 = 2;
/// That of a token which has a meaning, such as `<|im_start|>`.
const CONTROL: i64 = 3;
/// That of a token which is matched whole in a text but has no meaning.
const USER_DEFINED: i64 = 4;
/// That of a token for a single byte.
const BYTE: i64 = 6;

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// How a text is cut into words before merges apply, by `tokenizer.ggml.pre`.
enum Words {
    /// GPT-2's expression.
    Gpt2,
    /// The same after every digit is set apart.
    DigitsThenGpt2,
    /// This expression.
    Pattern(&'static str),
}

impl Words {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "default" | "gpt-2" | "gpt2" => Words::Gpt2,
            "smollm" => Words::DigitsThenGpt2,
            "llama3" | "llama-v3" | "llama-bpe" => Words::Pattern(LLAMA3),
            "qwen2" | "deepseek-r1-qwen" => Words::Pattern(QWEN2),
            other => bail!(
                "`tokenizer.ggml.pre` is \"{other}\"; known are default, gpt-2, smollm, llama-bpe and qwen2"
            ),
        })
    }

    fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper> {
        let gpt2 = ByteLevel::new(false, true, true);
        let parts: Vec<PreTokenizerWrapper> = match self {
            Words::Gpt2 => return Ok(gpt2.into()),
            Words::DigitsThenGpt2 => vec![Digits::new(true).into(), gpt2.into()],
            Words::Pattern(pattern) => {
                let pattern = SplitPattern::Regex((*pattern).to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
                let split = split.map_err(|error| anyhow!("{error}"))?;
                vec![split.into(), ByteLevel::new(false, true, false).into()]
            }
        };
        Ok(Sequence::new(parts).into())
    }
}

/// Builds the tokenizer. Errors: a key is missing or has another type, the kind of tokenizer is not known,
/// a merge names a token that is not in the vocabulary, an id lies beyond the vocabulary.
pub(super) fn build(metadata: &Metadata) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.model";
    let model = Metadata::need(key, metadata.text(key))?;
    let tokens_key = "tokenizer.ggml.tokens";
    let tokens = Metadata::need(tokens_key, metadata.texts(tokens_key))?;
    let mut tokenizer;
    let begins;
    match model {
        "gpt2" => {
            let pre = metadata.text("tokenizer.ggml.pre")?.unwrap_or("default");
            let words = Words::from_name(pre)?;
            begins = matches!(words, Words::Pattern(LLAMA3));
            tokenizer = byte_level(metadata, tokens, &words)?;
        }
        "llama" => {
            begins = true;
            tokenizer = pieces::build(metadata, tokens)?;
        }
        other => bail!(
            "`{key}` is \"{other}\"; only \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece's BPE) can be \
             read; a transformers folder of the model has a tokenizer.json, which can"
        ),
    }
    add_whole_tokens(&mut tokenizer, metadata, tokens)?;
    add_begin_and_end(&mut tokenizer, metadata, tokens, begins)?;
    Ok(tokenizer)
}

/// Byte-level BPE without its whole tokens.
fn byte_level(metadata: &Metadata, tokens: &[String], words: &Words) -> Result<Tokenizer> {
    let key = "tokenizer.ggml.merges";
    let merges = Metadata::need(key, metadata.texts(key))?;
    let vocab: Vocab = (0u32..)
        .zip(tokens)
        .map(|(id, token)| (token.clone(), id))
        .collect();
    let merges: Merges = merges
        .iter()
        .map(|merge| {
            let (left, right) = merge
                .split_once(' ')
                .with_context(|| format!("`{key}` holds {merge:?}, which is no pair of tokens"))?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect::<Result<_>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        // Llama 3 takes a word that is in the vocabulary as it is.
        .ignore_merges(matches!(words, Words::Pattern(LLAMA3)))
        .build()
        .map_err(|error| anyhow!("`{key}`: {}", one_line(&error.to_string())))?;

    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(words.pre_tokenizer()?));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    if matches!(words, Words::Pattern(QWEN2)) {
        tokenizer
            .with_normalizer(Some(NFC))
            .map_err(|error| anyhow!("{error}"))?;
    }
    Ok(tokenizer)
}

/// What kind of token each is, where the file says it.
fn token_types<'a>(metadata: &'a Metadata, tokens: &[String]) -> Result<Option<&'a [i64]>> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = metadata.integers(key)? else {
        return Ok(None);
    };
    ensure!(
        types.len() == tokens.len(),
        "`{key}` has {} entries for {} tokens",
        types.len(),
        tokens.len()
    );
    Ok(Some(types))
}

/// The tokens of one type of `tokenizer.ggml.token_type`.
fn of_type<'a>(
    tokens: &'a [String],
    types: &'a [i64],
    token_type: i64,
) -> impl Iterator<Item = &'a String> {
    let marked = tokens.iter().zip(types);
    marked.filter_map(move |(token, found)| (*found == token_type).then_some(token))
}

/// Tokens that stay whole where they stand in a text.
fn add_whole_tokens(
    tokenizer: &mut Tokenizer,
    metadata: &Metadata,
    tokens: &[String],
) -> Result<()> {
    let Some(types) = token_types(metadata, tokens)? else {
        return Ok(());
    };
    let added = |token_type: i64| -> Vec<AddedToken> {
        of_type(tokens, types, token_type)
            .filter(|token| !token.is_empty())
            .map(|token| {
                AddedToken::from(token.clone(), token_type != USER_DEFINED).normalized(false)
            })
            .collect()
    };
    tokenizer
        .add_special_tokens(added(CONTROL))
        .and_then(|_| tokenizer.add_special_tokens(added(UNKNOWN)))
        .and_then(|_| tokenizer.add_tokens(added(USER_DEFINED)))
        .map_err(|error| anyhow!("`tokenizer.ggml.token_type`: {error}"))?;
    Ok(())
}

/// The tokens that `add_bos_token` and `add_eos_token` put around every text; `begins` where the first is not set.
fn add_begin_and_end(
    tokenizer: &mut Tokenizer,
    metadata: &Metadata,
    tokens: &[String],
    begins: bool,
) -> Result<()> {
    let token = |role: &str, by_default: bool| -> Result<Option<(String, u32)>> {
        let add = metadata.bool(&format!("tokenizer.ggml.add_{role}_token"))?;
        let key = format!("tokenizer.ggml.{role}_token_id");
        let (true, Some(id)) = (add.unwrap_or(by_default), metadata.size(&key)?) else {
            return Ok(None);
        };
        let token = tokens.get(id).with_context(|| {
            format!(
                "`{key}` is {id}, the vocabulary has {} tokens",
                tokens.len()
            )
        })?;
        Ok(Some((token.clone(), u32::try_from(id)?)))
    };
    let (begin, end) = (token("bos", begins)?, token("eos", false)?);
    if begin.is_none() && end.is_none() {
        return Ok(());
    }
    let mut template = Vec::new();
    let mut special = Vec::new();
    // A template is a text of names, so the tokens get names without spaces.
    for (name, token) in [("BEGIN", begin), ("$A", None), ("END", end)] {
        if let Some((content, id)) = token {
            let token = SpecialToken::new(name.to_owned(), vec![id], vec![content]);
            special.push(token.map_err(|error| anyhow!("{error}"))?);
        } else if name != "$A" {
            continue;
        }
        template.push(name);
    }
    let processor = TemplateProcessing::builder()
        .try_single(template.join(" "))
        .map_err(|error| anyhow!("{error}"))?
        .special_tokens(special)
        .build()?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

#[cfg(test)]
mod tests;
