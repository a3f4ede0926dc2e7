//! The three files of a fine-tuning, with one set of labels.

use std::path::PathBuf;

use anyhow::Result;
use wgrad_train::data::{LabelOptions, Labels, ProblemType, TextDataset, read_table, read_texts};
use wgrad_train::sampler::{Order, Sampler};

use super::TextClassificationArguments;
use crate::classifier::SequenceClassifier;
use crate::config::BertConfig;
use crate::folder::ModelFolder;

/// Training, validation and test data.
pub struct Data {
    pub train: TextDataset,
    pub validation: Option<TextDataset>,
    pub test: Option<TextDataset>,
    /// Why the test data has no labels, if it has none.
    pub unlabelled: Option<String>,
}

impl Data {
    /// Reads the files that `arguments` name, for the model in this folder.
    pub fn read(arguments: &TextClassificationArguments, folder: &ModelFolder) -> Result<Self> {
        let config = &folder.config;
        let columns = arguments.columns();
        let options = LabelOptions {
            problem_type: arguments.problem_type.or(stated_problem(config)),
            known: None,
            preferred: &config.id2label,
            keep_unseen: SequenceClassifier::has_head(folder)?,
            delimiter: &arguments.label_delimiter,
        };
        let mut train = read_table(&arguments.train_file, &columns, &options)?;
        let seed = arguments.training.seed;
        sample(&mut train, arguments.max_train_samples, seed);
        let asked = arguments.problem_type == Some(ProblemType::SingleLabel);
        train.check_for_training(&arguments.train_file, &arguments.label_column, asked)?;
        let names = train.label_names.clone();
        let like_train = LabelOptions {
            problem_type: Some(train.labels.problem_type()),
            known: Some(&names),
            ..options
        };
        let more = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path: &PathBuf| read_table(path, &columns, &like_train))
                .transpose()
        };
        let mut validation = more(&arguments.validation_file)?;
        if let Some(set) = &mut validation {
            sample(set, arguments.max_eval_samples, seed);
        }
        let mut unlabelled = None;
        let mut test = match (more(&arguments.test_file), &arguments.test_file) {
            (Err(error), Some(path)) if arguments.do_predict => {
                // Predictions need no labels. Where the texts cannot be read either, the error is of another kind.
                let pair = arguments.text_pair_column.as_deref();
                let read = read_texts(path, &arguments.text_column, pair)?;
                unlabelled = Some(error.to_string());
                Some(TextDataset {
                    texts: read.texts,
                    pairs: read.pairs,
                    labels: Labels::Classes(Vec::new()),
                    label_names: names,
                    notes: read.notes,
                })
            }
            (read, _) => read?,
        };
        if let (Some(set), Some(most)) = (&mut test, arguments.max_predict_samples) {
            set.texts.truncate(most);
            set.pairs.iter_mut().for_each(|pairs| pairs.truncate(most));
            match &mut set.labels {
                Labels::Classes(labels) => labels.truncate(most),
                Labels::Sets(labels) => labels.truncate(most),
                Labels::Values(labels) => labels.truncate(most),
            }
        }
        Ok(Self {
            validation,
            test,
            unlabelled,
            train,
        })
    }
}

/// The problem that a model's configuration says in so many words, where it is another than the usual one.
fn stated_problem(config: &BertConfig) -> Option<ProblemType> {
    let stated = config.raw().get("problem_type")?.as_str()?;
    match stated.parse().ok()? {
        ProblemType::SingleLabel => None,
        problem => Some(problem),
    }
}

/// Keeps a random part of the rows, in their order: tables are often sorted by label.
fn sample(set: &mut TextDataset, most: Option<usize>, seed: u64) {
    let Some(most) = most.filter(|most| *most < set.len()) else {
        return;
    };
    let sampler = Sampler::new(most, Order::Shuffled, seed);
    let shuffled = sampler.batches(&vec![0; set.len()], 0);
    let mut rows = shuffled.into_iter().next().unwrap_or_default();
    rows.sort_unstable();
    *set = set.pick(&rows);
}
