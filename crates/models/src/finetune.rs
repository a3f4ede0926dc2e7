//! Fine-tuning a pretrained encoder on labelled texts: data, what is frozen, training, test, report.

mod arguments;
mod report;
mod task;

pub use arguments::FineTuneArguments;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use wgrad_nn::optim::{
    Adam, AdamConfig, AdamW, AdamWConfig, GradScaler, Optimizer, ParamGroup, Sgd, SgdConfig,
    no_decay,
};
use wgrad_nn::schedule::{LrScheduler, Schedule, ScheduleOptions, warmup_steps};
use wgrad_nn::{Module, Parameters, freeze};
use wgrad_tensor::{Device, Generator};
use wgrad_train::data::{TextDataset, read_table, require_two_classes};
use wgrad_train::fs::{ensure_writable_dir, recover};
use wgrad_train::metrics::ClassificationMetrics;
use wgrad_train::sampler::{Order, epoch_batches};
use wgrad_train::trainer::{self, Callbacks, Outcome, StopReason};

use crate::classifier::SequenceClassifier;
use crate::folder::ModelFolder;
use crate::io::safetensors::write;
use task::{Examples, FineTuneTask, Frozen};

/// What a fine-tuning gave.
pub struct FineTuned {
    pub outcome: Outcome,
    /// On the validation file, of the model that was kept.
    pub validation: Option<ClassificationMetrics>,
    /// On the test file.
    pub test: Option<ClassificationMetrics>,
    /// Trainable parameters, and all.
    pub parameters: (usize, usize),
    /// The largest number of bytes in use on the device.
    pub peak_bytes: u64,
    /// Where the report lies.
    pub report: PathBuf,
}

/// Fine-tunes, writes model, log, results and report to `training.output_dir`. `say` receives a line
/// about each stage.
///
/// Errors are one line: what is wrong with a file, a column, a flag, the output folder or the device.
pub fn fine_tune(
    device: &Device,
    arguments: &FineTuneArguments,
    callbacks: &mut Callbacks,
    say: &dyn Fn(&str),
) -> Result<FineTuned> {
    let mut timings: Vec<(String, f64)> = Vec::new();
    let started = Instant::now();
    let output = &arguments.training.output_dir;
    arguments.check()?;
    let folder = ModelFolder::open(&arguments.model_name_or_path)?;
    let data = Data::read(arguments)?;
    ensure_writable_dir(output)?;
    for name in ["checkpoint-last", "checkpoint-best"] {
        recover(output.join(name))?;
    }
    let generator = Generator::new(device, arguments.training.seed)?;
    let labels = data.train.label_names.clone();
    let mut model = SequenceClassifier::for_training(device, &folder, labels, &generator)?;
    if let Some(path) = &arguments.classifier_init {
        model.init_classifier(path)?;
    }
    if let Some(p) = arguments.dropout {
        model.set_dropout(p as f32)?;
    }
    let frozen = freeze_parameters(&model, arguments)?;
    let tokenizer = folder.tokenizer()?;
    let length = arguments.max_seq_length.min(folder.config.max_tokens());
    let tokenize = |set: &TextDataset| Examples::new(set, &tokenizer, length);
    let train = tokenize(&data.train)?;
    let validation = data.validation.as_ref().map(tokenize).transpose()?;
    let mut test = data.test.as_ref().map(tokenize).transpose()?;
    timings.push(("loading".into(), started.elapsed().as_secs_f64()));

    let all = model.named_parameters();
    let trainable: Parameters = all
        .iter()
        .filter(|(_, tensor)| tensor.requires_grad())
        .cloned()
        .collect();
    ensure!(
        !trainable.is_empty(),
        "every parameter is frozen; nothing is left to train"
    );
    let count = |list: &Parameters| list.iter().map(|(_, t)| t.numel()).sum::<usize>();
    let parameters = (count(&trainable), count(&all));
    say(&format!(
        "{} training, {} validation and {} test examples; {} of {} parameters are trained on {}",
        train.len(),
        validation.as_ref().map_or(0, Examples::len),
        test.as_ref().map_or(0, Examples::len),
        parameters.0,
        parameters.1,
        device.adapter().name,
    ));
    if let Some(folder) = arguments.save_gradients.as_deref().and_then(Path::parent) {
        ensure_writable_dir(folder)?;
    }
    let total = arguments.training.total_steps(train.len());
    let mut optimizer = optimizer(arguments, trainable)?;
    if arguments.training.fp16 {
        ensure!(
            device.has_f16(),
            "fp16: {} has no shader-f16; train without --fp16",
            device.adapter().name
        );
        optimizer.set_grad_scaler(GradScaler::default())?;
    }
    let mut scheduler = scheduler(arguments, total)?;
    let mut task = FineTuneTask::new(device, model, &folder, train, validation, frozen);
    if let Some(path) = arguments.save_gradients.clone() {
        let named = task.exported_parameters();
        callbacks.on_gradients = Some(Box::new(move |step, optimizer, gradients| {
            if step > 1 {
                return Ok(());
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
            Ok(write(&path, &rows, &[])?)
        }));
    }
    device.reset_peak();
    let outcome = trainer::train(
        device,
        &mut task,
        &mut *optimizer,
        &mut scheduler,
        &arguments.training,
        callbacks,
    )?;
    timings.push((
        "training".into(),
        outcome.seconds - outcome.evaluation_seconds,
    ));
    if outcome.evaluation_seconds > 0.0 {
        timings.push((
            "validation and checkpoints".into(),
            outcome.evaluation_seconds,
        ));
    }
    let peak_bytes = device.memory().peak;
    let best = output.join("checkpoint-best");
    let mut kept = outcome.steps;
    if let (true, Some(step)) = (arguments.training.save, outcome.best_step)
        && step != outcome.steps
        && outcome.reason != StopReason::Interrupted
    {
        kept = step;
        say(&format!(
            "keeping the model of step {step}, the best on the validation data"
        ));
        trainer::Task::load(&mut task, &best)?;
    }
    trainer::Task::save(&task, output)?;
    let known = outcome.evaluations.iter().position(|e| e.step == kept);
    let validation = task.metrics_of_validation(known)?;
    let at = Instant::now();
    let test_logits = test.as_mut().map(|set| task.logits(set)).transpose()?;
    if test.is_some() {
        timings.push(("test".into(), at.elapsed().as_secs_f64()));
    }
    let test_metrics = match (&test, &test_logits) {
        (Some(set), Some(logits)) => Some(set.metrics(logits, task.labels().len())?),
        _ => None,
    };
    let report = output.join("report.html");
    let finished = FineTuned {
        outcome,
        validation,
        test: test_metrics,
        parameters,
        peak_bytes,
        report,
    };
    let scored = match (&data.test, &test_logits) {
        (Some(set), Some(logits)) => Some((set, logits.as_slice())),
        _ => None,
    };
    report::write(device, arguments, &finished, task.labels(), scored, timings)?;
    Ok(finished)
}

/// The three files, with one set of labels.
struct Data {
    train: TextDataset,
    validation: Option<TextDataset>,
    test: Option<TextDataset>,
}

impl Data {
    fn read(arguments: &FineTuneArguments) -> Result<Self> {
        let (text, label) = (&arguments.text_column, &arguments.label_column);
        let mut train = read_table(&arguments.train_file, text, label, None)?;
        let seed = arguments.training.seed;
        sample(&mut train, arguments.max_train_samples, seed);
        require_two_classes(&train, &arguments.train_file)?;
        let names = train.label_names.clone();
        let more = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path: &PathBuf| read_table(path, text, label, Some(&names)))
                .transpose()
        };
        let mut validation = more(&arguments.validation_file)?;
        if let Some(set) = &mut validation {
            sample(set, arguments.max_eval_samples, seed);
        }
        Ok(Self {
            validation,
            test: more(&arguments.test_file)?,
            train,
        })
    }
}

/// Keeps a random part of the rows, in their order: tables are often sorted by label.
fn sample(set: &mut TextDataset, most: Option<usize>, seed: u64) {
    let Some(most) = most.filter(|most| *most < set.len()) else {
        return;
    };
    let shuffled = epoch_batches(&vec![0; set.len()], most, seed, 0, Order::Shuffled);
    let mut rows = shuffled.into_iter().next().unwrap_or_default();
    rows.sort_unstable();
    set.texts = rows
        .iter()
        .map(|i| std::mem::take(&mut set.texts[*i]))
        .collect();
    set.labels = rows.iter().map(|i| set.labels[*i]).collect();
}

/// Freezes what the arguments name, and says which part of the encoder gives the same features for
/// good.
fn freeze_parameters(model: &SequenceClassifier, arguments: &FineTuneArguments) -> Result<Frozen> {
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

fn optimizer(arguments: &FineTuneArguments, trainable: Parameters) -> Result<Box<dyn Optimizer>> {
    let groups: Vec<ParamGroup> = no_decay(trainable, arguments.weight_decay);
    let lr = arguments.learning_rate;
    Ok(match arguments.optim.as_str() {
        "adamw" | "adamw_torch" => {
            let config = AdamWConfig {
                lr,
                ..AdamWConfig::default()
            };
            Box::new(AdamW::new(groups, config)?)
        }
        "adam" => {
            let config = AdamConfig {
                lr,
                ..AdamConfig::default()
            };
            Box::new(Adam::new(groups, config)?)
        }
        "sgd" => {
            let config = SgdConfig {
                lr,
                momentum: arguments.momentum,
                ..SgdConfig::default()
            };
            Box::new(Sgd::new(groups, config)?)
        }
        other => bail!("there is no optimizer \"{other}\"; known are adamw, adam and sgd"),
    })
}

fn scheduler(arguments: &FineTuneArguments, total: u64) -> Result<LrScheduler> {
    ensure!(
        (0.0..=1.0).contains(&arguments.warmup_ratio),
        "warmup_ratio is {}, it must lie between 0 and 1",
        arguments.warmup_ratio
    );
    let mut options = ScheduleOptions {
        warmup_steps: warmup_steps(total, arguments.warmup_ratio),
        total_steps: total,
        step_size: arguments.lr_step_size,
        gamma: arguments.lr_gamma,
        milestones: arguments.lr_milestones.clone(),
        ..ScheduleOptions::default()
    };
    options.plateau.factor = arguments.lr_gamma;
    let schedule = Schedule::from_name(&arguments.lr_scheduler_type, &options)?;
    if matches!(schedule, Schedule::ReduceOnPlateau(_)) {
        arguments.require_validation("lr_scheduler_type reduce_lr_on_plateau")?;
    }
    Ok(LrScheduler::new(arguments.learning_rate, schedule)?)
}

/// A path for a line of text.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
