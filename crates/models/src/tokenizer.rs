//! Text to token ids, equal to those of Python's `AutoTokenizer`, and batches of them.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::parallelism::MaybeParallelRefIterator;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Encoding, PostProcessor, Tokenizer, TruncationDirection};

use wgrad_train::fs::write_atomic;

use crate::config::read_json;
use crate::io::gguf::{GgufFile, Metadata};
use crate::io::{check_link, is_folder};

mod batch;
mod gguf;
mod guard;
mod lower_case;
mod pairs;
mod stream;

pub use batch::{PaddedBatch, pad_batch};
pub use pairs::Sequences;
pub use stream::TextStream;

use guard::caught;

/// Texts that are encoded at a time: enough for every core, few enough that the intermediate
/// encodings, far larger than the ids, stay small.
const CHUNK: usize = 1024;

/// A model folder's tokenizer.
#[derive(Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    direction: TruncationDirection,
    special_tokens: usize,
}

impl TextTokenizer {
    /// Loads `tokenizer.json`; where there is only `vocab.txt`, builds BERT's WordPiece tokenizer
    /// from it.
    ///
    /// As in `transformers`, the lower-casing, accent and Chinese-character settings of a BERT
    /// tokenizer are those of `tokenizer_config.json`, or that class's defaults, whatever
    /// `tokenizer.json` says, unless the tokenizer class is the generic one. Truncation and padding
    /// stored in `tokenizer.json` are dropped: [`TextTokenizer::encode_batch`] is told its length.
    ///
    /// Errors: no tokenizer in the folder, a file that cannot be read or parsed, a vocabulary
    /// without the special tokens.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        Self::from_dir_with(dir.as_ref(), &Map::new())
    }

    /// The same with other values of some keys of `tokenizer_config.json`.
    pub(crate) fn from_dir_with(dir: &Path, changes: &Map<String, Value>) -> Result<Self> {
        let settings = Settings::read(dir, changes)?;
        let json = dir.join("tokenizer.json");
        let vocab = dir.join("vocab.txt");
        let mut direction = TruncationDirection::Right;
        check_link(&json)?;
        check_link(&vocab)?;
        let mut tokenizer = if json.exists() {
            let bytes =
                std::fs::read(&json).with_context(|| format!("{}: cannot read", json.display()))?;
            let mut tokenizer =
                guard::load(&bytes).map_err(|error| anyhow!("{}: {error:#}", json.display()))?;
            if let Some(truncation) = tokenizer.get_truncation() {
                direction = truncation.direction;
            }
            let found = tokenizer.get_normalizer().cloned();
            if let (Some(NormalizerWrapper::BertNormalizer(found)), false) =
                (found, settings.generic_class)
            {
                let normalizer = settings.normalizer(found.clean_text);
                caught("load", || {
                    tokenizer.with_normalizer(Some(normalizer)).map(|_| ())
                })
                .map_err(|error| anyhow!("{}: {error}", json.display()))?;
            }
            tokenizer
        } else if vocab.exists() {
            word_piece(dir, &settings).map_err(|error| anyhow!("{}: {error:#}", vocab.display()))?
        } else {
            bail!(
                "{} has no tokenizer: expected tokenizer.json (or vocab.txt); in Python, \
                 AutoTokenizer.from_pretrained(...).save_pretrained(folder) writes one",
                dir.display()
            );
        };
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| anyhow!("{}: {error}", dir.display()))?;
        let direction = settings.direction.unwrap_or(direction);
        Ok(Self::new(tokenizer, direction))
    }

    /// Builds the tokenizer that a GGUF file's metadata describes: byte-level BPE, `tokenizer.ggml.model` "gpt2"
    /// with `tokenizer.ggml.pre` "smollm", "llama-bpe", "qwen2" or "gpt-2", or SentencePiece's BPE, "llama". The
    /// ids are those of the `tokenizer.json` of the model that the file was made from, and of llama.cpp.
    ///
    /// Errors name the key of the metadata that is missing, wrong or not supported.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let mut built = None;
        caught("load", || {
            built = Some(gguf::build(metadata));
            Ok(())
        })?;
        let tokenizer = built.context("cannot load")??;
        Ok(Self::new(tokenizer, TruncationDirection::Right))
    }

    /// The tokenizer of a model folder or of a GGUF file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if is_folder(path)? {
            return Self::from_dir(path);
        }
        let file = GgufFile::open(path)?;
        Self::from_gguf(file.metadata()).map_err(|error| anyhow!("{}: {error:#}", path.display()))
    }

    fn new(tokenizer: Tokenizer, direction: TruncationDirection) -> Self {
        let special_tokens = tokenizer
            .get_post_processor()
            .map_or(0, |processor| processor.added_tokens(false));
        Self {
            tokenizer,
            direction,
            special_tokens,
        }
    }

    /// The token ids of a text of any length, special tokens included.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = caught("tokenize", || self.tokenizer.encode_fast(text, true))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of these ids, with or without special tokens such as `<|im_end|>`. Bytes that are not
    /// UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        caught("decode", || self.tokenizer.decode(ids, skip_special_tokens))
    }

    /// Writes the tokenizer as a `tokenizer.json`.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let json = caught("save the tokenizer", || self.tokenizer.to_string(false))?;
        write_atomic(path, json.as_bytes())
    }

    /// Turns ids into text one at a time, as a model gives them.
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream<'_> {
        TextStream::new(&self.tokenizer, skip_special_tokens)
    }

    /// Token ids of each text, special tokens included, without padding. A text that takes more
    /// than `max_length` ids loses tokens at its end (at its start where the folder's
    /// `truncation_side` says so) until it takes exactly that many, special tokens included.
    ///
    /// Texts are encoded in parallel. Errors: `max_length` has no room for the special tokens.
    pub fn encode_batch(&self, texts: &[&str], max_length: usize) -> Result<Vec<Vec<u32>>> {
        let room = max_length
            .checked_sub(self.special_tokens)
            .with_context(|| {
                format!(
                    "a max_seq_length of {max_length} has no room for the tokenizer's {} special tokens",
                    self.special_tokens
                )
            })?;
        let mut rows = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(CHUNK) {
            for mut encoding in self.encode_all(chunk)? {
                let encoding = caught("tokenize", || {
                    encoding.truncate(room, 0, self.direction);
                    // The parts cut off would get special tokens too.
                    encoding.take_overflowing();
                    self.tokenizer.post_process(encoding, None, true)
                })?;
                rows.push(encoding.get_ids().to_vec());
            }
        }
        Ok(rows)
    }

    /// The texts without special tokens, in parallel.
    fn encode_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Encoding>> {
        let encode = |text: &T| {
            let text = text.as_ref();
            caught("tokenize", || self.tokenizer.encode_fast(text, false))
        };
        texts.maybe_par_iter().map(encode).collect()
    }

    /// The number of tokens, added ones included; ids may lie above it where the file leaves gaps.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The id of a token as it stands in the vocabulary, such as `[CLS]`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

/// What `tokenizer_config.json` and `special_tokens_map.json` say.
struct Settings {
    config: Value,
    special: Value,
    do_lower_case: bool,
    tokenize_chinese_chars: bool,
    strip_accents: Option<bool>,
    direction: Option<TruncationDirection>,
    /// A class of `transformers` that takes `tokenizer.json` as it is.
    generic_class: bool,
}

impl Settings {
    fn read(dir: &Path, changes: &Map<String, Value>) -> Result<Self> {
        let read = |name: &str| match dir.join(name) {
            path if path.exists() => read_json(&path),
            _ => Ok(Value::Null),
        };
        let mut config = read("tokenizer_config.json")?;
        if let (Some(config), false) = (config.as_object_mut(), changes.is_empty()) {
            config.extend(changes.clone());
        } else if config.is_null() {
            config = Value::Object(changes.clone());
        }
        let special = read("special_tokens_map.json")?;
        let flag = |key| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(anyhow!(
                "{}: {key} is {other}; it must be true or false",
                dir.join("tokenizer_config.json").display()
            )),
        };
        let text = |key| config.get(key).and_then(Value::as_str);
        Ok(Self {
            do_lower_case: flag("do_lower_case")?.unwrap_or(true),
            tokenize_chinese_chars: flag("tokenize_chinese_chars")?.unwrap_or(true),
            strip_accents: flag("strip_accents")?,
            direction: text("truncation_side").map(|side| match side {
                "left" => TruncationDirection::Left,
                _ => TruncationDirection::Right,
            }),
            generic_class: matches!(
                text("tokenizer_class"),
                Some("PreTrainedTokenizerFast" | "TokenizersBackend")
            ),
            config,
            special,
        })
    }

    fn normalizer(&self, clean_text: bool) -> BertNormalizer {
        BertNormalizer::new(
            clean_text,
            self.tokenize_chinese_chars,
            self.strip_accents,
            self.do_lower_case,
        )
    }

    /// A special token by its role: a string, or an object with its `content`.
    fn special_token(&self, role: &str, default: &str) -> String {
        let stated = [&self.config, &self.special].into_iter().find_map(|file| {
            let token = file.get(role)?;
            token.as_str().or_else(|| token.get("content")?.as_str())
        });
        stated.unwrap_or(default).to_owned()
    }
}

/// BERT's tokenizer from `vocab.txt`, one token a line; its line number, from 0, is its id.
fn word_piece(dir: &Path, settings: &Settings) -> Result<Tokenizer> {
    ensure!(
        !dir.join("added_tokens.json").exists(),
        "added_tokens.json needs a tokenizer.json: save the tokenizer anew in Python"
    );
    let bytes = std::fs::read(dir.join("vocab.txt")).context("cannot read")?;
    let text = String::from_utf8(bytes).context("is not UTF-8")?;
    ensure!(!text.is_empty(), "is empty");
    let vocab: Map<String, Value> = (0..)
        .zip(text.lines())
        .map(|(id, token): (u32, &str)| (token.to_owned(), json!(id)))
        .collect();

    let unknown = settings.special_token("unk_token", "[UNK]");
    // The vocabulary's type is not public, the model's JSON form is (and must be text: it borrows).
    let model = json!({
        "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocab
    });
    let model: WordPiece = serde_json::from_str(&model.to_string())?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |role: &str, default: &str| {
        let token = settings.special_token(role, default);
        let id = tokenizer.token_to_id(&token);
        let id = id.with_context(|| format!("has no token {token:?}, the {role}"))?;
        Ok::<_, anyhow::Error>((token, id))
    };
    let sep = id("sep_token", "[SEP]")?;
    let cls = id("cls_token", "[CLS]")?;
    id("unk_token", "[UNK]")?;
    let pad = settings.special_token("pad_token", "[PAD]");
    let mask = settings.special_token("mask_token", "[MASK]");
    // So that they stay whole where they stand in a text.
    let special = [&unknown, &sep.0, &pad, &cls.0, &mask]
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token.clone(), true))
        .collect::<Vec<_>>();
    tokenizer
        .with_normalizer(Some(settings.normalizer(true)))
        .map_err(|error| anyhow!("{error}"))?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(sep, cls)));
    tokenizer
        .add_special_tokens(special)
        .map_err(|error| anyhow!("{error}"))?;
    Ok(tokenizer)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
