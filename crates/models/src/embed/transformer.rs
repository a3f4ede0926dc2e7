//! `sentence_bert_config.json`: how `sentence-transformers` wants the encoder to be fed.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};

use crate::config::{Keys, read_json};

/// The names under which `sentence-transformers` looks for the file, in its order.
const NAMES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Keys that change nothing here: how attention is computed, what runs in one batch, the lengths of queries and
/// documents, which only `encode_query` and `encode_document` ask for.
const HARMLESS: [&str; 4] = [
    "unpad_inputs",
    "query_length",
    "document_length",
    "query_expansion",
];
/// The same in the arguments of the model.
const HARMLESS_MODEL: [&str; 7] = [
    "attn_implementation",
    "low_cpu_mem_usage",
    "device_map",
    "use_safetensors",
    "trust_remote_code",
    "dtype",
    "torch_dtype",
];

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TransformerSettings {
    /// Tokens of a text at most.
    pub max_seq_length: Option<usize>,
    /// Whether texts become lower-case before they are tokenized.
    pub do_lower_case: bool,
    /// Keys of `tokenizer_config.json` that are others here.
    pub tokenizer: Map<String, Value>,
    /// Keys of `config.json` that are others here.
    pub config: Map<String, Value>,
}

impl TransformerSettings {
    /// Reads the file of the folder `dir`; without one, nothing is set. A key that this crate cannot obey is an error
    /// that names it.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        for name in NAMES {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            let json = read_json(&path)?;
            let object = json.as_object();
            let object =
                object.with_context(|| format!("{}: expected a JSON object", path.display()))?;
            // An empty file of settings counts as none.
            if !object.is_empty() {
                return Self::parse(object)
                    .map_err(|error| anyhow!("{}: {error:#}", path.display()));
            }
        }
        Ok(Self::default())
    }

    fn parse(object: &Map<String, Value>) -> Result<Self> {
        let keys = Keys(object);
        let mut settings = Self {
            do_lower_case: keys.flag("do_lower_case")?,
            ..Self::default()
        };
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "max_seq_length" => settings.max_seq_length = Some(length(key, value)?),
                "do_lower_case" => {}
                "transformer_task" => ensure!(
                    value == "feature-extraction",
                    "transformer_task is {value}; only \"feature-extraction\" is supported"
                ),
                "module_output_name" => ensure!(
                    value == "token_embeddings",
                    "module_output_name is {value}; only \"token_embeddings\" is supported"
                ),
                "modality_config" => {
                    let text =
                        json!({"method": "forward", "method_output_name": "last_hidden_state"});
                    ensure!(
                        value.get("text") == Some(&text),
                        "modality_config is {value}; texts must go through `forward` to `last_hidden_state`"
                    );
                }
                "processing_kwargs" => settings.processing(value)?,
                "model_args" | "model_kwargs" => refuse_but(key, value, &HARMLESS_MODEL)?,
                "tokenizer_args" | "processor_kwargs" => {
                    settings.tokenizer = tokenizer_keys(key, value)?;
                }
                "config_args" | "config_kwargs" => {
                    settings.config = object_of(key, value)?.clone();
                    settings.config.remove("trust_remote_code");
                }
                _ if HARMLESS.contains(&key.as_str()) => {}
                _ => bail!(
                    "{key} is {value}, which is not supported; remove the key if it may be ignored"
                ),
            }
        }
        // What the tokenizer is told in so many words comes before max_seq_length.
        if let Some(stated) = settings.tokenizer.get("model_max_length") {
            settings.max_seq_length = Some(length("model_max_length", stated)?);
        }
        Ok(settings)
    }

    /// `processing_kwargs`: arguments of every call of the tokenizer.
    fn processing(&mut self, value: &Value) -> Result<()> {
        for (kind, arguments) in object_of("processing_kwargs", value)? {
            // Texts only are embedded here.
            if ["audio", "image", "video", "chat_template"].contains(&kind.as_str()) {
                continue;
            }
            for (key, value) in object_of(kind, arguments)? {
                match (key.as_str(), value) {
                    ("max_length", _) => self.max_seq_length = Some(length(key, value)?),
                    ("truncation", Value::Bool(true)) | ("padding" | "pad_to_multiple_of", _) => {}
                    ("truncation", Value::String(how)) if how == "longest_first" => {}
                    _ => bail!("processing_kwargs.{kind}.{key} is {value}, which is not supported"),
                }
            }
        }
        Ok(())
    }
}

fn object_of<'a>(key: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value
        .as_object()
        .with_context(|| format!("{key} is {value}; it must be an object"))
}

fn length(key: &str, value: &Value) -> Result<usize> {
    let length = value
        .as_u64()
        .and_then(|length| usize::try_from(length).ok());
    length
        .filter(|length| *length > 0)
        .with_context(|| format!("{key} is {value}; it must be a whole number above 0"))
}

fn refuse_but(key: &str, value: &Value, harmless: &[&str]) -> Result<()> {
    for (name, value) in object_of(key, value)? {
        ensure!(
            harmless.contains(&name.as_str()) || value.is_null(),
            "{key}.{name} is {value}, which is not supported"
        );
    }
    Ok(())
}

/// The arguments of the tokenizer that `tokenizer_config.json` knows as well.
fn tokenizer_keys(key: &str, value: &Value) -> Result<Map<String, Value>> {
    const OBEYED: [&str; 5] = [
        "model_max_length",
        "do_lower_case",
        "strip_accents",
        "tokenize_chinese_chars",
        "truncation_side",
    ];
    const HARMLESS: [&str; 3] = [
        "use_fast",
        "trust_remote_code",
        "clean_up_tokenization_spaces",
    ];
    let mut keys = object_of(key, value)?.clone();
    for (name, value) in &keys {
        let right = name == "padding_side" && value == "right";
        ensure!(
            right || OBEYED.contains(&name.as_str()) || HARMLESS.contains(&name.as_str()),
            "{key}.{name} is {value}, which is not supported"
        );
    }
    keys.retain(|name, _| OBEYED.contains(&name.as_str()));
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, error_line};

    #[test]
    fn reads_every_name_of_the_file_in_order() {
        let dir = TempDir::new();
        let read = || TransformerSettings::read(dir.path());
        assert_eq!(read().unwrap(), TransformerSettings::default());
        for name in NAMES.iter().rev() {
            dir.write(
                name,
                json!({"max_seq_length": name.len(), "do_lower_case": true}).to_string(),
            );
            let settings = read().unwrap();
            assert_eq!(settings.max_seq_length, Some(name.len()), "{name}");
            assert!(settings.do_lower_case);
        }
        // Empty settings are none.
        dir.write(NAMES[0], "{}");
        assert_eq!(read().unwrap().max_seq_length, Some(NAMES[1].len()));
        dir.write(NAMES[0], "[]");
        assert!(error_line(read()).contains("expected a JSON object"));
    }

    fn parse(json: Value) -> Result<TransformerSettings> {
        TransformerSettings::parse(json.as_object().unwrap())
    }

    #[test]
    fn obeys_old_and_new_keys() {
        let new = json!({
            "transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "processing_kwargs": {"text": {"max_length": 12, "truncation": true}},
            "unpad_inputs": false, "query_length": 32, "max_seq_length": null
        });
        assert_eq!(parse(new).unwrap().max_seq_length, Some(12));
        let old = json!({
            "max_seq_length": 99, "do_lower_case": false, "model_args": {"attn_implementation": "eager"},
            "tokenizer_args": {"model_max_length": 7, "do_lower_case": true, "use_fast": true},
            "config_args": {"num_hidden_layers": 1}
        });
        let settings = parse(old).unwrap();
        assert_eq!(settings.max_seq_length, Some(7));
        assert_eq!(settings.config["num_hidden_layers"], 1);
        assert_eq!(settings.tokenizer["do_lower_case"], true);
        assert_eq!(settings.tokenizer.get("use_fast"), None);
    }

    #[test]
    fn what_is_not_obeyed_is_refused_by_name() {
        for (json, said) in [
            (json!({"transformer_task": "fill-mask"}), "transformer_task"),
            (
                json!({"module_output_name": "sentence_embedding"}),
                "module_output_name",
            ),
            (
                json!({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}),
                "pooler_output",
            ),
            (
                json!({"model_kwargs": {"revision": "x"}}),
                "model_kwargs.revision",
            ),
            (
                json!({"tokenizer_args": {"padding_side": "left"}}),
                "padding_side",
            ),
            (
                json!({"processing_kwargs": {"text": {"stride": 3}}}),
                "text.stride",
            ),
            (
                json!({"tokenizer_name_or_path": "x"}),
                "tokenizer_name_or_path",
            ),
            (json!({"max_seq_length": -1}), "max_seq_length is -1"),
            (json!({"do_lower_case": "yes"}), "do_lower_case is \"yes\""),
            (json!({"some_new_key": 1}), "some_new_key"),
        ] {
            let line = error_line(parse(json.clone()));
            assert!(line.contains(said), "{json}: {line}");
        }
    }
}
