//! A model folder as `transformers` or `sentence-transformers` saves it.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::config::{BertConfig, read_json};
use crate::io::safetensors::Weights;
use crate::tokenizer::TextTokenizer;

/// The files that together make a tokenizer, in whichever form the folder has it.
const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "added_tokens.json",
    "chat_template.jinja",
];

/// How the hidden states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, padding left out.
    Mean,
    /// That of the first token.
    Cls,
    /// Their maximum in each component, padding left out.
    Max,
}

/// What the folder says about sentence embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingSettings {
    /// How the tokens' vectors become one.
    pub pooling: Pooling,
    /// Whether that vector is divided by its Euclidean length.
    pub normalize: bool,
}

/// An opened model folder: settings parsed, the weights' headers checked.
#[derive(Debug)]
pub struct ModelFolder {
    /// Where it is.
    pub dir: PathBuf,
    /// Its `config.json`.
    pub config: BertConfig,
    /// Its weights, read when asked for.
    pub weights: Weights,
    /// `max_seq_length` of `sentence_bert_config.json`, where there is one.
    pub max_seq_length: Option<usize>,
}

impl ModelFolder {
    /// Opens the folder. Errors are one line: the folder or its `config.json` is missing or
    /// wrong, there are no weights, a weights file is damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let about = std::fs::metadata(dir)
            .map_err(|error| anyhow!("cannot open the model folder {}: {error}", dir.display()))?;
        ensure!(
            about.is_dir(),
            "{} is a file; expected a model folder with config.json",
            dir.display()
        );
        let config = dir.join("config.json");
        ensure!(
            config.exists(),
            "{} has no config.json: expected a model folder as transformers saves it",
            dir.display()
        );
        Ok(Self {
            dir: dir.to_owned(),
            config: BertConfig::from_file(config)?,
            weights: Weights::open(dir)?,
            max_seq_length: max_seq_length(dir)?,
        })
    }

    /// Loads the folder's tokenizer.
    pub fn tokenizer(&self) -> Result<TextTokenizer> {
        TextTokenizer::from_dir(&self.dir)
    }

    /// The number of tokens to cut texts to when nobody says otherwise: `max_seq_length`, else
    /// `model_max_length` of `tokenizer_config.json`, and never more than the model has positions.
    pub fn max_length(&self) -> Result<usize> {
        let path = self.dir.join("tokenizer_config.json");
        let positions = self.config.max_tokens();
        let stated = match self.max_seq_length {
            Some(length) => Some(length as f64),
            None if path.exists() => read_json(&path)?["model_max_length"].as_f64(),
            None => None,
        };
        // Without a limit the file says 1e30, which `as` brings to the largest usize.
        Ok(match stated {
            Some(length) if length >= 1.0 => positions.min(length as usize),
            _ => positions,
        })
    }

    /// How the folder's `modules.json` makes sentence embeddings; mean pooling and
    /// normalisation where there is none.
    ///
    /// Errors: `modules.json` is wrong, or lists a module or a pooling that this crate has not,
    /// so that embeddings would differ from what the model's author meant.
    pub fn embedding(&self) -> Result<EmbeddingSettings> {
        let path = self.dir.join("modules.json");
        if !path.exists() {
            return Ok(EmbeddingSettings {
                pooling: Pooling::Mean,
                normalize: true,
            });
        }
        let json = read_json(&path)?;
        modules(&self.dir, &json).map_err(|error| anyhow!("{}: {error:#}", path.display()))
    }
}

/// Copies the tokenizer's files from one model folder to another and returns the names of those
/// that were there. Each appears under its name only when it is complete.
pub fn copy_tokenizer_files(src: impl AsRef<Path>, dst: impl AsRef<Path>) -> Result<Vec<String>> {
    let (src, dst) = (src.as_ref(), dst.as_ref());
    let mut copied = Vec::new();
    for name in TOKENIZER_FILES {
        let (from, to) = (src.join(name), dst.join(name));
        if !from.exists() {
            continue;
        }
        copied.push(name.to_owned());
        // Onto itself, copying would empty the file.
        if to.exists() && from.canonicalize()? == to.canonicalize()? {
            continue;
        }
        let temporary = dst.join(format!("{name}.tmp"));
        let moved = std::fs::copy(&from, &temporary).and_then(|_| std::fs::rename(&temporary, &to));
        moved.map_err(|error| {
            // Best effort: the error is on its way to the caller already.
            let _ = std::fs::remove_file(&temporary);
            anyhow!(
                "cannot copy {} to {}: {error}",
                from.display(),
                to.display()
            )
        })?;
    }
    Ok(copied)
}

fn max_seq_length(dir: &Path) -> Result<Option<usize>> {
    let path = dir.join("sentence_bert_config.json");
    if !path.exists() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    match &json["max_seq_length"] {
        Value::Null => Ok(None),
        value => match value
            .as_u64()
            .and_then(|length| usize::try_from(length).ok())
        {
            Some(length) if length > 0 => Ok(Some(length)),
            _ => bail!(
                "{}: max_seq_length is {value}; it must be a whole number above 0",
                path.display()
            ),
        },
    }
}

fn modules(dir: &Path, json: &Value) -> Result<EmbeddingSettings> {
    let list = json.as_array().context("expected a list of modules")?;
    let mut pooling = None;
    let mut normalize = false;
    for module in list {
        let kind = module["type"].as_str().context("a module has no type")?;
        match kind.rsplit('.').next() {
            Some("Transformer") => {}
            Some("Pooling") => {
                let place = Path::new(module["path"].as_str().unwrap_or_default());
                ensure!(
                    place
                        .components()
                        .all(|part| matches!(part, Component::Normal(_))),
                    "path {} leaves the model folder",
                    place.display()
                );
                let path = dir.join(place).join("config.json");
                let config = read_json(&path)?;
                let found = pooling_of(&config);
                let found = found.with_context(|| {
                    format!(
                        "{} asks for a pooling other than mean, cls or max",
                        path.display()
                    )
                })?;
                ensure!(
                    pooling.replace(found).is_none(),
                    "there are two Pooling modules"
                );
            }
            Some("Normalize") => normalize = true,
            _ => {
                bail!("module {kind:?} is not supported; known are Transformer, Pooling, Normalize")
            }
        }
    }
    Ok(EmbeddingSettings {
        pooling: pooling.context("there is no Pooling module")?,
        normalize,
    })
}

/// The one pooling mode that is on; `None` for another mode, several, or none.
fn pooling_of(config: &Value) -> Option<Pooling> {
    let on: Vec<&str> = match config["pooling_mode"].as_str() {
        Some(mode) => vec![mode],
        None => config
            .as_object()?
            .iter()
            .filter(|(_, value)| value.as_bool() == Some(true))
            .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
            .collect(),
    };
    match on.as_slice() {
        ["mean_tokens" | "mean"] => Some(Pooling::Mean),
        ["cls_token" | "cls"] => Some(Pooling::Cls),
        ["max_tokens" | "max"] => Some(Pooling::Max),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{TempDir, error_line};

    fn folder() -> TempDir {
        let dir = TempDir::new();
        dir.write(
            "config.json",
            r#"{"model_type": "bert", "max_position_embeddings": 128}"#,
        );
        let tensors = [("embeddings.LayerNorm.bias".to_owned(), vec![1], vec![0.5])];
        crate::io::safetensors::write(dir.path().join("model.safetensors"), &tensors, &[]).unwrap();
        dir
    }

    fn modules_json(dir: &TempDir, kinds: &[&str]) {
        let module = |kind: &&str| {
            let path = if *kind == "Pooling" { "1_Pooling" } else { "" };
            json!({"type": format!("sentence_transformers.models.{kind}"), "path": path})
        };
        let list: Vec<Value> = kinds.iter().map(module).collect();
        dir.write("modules.json", Value::Array(list).to_string());
    }

    #[test]
    fn opens_a_folder() {
        let dir = folder();
        let model = ModelFolder::open(dir.path()).unwrap();
        assert_eq!(model.config.max_position_embeddings, 128);
        assert_eq!(model.weights.names().count(), 1);
        let embedding = model.embedding().unwrap();
        assert_eq!(
            (embedding.pooling, embedding.normalize),
            (Pooling::Mean, true)
        );
        assert!(error_line(model.tokenizer()).contains("tokenizer.json"));
    }

    #[test]
    fn one_line_for_each_thing_that_is_missing() {
        let dir = TempDir::new();
        let refused = |path: &Path| error_line(ModelFolder::open(path));
        assert!(refused(&dir.path().join("none")).contains("cannot open the model folder"));
        let file = dir.write("file", "");
        assert!(refused(&file).contains("is a file"));
        assert!(refused(dir.path()).contains("has no config.json"));
        dir.write("config.json", "{");
        assert!(refused(dir.path()).contains("config.json is not valid JSON"));
        dir.write("config.json", r#"{"model_type": "bert"}"#);
        assert!(refused(dir.path()).contains("no weights"));
        dir.write("model.safetensors", "abc");
        assert!(refused(dir.path()).contains("model.safetensors: is 3 bytes"));
        let dir = folder();
        dir.write("sentence_bert_config.json", r#"{"max_seq_length": -1}"#);
        assert!(refused(dir.path()).contains("max_seq_length is -1"));
    }

    #[test]
    fn max_length_is_the_smallest_limit() {
        let dir = folder();
        let length = || ModelFolder::open(dir.path()).unwrap().max_length().unwrap();
        assert_eq!(length(), 128);
        let endless = r#"{"model_max_length": 1000000000000000019884624838656}"#;
        dir.write("tokenizer_config.json", endless);
        assert_eq!(length(), 128);
        dir.write("tokenizer_config.json", r#"{"model_max_length": 100}"#);
        assert_eq!(length(), 100);
        dir.write("sentence_bert_config.json", r#"{"max_seq_length": 64}"#);
        assert_eq!(length(), 64);
        dir.write("sentence_bert_config.json", r#"{"max_seq_length": 4096}"#);
        assert_eq!(length(), 128);
    }

    #[test]
    fn reads_the_sentence_modules() {
        let dir = folder();
        let embedding = || ModelFolder::open(dir.path()).unwrap().embedding();
        let pooling = |config: Value| dir.write("1_Pooling/config.json", config.to_string());
        modules_json(&dir, &["Transformer", "Pooling", "Normalize"]);
        for (mode, expected) in [
            ("mean_tokens", Pooling::Mean),
            ("cls_token", Pooling::Cls),
            ("max_tokens", Pooling::Max),
        ] {
            let key = format!("pooling_mode_{mode}");
            pooling(
                json!({"word_embedding_dimension": 384, "pooling_mode_lasttoken": false, key: true}),
            );
            assert_eq!(
                embedding().unwrap(),
                EmbeddingSettings {
                    pooling: expected,
                    normalize: true
                }
            );
        }
        modules_json(&dir, &["Transformer", "Pooling"]);
        pooling(json!({"pooling_mode": "cls"}));
        let cls = EmbeddingSettings {
            pooling: Pooling::Cls,
            normalize: false,
        };
        assert_eq!(embedding().unwrap(), cls);

        pooling(json!({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}));
        assert!(error_line(embedding()).contains("other than mean"));
        pooling(json!({"pooling_mode_lasttoken": true}));
        assert!(error_line(embedding()).contains("other than mean"));
        modules_json(&dir, &["Transformer"]);
        assert!(error_line(embedding()).contains("no Pooling"));
        modules_json(&dir, &["Transformer", "Pooling", "Dense"]);
        pooling(json!({"pooling_mode": "cls"}));
        assert!(error_line(embedding()).contains("Dense"));
        let out = r#"[{"type": "Pooling", "path": "../secret"}]"#;
        dir.write("modules.json", out);
        assert!(error_line(embedding()).contains("leaves the model folder"));
    }

    #[test]
    fn copies_the_tokenizer() {
        let (src, dst) = (TempDir::new(), TempDir::new());
        src.write("tokenizer.json", "{}");
        src.write("vocab.txt", "a\nb\n");
        src.write("model.safetensors", "not copied");
        dst.write("vocab.txt", "old");
        let copied = copy_tokenizer_files(src.path(), dst.path()).unwrap();
        assert_eq!(copied, ["tokenizer.json", "vocab.txt"]);
        assert_eq!(
            std::fs::read(dst.path().join("vocab.txt")).unwrap(),
            b"a\nb\n"
        );
        assert_eq!(std::fs::read_dir(dst.path()).unwrap().count(), 2);
        copy_tokenizer_files(dst.path(), dst.path()).unwrap();
        assert_eq!(
            std::fs::read(dst.path().join("vocab.txt")).unwrap(),
            b"a\nb\n"
        );
        let nowhere = dst.path().join("none");
        assert!(error_line(copy_tokenizer_files(src.path(), nowhere)).contains("cannot copy"));
    }
}
