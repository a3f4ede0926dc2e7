//! A causal language model with its tokenizer, from one file or folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wgrad_tensor::Device;
use wgrad_train::fs::write_atomic;

use super::{CausalLM, Sampler, generate};
use crate::config::read_json;
use crate::folder::copy_tokenizer_files;
use crate::io::gguf::GgufFile;
use crate::io::safetensors::{SafeWriter, Weights};
use crate::io::{is_folder, no_config};
use crate::llama::{LlamaConfig, LlamaForCausalLM, RopeScaling, token_ids};
use crate::tokenizer::TextTokenizer;

/// A model that continues texts.
pub struct LanguageModel {
    model: LlamaForCausalLM,
    tokenizer: TextTokenizer,
    /// Tokens that end a text.
    end: Vec<u32>,
    path: PathBuf,
}

/// What a generation gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The new tokens; the last one may be one that ends a text.
    pub tokens: Vec<u32>,
    /// Their text, without special tokens.
    pub text: String,
}

impl LanguageModel {
    /// Loads a GGUF file, or a folder as `transformers` saves it, onto `device`; weights become f32.
    ///
    /// Errors are one line: the file or a part of the folder is missing or damaged, the architecture is not
    /// supported, a tensor is missing or has another shape than the settings say.
    pub fn load(device: &Device, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let model = match is_folder(path)? {
            true => Self::from_folder(device, path)?,
            false => Self::from_gguf(device, path)?,
        };
        let config = model.model.config();
        ensure!(
            model.tokenizer.vocab_size() <= config.vocab_size,
            "{}: the tokenizer has {} tokens, the model only {} rows for them; are both of the same model?",
            path.display(),
            model.tokenizer.vocab_size(),
            config.vocab_size
        );
        Ok(model)
    }

    fn from_gguf(device: &Device, path: &Path) -> Result<Self> {
        let file = GgufFile::open(path)?;
        // First, so that a model of another architecture is refused for that and not for its tokenizer.
        LlamaConfig::from_gguf(&file)?;
        let tokenizer = TextTokenizer::from_gguf(file.metadata())
            .with_context(|| path.display().to_string())?;
        let model = LlamaForCausalLM::from_gguf(device, &file)?;
        Ok(Self {
            end: model.config().eos_token_id.clone(),
            model,
            tokenizer,
            path: path.to_owned(),
        })
    }

    fn from_folder(device: &Device, dir: &Path) -> Result<Self> {
        let config = dir.join("config.json");
        ensure!(config.exists(), "{}", no_config(dir));
        let config = LlamaConfig::from_file(config)?;
        let tokenizer = TextTokenizer::from_dir(dir)?;
        let weights = Weights::open(dir)?;
        // transformers takes what ends a text from here where it is said here.
        let settings = dir.join("generation_config.json");
        let mut end = config.eos_token_id.clone();
        if settings.exists() {
            let json = read_json(&settings)?;
            let found = json.as_object().map(|keys| token_ids(keys, "eos_token_id"));
            let found = found.unwrap_or(Ok(Vec::new()));
            let found = found.with_context(|| settings.display().to_string())?;
            if !found.is_empty() {
                end = found;
            }
        }
        Ok(Self {
            model: LlamaForCausalLM::from_weights(device, &config, &weights)
                .with_context(|| dir.display().to_string())?,
            tokenizer,
            end,
            path: dir.to_owned(),
        })
    }

    /// The model.
    pub fn model(&self) -> &LlamaForCausalLM {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Tokens that end a text.
    pub fn end(&self) -> &[u32] {
        &self.end
    }

    /// A user's message as a model expects it that was trained on ChatML turns, such as SmolLM2 and Qwen; its
    /// answer follows. `system` is what the model is told before.
    ///
    /// Errors: the tokenizer has no ChatML tokens.
    pub fn chat_prompt(&self, system: Option<&str>, message: &str) -> Result<String> {
        for token in ["<|im_start|>", "<|im_end|>"] {
            ensure!(
                self.tokenizer.token_to_id(token).is_some(),
                "{}: the tokenizer has no {token}, so the model does not chat in ChatML turns; write the prompt \
                 in its own form",
                self.path.display()
            );
        }
        let turn = |role: &str, text: &str| format!("<|im_start|>{role}\n{text}<|im_end|>\n");
        let system = system.map(|text| turn("system", text)).unwrap_or_default();
        let message = turn("user", message);
        Ok(format!("{system}{message}<|im_start|>assistant\n"))
    }

    /// Continues `prompt` by at most `max_new_tokens` tokens. `on_text` gets the text of each token as it comes;
    /// it is empty where the token completes no character, or has no text.
    pub fn generate(
        &self,
        prompt: &str,
        max_new_tokens: usize,
        sampler: &mut Sampler,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Generated> {
        let mut ids = self.tokenizer.encode(prompt)?;
        if let (true, Some(begin)) = (ids.is_empty(), self.model.config().bos_token_id) {
            ids.push(begin);
        }
        let mut stream = self.tokenizer.stream(true);
        let mut text = String::new();
        let mut give = |part: &str| -> Result<()> {
            text += part;
            on_text(part)
        };
        let mut on_token = |id: u32| {
            give(&stream.push(id)?)?;
            Ok(true)
        };
        let model: &dyn CausalLM = &self.model;
        let tokens = generate(
            model,
            &ids,
            max_new_tokens,
            sampler,
            &self.end,
            &mut on_token,
        )?;
        let rest = stream.finish()?;
        if !rest.is_empty() {
            give(&rest)?;
        }
        Ok(Generated {
            prompt: ids,
            tokens,
            text,
        })
    }

    /// Refuses a model whose settings a folder cannot hold, so that a training fails before its first step.
    pub(crate) fn check_saving(&self) -> Result<()> {
        ensure!(
            !matches!(
                self.model.config().rope_scaling,
                Some(RopeScaling::Divisors(_))
            ),
            "{}: its `rope_freqs.weight` follows no rule that config.json can hold, so it cannot be saved as a folder",
            self.path.display()
        );
        Ok(())
    }

    /// Saves the model as a folder that `transformers` loads: settings, weights in f32, tokenizer.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        self.check_saving()?;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let json = |name: &str, value: &Value| -> Result<()> {
            write_atomic(dir.join(name), &serde_json::to_vec_pretty(value)?)
        };
        json("config.json", &self.model.config().to_json())?;
        match self.path.is_dir() {
            true => {
                copy_tokenizer_files(&self.path, dir)?;
                // It says what ends a text, where it is there.
                let settings = self.path.join("generation_config.json");
                if settings.exists() {
                    json("generation_config.json", &read_json(&settings)?)?;
                }
            }
            false => {
                self.tokenizer.save(dir.join("tokenizer.json"))?;
                let token = |ids: &[u32]| match ids.first() {
                    Some(id) => self.tokenizer.decode(&[*id], false).map(Value::String),
                    None => Ok(Value::Null),
                };
                let config = self.model.config();
                let begin: Vec<u32> = config.bos_token_id.into_iter().collect();
                json(
                    "tokenizer_config.json",
                    &json!({
                        "tokenizer_class": "PreTrainedTokenizerFast",
                        "clean_up_tokenization_spaces": false,
                        "model_max_length": config.max_position_embeddings,
                        "bos_token": token(&begin)?,
                        "eos_token": token(&self.end)?,
                    }),
                )?;
            }
        }
        save_weights(&self.model, &dir.join("model.safetensors"))
    }
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("path", &self.path)
            .field("config", self.model.config())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Writes the parameters under their names, one at a time.
pub(crate) fn save_weights(model: &dyn CausalLM, path: &Path) -> Result<()> {
    let state = model.state_dict();
    let layout: Vec<(&str, &[usize])> = state
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape()))
        .collect();
    let mut writer = SafeWriter::create(path, &layout, &[])?;
    for (name, tensor) in &state {
        let values = tensor.detach().to_vec::<f32>()?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "`{name}` holds {} at {at}; a model that diverged is not saved",
                values[at]
            );
        }
        writer.push(&values)?;
    }
    Ok(writer.finish()?)
}
