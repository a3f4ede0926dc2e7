//! A model folder as `transformers` or `sentence-transformers` saves it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value};
use wgrad_train::fs::write_atomic;

use crate::config::{BertConfig, read_json};
use crate::io::check_link;
use crate::io::safetensors::Weights;
use crate::modules_json::{MODULES, encoder_dir};
use crate::tokenizer::TextTokenizer;

pub use crate::pooling::Pooling;

/// The files that together make a tokenizer, in whichever form the folder has it.
const TOKENIZER_FILES: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Files that say of a folder how its model is to be used, beside those that every save writes anew.
const SETTINGS_OF_OTHERS: [&str; 3] = [
    MODULES,
    "config_sentence_transformers.json",
    "adapter_config.json",
];

/// An opened model folder: settings parsed, the weights' headers checked.
#[derive(Debug)]
pub struct ModelFolder {
    /// Where it is.
    pub dir: PathBuf,
    /// Its `config.json`.
    pub config: BertConfig,
    /// Its weights, read when asked for.
    pub weights: Weights,
}

impl ModelFolder {
    /// Opens the folder. In a folder of `sentence-transformers` the model may lie in a folder that `modules.json`
    /// names. Errors are one line: the folder or its `config.json` is missing or
    /// wrong, there are no weights, a weights file is damaged.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        if dir.is_dir()
            && !dir.join("config.json").exists()
            && let Some(encoder) = encoder_dir(dir)?
        {
            return Self::open_with(&encoder, &Map::new());
        }
        Self::open_with(dir, &Map::new())
    }

    /// Opens the folder with other values of some keys of its `config.json`.
    pub(crate) fn open_with(dir: &Path, changes: &Map<String, Value>) -> Result<Self> {
        let about = std::fs::metadata(dir)
            .map_err(|error| anyhow!("cannot open the model folder {}: {error}", dir.display()))?;
        ensure!(
            about.is_dir(),
            "{} is a file; expected a model folder with config.json",
            dir.display()
        );
        let config = dir.join("config.json");
        let adapter = dir.join("adapter_config.json");
        // `transformers` would load the model that it names instead.
        ensure!(
            !adapter.exists(),
            "{}: an adapter is not applied here; merge it into the model in Python (merge_and_unload), or remove the file \
             if it is a leftover",
            adapter.display()
        );
        ensure!(
            config.exists(),
            "{} has no config.json: expected a model folder as transformers saves it",
            dir.display()
        );
        let mut json = read_json(&config)?;
        if let Some(object) = json.as_object_mut() {
            object.extend(changes.clone());
        }
        Ok(Self {
            dir: dir.to_owned(),
            config: BertConfig::from_json(json)
                .map_err(|error| anyhow!("{}: {error:#}", config.display()))?,
            weights: Weights::open(dir)?,
        })
    }

    /// Loads the folder's tokenizer.
    pub fn tokenizer(&self) -> Result<TextTokenizer> {
        TextTokenizer::from_dir(&self.dir)
    }

    /// The number of tokens to cut texts to when nobody says otherwise: `model_max_length` of
    /// `tokenizer_config.json`, and never more than the model has positions.
    pub fn max_length(&self) -> Result<usize> {
        let path = self.dir.join("tokenizer_config.json");
        let positions = self.config.max_tokens();
        let stated = match path.exists() {
            true => read_json(&path)?["model_max_length"].as_f64(),
            false => None,
        };
        // Without a limit the file says 1e30, which `as` brings to the largest usize.
        Ok(match stated {
            Some(length) if length >= 1.0 => positions.min(length as usize),
            _ => positions,
        })
    }
}

/// Files that an earlier model left in `dir` and that would be read with the new one, whose tokenizer lies in `src`:
/// another form of tokenizer, the modules of `sentence-transformers`, an adapter.
pub(crate) fn stale_files(src: &Path, dir: &Path) -> Vec<&'static str> {
    let same = matches!((src.canonicalize(), dir.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same {
        return Vec::new();
    }
    let names = TOKENIZER_FILES
        .into_iter()
        .filter(|name| !src.join(name).exists());
    let names = names.chain(SETTINGS_OF_OTHERS);
    names
        .filter(|name| std::fs::symlink_metadata(dir.join(name)).is_ok())
        .collect()
}

/// Copies the tokenizer's files from one model folder to another and returns the names of those
/// that were there. Each appears under its name only when it is complete. Files of an earlier model that
/// would be read with the new one get `.old` behind their names.
pub fn copy_tokenizer_files(src: impl AsRef<Path>, dst: impl AsRef<Path>) -> Result<Vec<String>> {
    let (src, dst) = (src.as_ref(), dst.as_ref());
    let mut copied = Vec::new();
    for name in stale_files(src, dst) {
        let (from, to) = (dst.join(name), dst.join(format!("{name}.old")));
        std::fs::rename(&from, to).map_err(|error| {
            anyhow!(
                "{}: of an earlier model, and cannot be renamed: {error}",
                from.display()
            )
        })?;
    }
    for name in TOKENIZER_FILES {
        let (from, to) = (src.join(name), dst.join(name));
        if !from.exists() {
            continue;
        }
        check_link(&from)?;
        copied.push(name.to_owned());
        // Onto itself, copying would empty the file.
        if to.exists() && from.canonicalize()? == to.canonicalize()? {
            continue;
        }
        let bytes = std::fs::read(&from);
        let bytes = bytes.map_err(|error| {
            anyhow!(
                "cannot copy {} to {}: {error}",
                from.display(),
                to.display()
            )
        })?;
        write_atomic(&to, &bytes).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(copied)
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

    #[test]
    fn opens_a_folder() {
        let dir = folder();
        let model = ModelFolder::open(dir.path()).unwrap();
        assert_eq!(model.config.max_position_embeddings, 128);
        assert_eq!(model.weights.names().count(), 1);
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
        dir.write("adapter_config.json", "{}");
        assert!(refused(dir.path()).contains("adapter_config.json"));
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
        dir.write("tokenizer_config.json", r#"{"model_max_length": 4096}"#);
        assert_eq!(length(), 128);
    }

    #[test]
    fn the_model_may_lie_where_modules_json_says() {
        let dir = TempDir::new();
        let inner = folder();
        for name in ["config.json", "model.safetensors"] {
            let bytes = std::fs::read(inner.path().join(name)).unwrap();
            dir.write(&format!("0_Transformer/{name}"), bytes);
        }
        let module = |path: &str| {
            let kind = "sentence_transformers.models.Transformer";
            dir.write(
                "modules.json",
                json!([{"type": kind, "path": path}]).to_string(),
            );
            ModelFolder::open(dir.path())
        };
        assert_eq!(
            module("0_Transformer").unwrap().dir,
            dir.path().join("0_Transformer")
        );
        assert!(error_line(module("../elsewhere")).contains("leaves the model folder"));
        assert!(error_line(module("/elsewhere")).contains("leaves the model folder"));
        assert!(error_line(module("")).contains("has no config.json"));
    }

    #[test]
    fn what_an_earlier_model_left_does_not_stay() {
        let (src, dst) = (TempDir::new(), TempDir::new());
        src.write("vocab.txt", "a\nb\n");
        for name in [
            "tokenizer.json",
            "added_tokens.json",
            "modules.json",
            "adapter_config.json",
        ] {
            dst.write(name, name);
        }
        dst.write("notes.txt", "mine");
        assert_eq!(stale_files(dst.path(), dst.path()), Vec::<&str>::new());
        assert_eq!(
            copy_tokenizer_files(src.path(), dst.path()).unwrap(),
            ["vocab.txt"]
        );
        let there = |name: &str| dst.path().join(name).exists();
        assert!(there("vocab.txt") && there("notes.txt"));
        for name in [
            "tokenizer.json",
            "added_tokens.json",
            "modules.json",
            "adapter_config.json",
        ] {
            assert!(!there(name) && there(&format!("{name}.old")), "{name}");
        }
        assert_eq!(stale_files(src.path(), dst.path()), Vec::<&str>::new());
    }

    #[test]
    fn copies_the_tokenizer() {
        let (src, dst) = (TempDir::new(), TempDir::new());
        src.write("tokenizer.json", "{}");
        src.write("vocab.txt", "a\nb\n");
        src.write("model.safetensors", "not copied");
        dst.write("vocab.txt", "old");
        // What is written never goes through a link.
        #[cfg(unix)]
        {
            src.write("merges.txt", "m");
            let victim = src.write("victim", "untouched");
            for link in ["merges.txt", ".merges.txt.tmp"] {
                std::os::unix::fs::symlink(&victim, dst.path().join(link)).unwrap();
            }
            copy_tokenizer_files(src.path(), dst.path()).unwrap();
            assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
            assert!(!dst.path().join("merges.txt").is_symlink());
            std::fs::remove_file(src.path().join("merges.txt")).unwrap();
            std::fs::remove_file(dst.path().join("merges.txt")).unwrap();
        }
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
