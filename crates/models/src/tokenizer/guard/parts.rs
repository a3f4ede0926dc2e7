//! The parts of a `tokenizer.json` that the `tokenizers` crate takes on trust.

use std::borrow::Cow;
use std::fmt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::charsmap;

/// Normalizers, pre-tokenizers, processors and decoders, those inside of sequences counted.
const COMPONENTS: usize = 256;
/// Sequences inside of sequences.
const DEPTH: usize = 16;
/// Every pattern is compiled, to ten megabytes at most.
const PATTERNS: usize = 64;
/// How many times as long a text may become, as a bound: each ByteLevel doubles it, for example.
const GROWTH: usize = 1 << 16;
/// Special tokens that a template adds to a text, and copies of the text that it makes.
const TEMPLATE: (usize, usize) = (1024, 16);
/// The crate goes through all numbers up to the largest id when it writes a file.
const LARGEST_ID: u64 = (1 << 24) - 1;

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(default, borrow)]
    continuing_subword_prefix: Option<Cow<'a, str>>,
    #[serde(default)]
    vocab: LargestId,
    #[serde(default)]
    merges: Merges,
}

/// Refuses a `tokenizer.json` that the crate would not survive. Returns the text to load instead where the file
/// holds a normalizer without a map, which stands for none and which the crate does not read.
pub(super) fn check(text: &str) -> Result<Option<String>> {
    let parts: Parts =
        serde_json::from_str(text).map_err(|e| anyhow!("not a tokenizer.json: {e}"))?;
    let model = &parts.model;
    ensure!(
        model.vocab.0 <= LARGEST_ID,
        "model.vocab has an id of {}; ids above {LARGEST_ID} are not supported",
        model.vocab.0
    );
    if let Some(prefix) = model
        .continuing_subword_prefix
        .as_deref()
        .filter(|p| !p.is_empty())
    {
        let second = |merge: &String| {
            let second = merge
                .split_once(' ')
                .map_or(merge.as_str(), |(_, second)| second);
            !second.starts_with(prefix)
        };
        if let Some(merge) = model.merges.0.iter().find(|merge| second(merge)) {
            bail!(
                "model.merges has {merge:?}, whose second part lacks the continuing_subword_prefix {prefix:?}"
            );
        }
    }
    let mut all = Components::default();
    all.check(&parts.normalizer, 0)
        .and_then(|()| all.check(&parts.pre_tokenizer, 0))?;
    let of_text = std::mem::replace(&mut all.growth, 1);
    all.check(&parts.decoder, 0)?;
    let growth = of_text.max(all.growth);
    ensure!(
        growth <= GROWTH,
        "its normalizers and pre-tokenizers, or its decoders, may make a text more than {GROWTH} times as long"
    );
    all.check(&parts.post_processor, 0)?;
    if !all.has_absent_map {
        return Ok(None);
    }
    let mut whole: Value = serde_json::from_str(text)?;
    if let Some(normalizer) = whole.get_mut("normalizer") {
        drop_absent_maps(normalizer);
    }
    Ok(Some(whole.to_string()))
}

/// What the components checked so far add up to.
struct Components {
    count: usize,
    patterns: usize,
    growth: usize,
    has_absent_map: bool,
}

impl Default for Components {
    fn default() -> Self {
        Self {
            count: 0,
            patterns: 0,
            growth: 1,
            has_absent_map: false,
        }
    }
}

impl Components {
    fn check(&mut self, part: &Value, depth: usize) -> Result<()> {
        let Value::Object(fields) = part else {
            return Ok(());
        };
        self.count += 1;
        ensure!(
            self.count <= COMPONENTS && depth <= DEPTH,
            "it has more than {COMPONENTS} normalizers, pre-tokenizers, processors and decoders, or sequences in more than {DEPTH} sequences"
        );
        for list in ["normalizers", "pretokenizers", "processors", "decoders"] {
            for inner in fields
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.check(inner, depth + 1)?;
            }
        }
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("");
        if kind == "FixedLength" || (kind.is_empty() && fields.contains_key("length")) {
            ensure!(
                part.get("length").and_then(Value::as_u64) != Some(0),
                "FixedLength has a length of 0; give 1 or more"
            );
        }
        if kind == "Precompiled" || fields.contains_key("precompiled_charsmap") {
            self.check_map(part)?;
        }
        if fields.contains_key("single") || fields.contains_key("pair") {
            check_template(part)?;
        }
        self.grow(part, kind)
    }

    fn check_map(&mut self, part: &Value) -> Result<()> {
        if is_absent_map(part) {
            self.has_absent_map = true;
            return Ok(());
        }
        let map = part.get("precompiled_charsmap").and_then(Value::as_str);
        let longest = map.context("missing").and_then(charsmap::check);
        let longest = longest.map_err(|e| anyhow!("precompiled_charsmap is damaged: {e:#}"))?;
        self.growth = self.growth.saturating_mul(longest.max(1));
        Ok(())
    }

    /// Counts patterns, and how much longer a text may become.
    fn grow(&mut self, part: &Value, kind: &str) -> Result<()> {
        let content = part
            .get("content")
            .and_then(Value::as_str)
            .map_or(0, str::len);
        let mut times = match kind {
            "ByteLevel" | "CTC" => 2,
            "NFD" | "NFC" | "NFKD" | "NFKC" | "BertNormalizer" => 3,
            "Metaspace" => 4,
            _ => 1,
        };
        if let Some(prepend) = part.get("prepend").and_then(Value::as_str) {
            ensure!(
                !prepend.is_empty(),
                "Prepend has an empty text to prepend; remove it"
            );
            times = prepend.len() + 1;
        }
        if let Some(pattern) = part.get("pattern") {
            self.patterns += 1;
            ensure!(
                self.patterns <= PATTERNS,
                "it has more than {PATTERNS} patterns"
            );
            let plain = pattern
                .get("String")
                .and_then(Value::as_str)
                .map_or(0, str::len);
            // A pattern may match nothing, before each byte.
            times = match plain {
                0 => content + 1,
                plain => content.div_ceil(plain).max(1),
            };
        }
        self.growth = self.growth.saturating_mul(times);
        Ok(())
    }
}

/// A template may name the sequences and special tokens that it has, and no others.
fn check_template(part: &Value) -> Result<()> {
    for (name, sequences) in [("single", &["A"][..]), ("pair", &["A", "B"][..])] {
        let pieces = part.get(name).and_then(Value::as_array);
        let (mut added, mut copies) = (0, 0);
        for piece in pieces.into_iter().flatten() {
            let id = |kind: &str| {
                piece
                    .get(kind)
                    .and_then(|p| p.get("id"))
                    .and_then(Value::as_str)
            };
            if let Some(sequence) = id("Sequence") {
                ensure!(
                    sequences.contains(&sequence),
                    "the post_processor's template `{name}` names the sequence {sequence:?}; it can name {}",
                    sequences.join(" and ")
                );
                copies += 1;
            }
            if let Some(token) = id("SpecialToken") {
                let known = part.get("special_tokens").and_then(|all| all.get(token));
                let known = known.with_context(|| {
                    format!("the post_processor's template `{name}` names {token:?}, which its special_tokens lack")
                })?;
                let len = |key: &str| known.get(key).and_then(Value::as_array).map_or(0, Vec::len);
                ensure!(
                    len("ids") == len("tokens"),
                    "the post_processor's special token {token:?} has {} ids and {} tokens",
                    len("ids"),
                    len("tokens")
                );
                added += len("ids");
            }
        }
        ensure!(
            added <= TEMPLATE.0 && copies <= TEMPLATE.1,
            "the post_processor's template `{name}` adds {added} tokens to {copies} copies of a text; {} and {} are possible",
            TEMPLATE.0,
            TEMPLATE.1
        );
    }
    Ok(())
}

/// Published files hold `"precompiled_charsmap": null`: SentencePiece's identity, which has no map.
fn is_absent_map(part: &Value) -> bool {
    match part.get("precompiled_charsmap") {
        Some(Value::Null) => true,
        Some(Value::String(map)) => map.is_empty(),
        _ => false,
    }
}

fn drop_absent_maps(part: &mut Value) {
    if is_absent_map(part) {
        *part = Value::Null;
    }
    if let Some(Value::Array(inner)) = part.get_mut("normalizers") {
        inner.iter_mut().for_each(drop_absent_maps);
        inner.retain(|part| !part.is_null());
    }
}

/// The largest id of a vocabulary that is a map; 0 for one that is a list.
#[derive(Default)]
struct LargestId(u64);

impl<'de> Deserialize<'de> for LargestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Largest;
        impl<'de> Visitor<'de> for Largest {
            type Value = LargestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tokens with their ids, or a list of tokens with their scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LargestId, A::Error> {
                let mut largest = 0;
                while let Some((_, id)) = map.next_entry::<IgnoredAny, u64>()? {
                    largest = largest.max(id);
                }
                Ok(LargestId(largest))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LargestId, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(LargestId(0))
            }
        }
        deserializer.deserialize_any(Largest)
    }
}

/// Merges as `first second`, whether the file has one text or two for each.
#[derive(Default, Deserialize)]
#[serde(from = "Vec<Merge>")]
struct Merges(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair([String; 2]),
}

impl From<Vec<Merge>> for Merges {
    fn from(merges: Vec<Merge>) -> Self {
        let text = |merge| match merge {
            Merge::Text(text) => text,
            Merge::Pair([first, second]) => format!("{first} {second}"),
        };
        Self(merges.into_iter().map(text).collect())
    }
}
