//! Fine-tuning a pretrained encoder on labelled texts or pairs of texts: classes, several labels, or numbers.
//! Data, what is frozen, training, test, report.

mod arguments;
mod data;
mod examples;
mod features;
mod predictions;
mod report;
mod scores;
mod task;

pub use arguments::TextClassificationArguments;
pub use scores::Scores;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use wgrad_nn::{Module, Parameters, freeze};
use wgrad_tensor::{Device, Generator};
use wgrad_train::data::{ProblemType, TextDataset};
use wgrad_train::fs::ensure_writable_dir;
use wgrad_train::{Callbacks, Flow, Outcome};

use super::fit::{Trainable, fit, prepare_output};

use crate::batches::EvalBatchSize;
use crate::classifier::SequenceClassifier;
use crate::folder::{ModelFolder, stale_files};
use crate::io::safetensors::write;
use data::Data;
use examples::{Examples, Frozen};
use features::FeatureRoom;
use scores::check_metric;
use task::ClassificationTask;

/// The result of a fine-tuning.
#[derive(Debug, Clone)]
pub struct FineTuned {
    /// What happened in the loop.
    pub outcome: Outcome,
    /// On the validation file, of the model that was kept.
    pub validation: Option<Scores>,
    /// On the test file.
    pub test: Option<Scores>,
    /// Trainable parameters, and all.
    pub parameters: (usize, usize),
    /// The largest number of bytes in use on the device.
    pub peak_bytes: u64,
    /// The path of the report.
    pub report: PathBuf,
}

/// Fine-tunes, writes model, log, results and report to `training.output_dir`. `say` receives a line
/// about each stage.
///
/// # Errors
/// One line: what is wrong with a file, a column, a flag, the output folder or the device.
pub fn fine_tune(
    device: &Device,
    arguments: &TextClassificationArguments,
    callbacks: &mut Callbacks,
    say: &dyn Fn(&str),
) -> Result<FineTuned> {
    let mut timings: Vec<(String, f64)> = Vec::new();
    let started = Instant::now();
    let output = &arguments.training.output_dir;
    arguments.check()?;
    let folder = ModelFolder::open(&arguments.model_name_or_path)?;
    let config = &folder.config;
    let data = Data::read(arguments, &folder)?;
    let sets = [
        Some(&data.train),
        data.validation.as_ref(),
        data.test.as_ref(),
    ];
    for note in sets.into_iter().flatten().flat_map(|set| &set.notes) {
        say(note);
    }
    let labels = data.train.label_names.clone();
    let problem = data.train.labels.problem_type();
    if let Some(name) = &arguments.training.metric_for_best_model {
        check_metric(name, problem, labels.len())?;
    }
    let smoothing = arguments.training.label_smoothing_factor;
    ensure!(
        smoothing == 0.0 || problem == ProblemType::SingleLabel,
        "label_smoothing_factor spreads the label of a class, and this is {problem}; leave it out"
    );
    if let Some(reason) = &data.unlabelled {
        say(&format!(
            "test_file: predictions only, no metrics: {reason}"
        ));
    }
    prepare_output(output)?;
    for name in stale_files(&folder.dir, output) {
        say(&format!(
            "{}: of an earlier model; it is renamed {name}.old when the new model is saved",
            output.join(name).display()
        ));
    }
    let generator = Generator::new(device, arguments.training.seed)?;
    let mut model = SequenceClassifier::for_training(device, &folder, labels, problem, &generator)?;
    for note in model.notes() {
        say(note);
    }
    if let Some(path) = &arguments.classifier_init {
        model.init_classifier(path)?;
    }
    if let Some(p) = arguments.dropout {
        model.set_dropout(p as f32)?;
    }
    let frozen = freeze_parameters(&model, arguments)?;
    let tokenizer = folder.tokenizer()?;
    let length = arguments.max_seq_length.min(config.max_tokens());
    let eval_batch = EvalBatchSize::new(
        device,
        config,
        arguments.training.per_device_eval_batch_size,
    );
    let tokenize = |set: &TextDataset| Examples::new(set, &tokenizer, length);
    // The test data is seen once, so its features are not cached.
    let layers = (frozen, config.hidden_size);
    let mut room = FeatureRoom::new(arguments.feature_cache, &arguments.training)?;
    let training = tokenize(&data.train)?;
    let steps = arguments.training.total_steps(training.len());
    let epochs = steps.div_ceil(arguments.training.steps_per_epoch(training.len()).max(1));
    let evaluations = arguments.training.evaluations(training.len());
    let training = training.cache_features(layers, epochs, &eval_batch, &mut room);
    let validation = data.validation.as_ref().map(tokenize).transpose()?;
    let validation =
        validation.map(|set| set.cache_features(layers, evaluations, &eval_batch, &mut room));
    let mut test = data.test.as_ref().map(tokenize).transpose()?;
    timings.push(("loading".into(), started.elapsed().as_secs_f64()));

    let Trainable {
        parameters: trainable,
        counts: parameters,
    } = Trainable::of(&model)?;
    say(&format!(
        "{problem}: {} training, {} validation and {} test examples; {} of {} parameters are trained on {}",
        training.len(),
        validation.as_ref().map_or(0, Examples::len),
        test.as_ref().map_or(0, Examples::len),
        parameters.0,
        parameters.1,
        device.adapter().name,
    ));
    if let Some(line) = room.line() {
        say(&line);
    }
    if let Some(folder) = arguments.save_gradients.as_deref().and_then(Path::parent) {
        ensure_writable_dir(folder)?;
    }
    let sets = (training, validation);
    let mut task = ClassificationTask::new(device, model, &folder, sets, frozen, eval_batch)
        .label_smoothing(smoothing)
        .arguments(arguments, room.fact());
    if let Some(path) = arguments.save_gradients.clone() {
        save_gradients(callbacks, path, task.exported_parameters());
    }
    let training = (&arguments.training, arguments.validation_file.as_ref());
    let fitted = fit(
        device,
        &mut task,
        trainable,
        training,
        callbacks,
        say,
        &mut timings,
    )?;
    let (outcome, kept) = (fitted.outcome, fitted.kept);
    let peak_bytes = fitted.peak_bytes;
    let known = outcome.own_evaluations().position(|e| e.step == kept);
    let validation = task.validation_scores(known)?;
    let at = Instant::now();
    let test_logits = test.as_mut().map(|set| task.logits(set)).transpose()?;
    if test.is_some() {
        timings.push(("test".into(), at.elapsed().as_secs_f64()));
    }
    if let (true, Some(logits)) = (arguments.do_predict, &test_logits) {
        predictions::write(output, logits, problem, task.labels())?;
    }
    let scored = match (&data.test, &test_logits) {
        (Some(set), Some(logits)) if data.unlabelled.is_none() => Some((set, logits.as_slice())),
        _ => None,
    };
    let test = scored.map(|(set, logits)| Scores::new(logits, &set.labels));
    let finished = FineTuned {
        outcome,
        validation,
        test: test.transpose()?,
        parameters,
        peak_bytes,
        report: output.join("report.html"),
    };
    report::write(device, arguments, &finished, task.labels(), scored, timings)?;
    Ok(finished)
}

/// Writes the gradients of the first step to `path`.
fn save_gradients(callbacks: &mut Callbacks, path: PathBuf, named: Parameters) {
    callbacks.push_on_gradients(Box::new(move |step, gradients, optimizer| {
        if step > 1 {
            return Ok(Flow::Continue);
        }
        let gradients = optimizer.unscale(gradients)?;
        let mut rows = Vec::new();
        for (name, tensor) in &named {
            if let Some(gradient) = gradients.get(tensor) {
                rows.push((
                    name.clone(),
                    gradient.shape().to_vec(),
                    gradient.to_vec::<f32>()?,
                ));
            }
        }
        write(&path, &rows, &[])?;
        Ok(Flow::Continue)
    }));
}

/// Freezes what the arguments name, and says which part of the encoder gives the same features for
/// good.
fn freeze_parameters(
    model: &SequenceClassifier,
    arguments: &TextClassificationArguments,
) -> Result<Frozen> {
    let all = model.named_parameters();
    let layers = model.encoder.num_layers();
    ensure!(
        arguments.freeze_layers <= layers,
        "freeze_layers is {}, the model has {layers} layers",
        arguments.freeze_layers
    );
    for (name, tensor) in &all {
        let layer = name
            .strip_prefix("encoder.layer.")
            .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let low =
            name.starts_with("embeddings.") || layer.is_some_and(|i| i < arguments.freeze_layers);
        if (arguments.freeze_encoder && !model.is_head(name))
            || (arguments.freeze_layers > 0 && low)
        {
            tensor.set_requires_grad(false)?;
        }
    }
    for pattern in &arguments.freeze {
        freeze(model, pattern).with_context(|| format!("freeze {pattern}"))?;
    }
    Ok(match (arguments.freeze_encoder, arguments.freeze_layers) {
        (true, _) => Frozen::Encoder,
        (false, 0) => Frozen::Nothing,
        (false, n) => Frozen::Layers(n),
    })
}
