//! The settings of a Llama model, from `config.json` or from a GGUF file's metadata.

use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use wgrad_nn::Activation;
use wgrad_tensor::rope_frequencies;

use super::rope::{self, RopeScaling};
use crate::config::{Keys, read_json};
use crate::io::gguf::{GgufFile, Metadata};

/// The most of anything but the vocabulary: products of two of them fit 64 bits.
const MAX: usize = 1 << 20;
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_LAYERS: usize = 512;
/// Bounds the whole model, so that no setting from a file asks for absurd memory.
const MAX_PARAMETERS: usize = 1 << 40;

/// The settings of a Llama model (Touvron et al., arXiv:2302.13971), under the names of
/// `transformers.LlamaConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside of the feed-forward part.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Heads of the queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Channels of a head; even.
    pub head_dim: usize,
    /// The most tokens of a text.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// The base of the rotary positions.
    pub rope_theta: f64,
    /// How they are stretched for long texts.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the last product uses the token embedding.
    pub tie_word_embeddings: bool,
    /// Whether the four projections of attention have a bias.
    pub attention_bias: bool,
    /// Whether the three products of the feed-forward part have a bias.
    pub mlp_bias: bool,
    /// Standard deviation of the normal distribution that new weights are drawn from.
    pub initializer_range: f64,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_id: Vec<u32>,
    /// The `config.json` that was read; null where there was none.
    raw: Value,
}

impl LlamaConfig {
    /// The settings of SmolLM2-135M.
    pub fn smollm2_135m() -> Self {
        Self {
            vocab_size: 49_152,
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            head_dim: 64,
            max_position_embeddings: 8192,
            rms_norm_eps: 1e-5,
            rope_theta: 100_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
            attention_bias: false,
            mlp_bias: false,
            initializer_range: 0.02,
            bos_token_id: Some(1),
            eos_token_id: vec![2],
            raw: Value::Null,
        }
    }

    /// Reads a `config.json`. Errors name the file, the key, what was found and what is expected.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let raw = read_json(path)?;
        Self::from_json(raw).map_err(|error| anyhow!("{}: {error:#}", path.display()))
    }

    /// Reads the settings from parsed JSON. Keys that are absent or null take the defaults of
    /// `transformers.LlamaConfig`.
    pub fn from_json(raw: Value) -> Result<Self> {
        let Some(object) = raw.as_object() else {
            bail!("expected a JSON object with the model's settings");
        };
        let keys = Keys(object);
        let model_type = keys.string("model_type")?.unwrap_or("llama");
        ensure!(
            model_type == "llama",
            "model_type is {model_type:?}; only \"llama\" is supported"
        );
        let activation = keys.string("hidden_act")?.unwrap_or("silu");
        ensure!(
            Activation::from_name(activation).is_ok_and(|found| found == Activation::Silu),
            "hidden_act is {activation:?}; only \"silu\" is supported"
        );
        let heads = keys.size(&["num_attention_heads"], 32, MAX)?;
        let (rope_theta, rope_scaling) = rope::from_object(object, MAX_VOCABULARY)?;
        let hidden_size = keys.size(&["hidden_size"], 4096, MAX)?;
        let config = Self {
            vocab_size: keys.size(&["vocab_size"], 32_000, MAX_VOCABULARY)?,
            hidden_size,
            intermediate_size: keys.size(&["intermediate_size"], 11_008, MAX)?,
            num_hidden_layers: keys.size(&["num_hidden_layers"], 32, MAX_LAYERS)?,
            num_attention_heads: heads,
            num_key_value_heads: keys.size(&["num_key_value_heads"], heads, MAX)?,
            head_dim: keys.size(&["head_dim"], (hidden_size / heads).max(1), MAX)?,
            max_position_embeddings: keys.size(
                &["max_position_embeddings"],
                2048,
                MAX_VOCABULARY,
            )?,
            rms_norm_eps: keys.number("rms_norm_eps", 1e-6, 0.0, 1.0)?,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: keys.flag("tie_word_embeddings")?,
            attention_bias: keys.flag("attention_bias")?,
            mlp_bias: keys.flag("mlp_bias")?,
            initializer_range: keys.number("initializer_range", 0.02, 0.0, 1e3)?,
            bos_token_id: token_ids(object, "bos_token_id")?.first().copied(),
            eos_token_id: token_ids(object, "eos_token_id")?,
            raw,
        };
        config.check()?;
        Ok(config)
    }

    /// Reads the settings from a GGUF file of the architecture `llama`. Errors name the file and the key.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        Self::from_metadata(file).map_err(|error| anyhow!("{}: {error:#}", file.path().display()))
    }

    fn from_metadata(file: &GgufFile) -> Result<Self> {
        let metadata = file.metadata();
        let key = "general.architecture";
        let architecture = Metadata::need(key, metadata.text(key))?;
        ensure!(
            architecture == "llama",
            "`{key}` is \"{architecture}\"; only \"llama\" is supported"
        );
        let size = |key: &str, default: Option<usize>, most: usize| -> Result<usize> {
            let key = format!("llama.{key}");
            let found = match (metadata.size(&key)?, default) {
                (Some(size), _) => size,
                (None, Some(default)) => default,
                (None, None) => bail!("the metadata has no `{key}`"),
            };
            ensure!(
                (1..=most).contains(&found),
                "`{key}` is {found}; it must be a whole number from 1 to {most}"
            );
            Ok(found)
        };
        for key in ["llama.expert_count", "llama.attention.sliding_window"] {
            let found = metadata.size(key)?.unwrap_or(0);
            ensure!(
                found == 0,
                "`{key}` is {found}; such models are not supported"
            );
        }
        let number = |key: &str, default: f64| -> Result<f64> {
            Ok(metadata.float(&format!("llama.{key}"))?.unwrap_or(default))
        };
        let id = |role: &str| -> Result<Option<u32>> {
            let key = format!("tokenizer.ggml.{role}_token_id");
            Ok(metadata.size(&key)?.map(u32::try_from).transpose()?)
        };
        // Where an answer ends with another token than a text, the file names both.
        let mut end: Vec<u32> = id("eos")?.into_iter().chain(id("eot")?).collect();
        end.dedup();
        let table = file.tensor("token_embd.weight").map(|info| &info.shape);
        let rows = table.and_then(|shape| shape.first().copied());
        let hidden_size = size("embedding_length", None, MAX)?;
        let heads = size("attention.head_count", None, MAX)?;
        let head_dim = size(
            "attention.key_length",
            Some((hidden_size / heads).max(1)),
            MAX,
        )?;
        let turned = size("rope.dimension_count", Some(head_dim), MAX)?;
        ensure!(
            turned == head_dim,
            "`llama.rope.dimension_count` is {turned}, a head has {head_dim} channels; only whole heads are supported"
        );
        let rope_theta = number("rope.freq_base", 10_000.0)?;
        let config = Self {
            // The rows of the table count: some files name the size without padding.
            vocab_size: match rows {
                Some(rows) if (1..=MAX_VOCABULARY).contains(&rows) => rows,
                _ => size("vocab_size", rows, MAX_VOCABULARY)?,
            },
            hidden_size,
            intermediate_size: size("feed_forward_length", None, MAX)?,
            num_hidden_layers: size("block_count", None, MAX_LAYERS)?,
            num_attention_heads: heads,
            num_key_value_heads: size("attention.head_count_kv", Some(heads), MAX)?,
            head_dim,
            max_position_embeddings: size("context_length", None, MAX_VOCABULARY)?,
            // The file holds an f32; its shortest decimal form is what the model was made with.
            rms_norm_eps: number("attention.layer_norm_rms_epsilon", 1e-5)
                .map(|eps| (eps as f32).to_string().parse().unwrap_or(eps))?,
            rope_theta,
            rope_scaling: scaling_of(file, &rope_frequencies(head_dim, rope_theta))?,
            tie_word_embeddings: file.tensor("output.weight").is_none(),
            attention_bias: file.tensor("blk.0.attn_q.bias").is_some(),
            mlp_bias: file.tensor("blk.0.ffn_up.bias").is_some(),
            initializer_range: 0.02,
            bos_token_id: id("bos")?,
            eos_token_id: end,
            raw: Value::Null,
        };
        config.check()?;
        Ok(config)
    }

    /// The angles at position 1 by which rotary positions turn the pairs of channels.
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let frequencies = rope_frequencies(self.head_dim, self.rope_theta);
        match &self.rope_scaling {
            Some(scaling) => scaling.apply(&frequencies),
            None => frequencies,
        }
    }

    fn check(&self) -> Result<()> {
        let (heads, groups) = (self.num_attention_heads, self.num_key_value_heads);
        ensure!(
            groups <= heads && heads.is_multiple_of(groups),
            "num_key_value_heads is {groups}; it must divide num_attention_heads, which is {heads}"
        );
        ensure!(
            self.head_dim.is_multiple_of(2),
            "head_dim is {}; rotary positions need an even number of channels",
            self.head_dim
        );
        ensure!(
            self.rope_theta.is_finite() && self.rope_theta > 0.0,
            "rope_theta is {}; it must be positive",
            self.rope_theta
        );
        ensure!(
            (0.0..=1.0).contains(&self.rms_norm_eps),
            "rms_norm_eps is {}; it must lie between 0 and 1",
            self.rms_norm_eps
        );
        // u128: no product of sizes within their bounds overflows.
        let [v, c, f, l] = [
            self.vocab_size,
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
        ]
        .map(|size| size as u128);
        let attention = 2 * (heads + groups) as u128 * self.head_dim as u128 * c;
        let parameters = 2 * v * c + l * (attention + 3 * c * f);
        ensure!(
            parameters <= MAX_PARAMETERS as u128,
            "the settings describe a model of {parameters} parameters; {MAX_PARAMETERS} at most are supported"
        );
        Ok(())
    }

    /// The `config.json` of this model as `transformers` writes it, for weights in f32. Keys that were read
    /// and are not known here stay as they were.
    pub fn to_json(&self) -> Value {
        let mut object: Map<String, Value> = self.raw.as_object().cloned().unwrap_or_default();
        let ids = |ids: &[u32]| match ids {
            [] => Value::Null,
            [one] => json!(one),
            many => json!(many),
        };
        for (key, value) in [
            ("architectures", json!(["LlamaForCausalLM"])),
            ("model_type", json!("llama")),
            ("hidden_act", json!("silu")),
            ("vocab_size", json!(self.vocab_size)),
            ("hidden_size", json!(self.hidden_size)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("num_hidden_layers", json!(self.num_hidden_layers)),
            ("num_attention_heads", json!(self.num_attention_heads)),
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("head_dim", json!(self.head_dim)),
            (
                "max_position_embeddings",
                json!(self.max_position_embeddings),
            ),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
            ("rope_theta", json!(self.rope_theta)),
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("attention_bias", json!(self.attention_bias)),
            ("mlp_bias", json!(self.mlp_bias)),
            ("initializer_range", json!(self.initializer_range)),
            (
                "bos_token_id",
                self.bos_token_id.map_or(Value::Null, |id| json!(id)),
            ),
            ("eos_token_id", ids(&self.eos_token_id)),
            ("torch_dtype", json!("float32")),
        ] {
            object.insert(key.to_owned(), value);
        }
        let given = ["rope_parameters", "rope_scaling"].map(|key| object.get(key));
        if let (Some(scaling), true) = (&self.rope_scaling, given.iter().all(Option::is_none)) {
            object.insert("rope_scaling".into(), scaling.to_json());
        }
        if object.contains_key("dtype") {
            object.insert("dtype".into(), json!("float32"));
        }
        Value::Object(object)
    }
}

/// How a GGUF file stretches rotary positions that turn by these angles at position 1.
fn scaling_of(file: &GgufFile, frequencies: &[f64]) -> Result<Option<RopeScaling>> {
    const DIVISORS: &str = "rope_freqs.weight";
    let key = "llama.rope.scaling.type";
    let factor = || -> Result<f64> {
        let key = "llama.rope.scaling.factor";
        let factor = Metadata::need(key, file.metadata().float(key))?;
        ensure!(factor > 0.0, "`{key}` is {factor}; it must be positive");
        Ok(factor)
    };
    let scaling = match file.metadata().text(key)? {
        None | Some("none") => None,
        Some("linear") => Some(RopeScaling::Linear { factor: factor()? }),
        Some(other) => bail!(
            "`{key}` is \"{other}\"; such rotary positions are not supported yet, \"linear\" ones are"
        ),
    };
    let Some(info) = file.tensor(DIVISORS) else {
        return Ok(scaling);
    };
    // Before anything of that size is read.
    ensure!(
        info.shape == [frequencies.len()] && scaling.is_none(),
        "`{DIVISORS}` has the shape {:?}, a head has {} pairs of channels; or `{key}` is set too",
        info.shape,
        frequencies.len()
    );
    RopeScaling::from_divisors(file.to_f32(DIVISORS)?, frequencies)
}

/// One token id, a list of them, or none.
pub(crate) fn token_ids(object: &Map<String, Value>, key: &str) -> Result<Vec<u32>> {
    let ids = match object.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.as_slice(),
        Some(id) => std::slice::from_ref(id),
    };
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    ids.iter()
        .map(|found| id(found).ok_or_else(|| anyhow!("{key} is {found}; it must be a token id")))
        .collect()
}

#[cfg(test)]
mod tests;
