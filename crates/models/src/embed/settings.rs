//! `modules.json` and what it names, and `config_sentence_transformers.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::stages::Stage;
use super::transformer::TransformerSettings;
use crate::config::{Keys, read_json};
use crate::modules_json::{MODULES, TRANSFORMERS, class, module_dir};
use crate::pooling::Pooling;

/// How a folder makes sentence embeddings.
#[derive(Debug)]
pub(super) struct Settings {
    /// The folder of the encoder, which may be one in the model's.
    pub dir: PathBuf,
    pub transformer: TransformerSettings,
    /// The modes, side by side.
    pub pooling: Vec<Pooling>,
    /// Whether the tokens of the prompt are pooled too.
    pub include_prompt: bool,
    /// What follows pooling, in order.
    pub stages: Vec<Stage>,
    pub prompts: BTreeMap<String, String>,
    pub default_prompt_name: Option<String>,
    /// Components of a vector that are kept.
    pub truncate_dim: Option<usize>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

impl Settings {
    /// Reads what `sentence-transformers` reads of a folder. Errors name a module, key or value that this crate does
    /// not obey, since embeddings would differ from what the model's author meant.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(MODULES);
        let mut settings = Self {
            dir: dir.to_owned(),
            transformer: TransformerSettings::default(),
            pooling: vec![Pooling::Mean],
            include_prompt: true,
            stages: vec![Stage::Normalize],
            prompts: ["query", "document"]
                .map(|name| (name.to_owned(), String::new()))
                .into(),
            default_prompt_name: None,
            truncate_dim: None,
            notes: Vec::new(),
        };
        if !path.exists() {
            return Ok(settings);
        }
        settings.read_prompts(dir)?;
        let json = read_json(&path)?;
        settings
            .read_modules(dir, &json)
            .map_err(|error| anyhow!("{}: {error:#}", path.display()))?;
        settings.transformer = TransformerSettings::read(&settings.dir)?;
        Ok(settings)
    }

    fn read_modules(&mut self, dir: &Path, json: &Value) -> Result<()> {
        let list = json.as_array().context("expected a list of modules")?;
        self.stages.clear();
        let mut pooled = false;
        for (at, module) in list.iter().enumerate() {
            let kind = module["type"].as_str().context("a module has no type")?;
            let class = class(kind)?;
            let place = module_dir(dir, module)?;
            ensure!(
                (at == 0) == TRANSFORMERS.contains(&class),
                "module {at} is a {class}; a Transformer must come first, and once"
            );
            if at == 0 {
                self.dir = place;
                continue;
            }
            match class {
                "Pooling" => {
                    ensure!(
                        !pooled && at == 1,
                        "module {at} is a Pooling; it must come second, and once"
                    );
                    pooled = true;
                    let path = place.join("config.json");
                    let json = read_json(&path)?;
                    let read =
                        pooling(&json).map_err(|error| anyhow!("{}: {error:#}", path.display()));
                    (self.pooling, self.include_prompt) = read?;
                }
                _ => {
                    ensure!(
                        pooled,
                        "module {at} is a {class}; a Pooling must come before it"
                    );
                    self.stages
                        .extend(Stage::read(class, &place, &mut self.notes)?);
                }
            }
        }
        ensure!(pooled, "there is no Pooling module");
        Ok(())
    }

    /// `config_sentence_transformers.json`.
    fn read_prompts(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join("config_sentence_transformers.json");
        if !path.exists() {
            return Ok(());
        }
        let json = read_json(&path)?;
        let read = || -> Result<_> {
            let keys = Keys(json.as_object().context("expected a JSON object")?);
            let kind = keys.string("model_type")?.unwrap_or("SentenceTransformer");
            ensure!(
                kind == "SentenceTransformer",
                "model_type is {kind:?}; only SentenceTransformer is supported"
            );
            let mut prompts = Vec::new();
            if let Some(value) = keys.get("prompts") {
                let map = value.as_object();
                for (name, prompt) in
                    map.with_context(|| format!("prompts is {value}; it must be an object"))?
                {
                    let text = match prompt {
                        Value::Null => "",
                        prompt => prompt.as_str().with_context(|| {
                            format!("prompt {name:?} is {prompt}; it must be a string")
                        })?,
                    };
                    prompts.push((name.clone(), text.to_owned()));
                }
            }
            let dim = keys
                .get("truncate_dim")
                .map(|_| keys.size(&["truncate_dim"], 1, 1 << 20));
            Ok((
                prompts,
                keys.string("default_prompt_name")?.map(str::to_owned),
                dim.transpose()?,
            ))
        };
        let (prompts, default, dim) =
            read().map_err(|error| anyhow!("{}: {error:#}", path.display()))?;
        self.prompts.extend(prompts);
        self.default_prompt_name = default;
        self.truncate_dim = dim;
        if let Some(name) = &self.default_prompt_name {
            let prompt = self
                .prompt(name)
                .with_context(|| path.display().to_string())?;
            if !prompt.is_empty() {
                let note = format!("each text begins with the model's prompt {name:?}: {prompt:?}");
                self.notes.push(note);
            }
        }
        Ok(())
    }

    /// The prompt of this name.
    pub(super) fn prompt(&self, name: &str) -> Result<&str> {
        let prompt = self.prompts.get(name).with_context(|| {
            let names: Vec<&String> = self.prompts.keys().collect();
            format!("there is no prompt {name:?}; there are {names:?}")
        })?;
        Ok(prompt)
    }
}

/// The modes of a `Pooling` module, and whether the prompt is pooled.
fn pooling(json: &Value) -> Result<(Vec<Pooling>, bool)> {
    let object = json.as_object().context("expected a JSON object")?;
    let mut modes = None;
    let mut include_prompt = true;
    let mut on = Vec::new();
    let mut flags = false;
    for (key, value) in object {
        let flag = Pooling::NAMES.iter().position(|(_, _, flag)| flag == key);
        match (key.as_str(), flag) {
            (_, Some(at)) => {
                flags = true;
                let set = match value {
                    Value::Null => false,
                    Value::Bool(set) => *set,
                    Value::Number(number) => number.as_f64() != Some(0.0),
                    _ => bail!("{key} is {value}; it must be true or false"),
                };
                on.extend(set.then_some(at));
            }
            ("word_embedding_dimension" | "embedding_dimension", _) => {}
            ("include_prompt", _) => {
                include_prompt = value
                    .as_bool()
                    .with_context(|| format!("{key} is {value}; it must be true or false"))?;
            }
            ("pooling_mode", _) => modes = Some(named_modes(value)?),
            _ => bail!("{key} is {value}, a pooling that is not supported"),
        }
    }
    on.sort_unstable();
    let of_flags: Vec<Pooling> = on.into_iter().map(|at| Pooling::NAMES[at].0).collect();
    Ok((
        match modes {
            Some(modes) => modes,
            None if flags && !of_flags.is_empty() => of_flags,
            None => vec![Pooling::Mean],
        },
        include_prompt,
    ))
}

fn named_modes(value: &Value) -> Result<Vec<Pooling>> {
    let one = std::slice::from_ref(value);
    let list = value.as_array().map_or(one, Vec::as_slice);
    ensure!(!list.is_empty(), "pooling_mode is empty");
    list.iter()
        .map(|name| {
            let known = Pooling::NAMES.iter().find(|(_, known, _)| name == known);
            known.map(|(mode, _, _)| *mode).with_context(|| {
                let names = Pooling::NAMES.map(|(_, name, _)| name);
                format!("pooling_mode is {name}; known are {}", names.join(", "))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
