//! Sentence embeddings as `sentence-transformers` makes them of the same folder.

mod settings;
mod stages;
mod transformer;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use wgrad_nn::{Mode, Module, TensorSource};
use wgrad_tensor::{Device, Tensor, no_grad};

use crate::batches::{EvalBatchSize, in_batches_by_length, token_batch};
use crate::bert::names::is_head;
use crate::bert::{BertModel, CanonicalWeights, few_names};
use crate::folder::ModelFolder;
use crate::pooling::{Pooling, pool};
use crate::tokenizer::{Sequences, TextTokenizer};

use settings::Settings;
use stages::LoadedStage;

/// What a user may ask of embeddings beyond what the folder says, as `SentenceTransformer.encode` has it.
#[derive(Debug, Clone, Default)]
pub struct EmbedOptions {
    /// What each text begins with.
    pub prompt: Option<String>,
    /// The name of the folder's prompt that each text begins with; not used where `prompt` is given.
    pub prompt_name: Option<String>,
    /// Whether vectors are divided by their length, whatever the folder says.
    pub normalize_embeddings: Option<bool>,
}

/// An encoder with its tokenizer, its prompt, its pooling and what follows.
pub struct SentenceEmbedder {
    device: Device,
    encoder: BertModel,
    tokenizer: TextTokenizer,
    max_length: usize,
    prompt: String,
    /// Tokens of the prompt that are not pooled.
    skip: usize,
    pooling: Vec<Pooling>,
    stages: Vec<LoadedStage>,
    truncate_dim: Option<usize>,
    notes: Vec<String>,
}

impl SentenceEmbedder {
    /// Loads the model folder `dir` onto `device`: one of `sentence-transformers`, with `modules.json`, or one of
    /// `transformers`, whose tokens' mean is divided by its length.
    pub fn open(device: &Device, dir: impl AsRef<Path>, options: &EmbedOptions) -> Result<Self> {
        let settings = Settings::read(dir.as_ref())?;
        let transformer = &settings.transformer;
        let folder = ModelFolder::open_with(&settings.dir, &transformer.config)?;
        let mut tokenizer = TextTokenizer::from_dir_with(&folder.dir, &transformer.tokenizer)?;
        if transformer.do_lower_case {
            tokenizer.lower_case();
        }
        let stated = match transformer.max_seq_length {
            Some(length) => length,
            None => folder.max_length()?,
        };
        let mut notes = settings.notes.clone();
        let prompt = match (&options.prompt, &options.prompt_name) {
            (Some(prompt), _) => prompt.clone(),
            (None, Some(name)) => settings.prompt(name)?.to_owned(),
            (None, None) => match &settings.default_prompt_name {
                Some(name) => settings.prompt(name)?.to_owned(),
                None => String::new(),
            },
        };
        let max_length = stated.min(folder.config.max_tokens());
        let skip = match settings.include_prompt || prompt.is_empty() {
            true => 0,
            false => tokenizer.prefix_length(&prompt, max_length)?,
        };
        let located = || folder.dir.display().to_string();
        let source =
            CanonicalWeights::new(&folder.config, &folder.weights).with_context(located)?;
        let encoder =
            BertModel::load(device, &folder.config, &folder.weights).with_context(located)?;
        let mut used: BTreeSet<String> = encoder
            .named_parameters()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        // That a classifier has a head is nothing to tell.
        used.extend(source.names().into_iter().filter(|name| is_head(name)));
        let unused = source.unused(&used);
        if !unused.is_empty() {
            notes.push(format!(
                "not part of the encoder, and ignored: {}",
                few_names(&unused)
            ));
        }
        let load = |stage: &stages::Stage| stage.load(device);
        let mut stages = settings
            .stages
            .iter()
            .map(load)
            .collect::<Result<Vec<_>>>()?;
        match options.normalize_embeddings {
            Some(true) => stages.push(LoadedStage::Normalize),
            Some(false) => stages.retain(|stage| !matches!(stage, LoadedStage::Normalize)),
            None => {}
        }
        Ok(Self {
            encoder,
            tokenizer,
            max_length,
            prompt,
            skip,
            stages,
            pooling: settings.pooling,
            truncate_dim: settings.truncate_dim,
            notes,
            device: device.clone(),
        })
    }

    /// What a user should know of how the folder was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// One vector a text.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let prompted: Vec<String> = texts
            .iter()
            .map(|text| format!("{}{text}", self.prompt))
            .collect();
        let prompted: Vec<&str> = prompted.iter().map(String::as_str).collect();
        let ids = self.tokenizer.encode_batch(&prompted, self.max_length)?;
        let sequences = Sequences { ids, types: None };
        let config = &self.encoder.config;
        let size = EvalBatchSize::new(&self.device, config, None);
        in_batches_by_length(&sequences.lengths(), &size, |texts| {
            let sequences = sequences.pick(texts);
            let batch = token_batch(&self.device, config, &sequences)?;
            let rows = no_grad(|| -> Result<Tensor> {
                let hidden = self.encoder.forward(&batch, &Mode::eval())?;
                let mut x = pool(&hidden, &sequences.lengths(), self.skip, &self.pooling)?;
                for stage in &self.stages {
                    x = stage.forward(&x)?;
                }
                Ok(x)
            })?;
            let channels = rows.shape().get(1).copied().unwrap_or(1);
            let kept = self.truncate_dim.unwrap_or(channels).min(channels);
            let rows = rows.to_vec::<f32>()?;
            let rows = rows.chunks(channels).map(|row| row[..kept].to_vec());
            Ok(rows.collect::<Vec<_>>())
        })
    }
}
