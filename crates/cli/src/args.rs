//! What all commands share on the command line: the adapter, flags in either spelling, errors as one
//! line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, Command, CommandFactory};
use wgrad_runtime::variants::VariantTable;
use wgrad_runtime::{Device, DeviceOptions};

/// The adapter to run on; flattened into every command that opens one.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct AdapterArg {
    /// Index or part of the name of the adapter, as `wgrad info` lists them; else the best one
    #[arg(long, value_name = "NAME_OR_INDEX")]
    pub adapter: Option<String>,
}

impl AdapterArg {
    /// Opens the adapter, with the pipelines that an earlier run saved and the user's table of tuned choices.
    pub fn open(&self, options: DeviceOptions) -> Result<Device> {
        self.open_with(DeviceOptions {
            variants: tuned(),
            ..options
        })
    }

    /// The same with the tuned choices that `options` name.
    pub fn open_with(&self, options: DeviceOptions) -> Result<Device> {
        let kept = self.pipeline_file().and_then(|f| std::fs::read(f).ok());
        Ok(Device::open(DeviceOptions {
            adapter: self.adapter.clone(),
            pipeline_cache: kept,
            ..options
        })?)
    }

    /// Saves the driver's compiled pipelines for the next run, if the adapter gives them out. Errors are ignored, because
    /// the file only saves time.
    pub fn keep_pipelines(&self, device: &Device) {
        // The software adapter gives out no pipelines; Mesa has its own cache.
        if device.adapter().is_software() {
            return;
        }
        let (Some(file), Some(bytes)) = (self.pipeline_file(), device.pipeline_cache()) else {
            return;
        };
        if std::fs::read(&file).is_ok_and(|kept| kept == bytes) {
            return;
        }
        if let Some(folder) = file.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = wgrad_train::fs::write_atomic(&file, &bytes);
    }

    /// One file for each way of naming an adapter. The driver refuses bytes of another adapter or
    /// version and starts afresh, so the name need not hold them.
    fn pipeline_file(&self) -> Option<PathBuf> {
        let name: String = self.adapter.as_deref().unwrap_or("default").to_lowercase();
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        Some(cache_folder()?.join(format!("pipelines-{name}.bin")))
    }
}

/// The table that `wgrad tune` wrote on this machine. A table that cannot be read is ignored here, because it only
/// affects speed; `wgrad tune` reports the error.
fn tuned() -> VariantTable {
    let text = crate::tune::user_table().and_then(|path| std::fs::read_to_string(path).ok());
    let table = text.and_then(|text| VariantTable::parse(&text).ok());
    table.unwrap_or_default()
}

/// A mistake in the arguments as one line: what is wrong, what is missing or similar, and how to get help.
pub fn usage_line(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        match line.split_once("tip: ") {
            _ if line.is_empty() => {}
            // clap suggests any spelling of a flag; the one of the help is meant.
            Some((_, tip)) => {
                let words: Vec<String> = tip.split(' ').map(one_spelling).collect();
                parts.push(format!("; {}", words.join(" ")));
            }
            None => parts.push(line.to_owned()),
        }
    }
    format!("{}; see --help", parts.join(" ").replace(" ;", ";"))
}

/// A flag (`'--train-batch_size'`) with `_` only.
fn one_spelling(word: &str) -> String {
    match word.split_once("--") {
        Some((before, name)) => format!("{before}--{}", name.replace('-', "_")),
        None => word.to_owned(),
    }
}

/// The user's cache folder of this system, and `wgrad` in it.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = match std::env::consts::OS {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => folder("HOME").map(|home| home.join("Library/Caches")),
        _ => folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache"))),
    };
    base.map(|base| base.join("wgrad"))
}

/// The command line of `C`, every flag also with `-` for `_` and the other way round, and `--adapter`
/// in front of the subcommand too.
pub fn command<C: CommandFactory>() -> Command {
    let adapter = Arg::new("adapter")
        .long("adapter")
        .value_name("NAME_OR_INDEX")
        .help("Index or part of the name of the adapter, as `wgrad info` lists them; else the best one")
        .global(true);
    both_spellings(C::command().arg(adapter))
}

fn both_spellings(command: Command) -> Command {
    let subcommands: Vec<String> = command
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    let command = command.mut_args(|arg| {
        let names = arg.get_long().into_iter();
        let names = names.chain(arg.get_all_aliases().unwrap_or_default());
        let others: Vec<String> = match arg.is_hide_set() {
            // Hundreds of flags that are only answered: the two spellings of transformers are enough.
            true => names
                .filter(|name| name.contains('_'))
                .map(|name| name.replace('_', "-"))
                .collect(),
            false => names.flat_map(spellings).collect(),
        };
        // "-1" is the value of a flag, never a flag; the program checks the value.
        let numbers = arg.get_action().takes_values();
        // clap needs names with the lifetime of the program; the command line is built once.
        let arg = arg.allow_negative_numbers(numbers);
        arg.aliases(others.into_iter().map(|name| &*name.leak()))
    });
    subcommands
        .into_iter()
        .fold(command, |c, name| c.mut_subcommand(name, both_spellings))
}

/// `name` with each of its separators as `-` and as `_`, without `name` itself.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for c in name.chars() {
        let choices = if c == '-' || c == '_' {
            vec!['-', '_']
        } else {
            vec![c]
        };
        all = all
            .iter()
            .flat_map(|head| choices.iter().map(move |c| format!("{head}{c}")))
            .collect();
    }
    all.retain(|spelling| spelling != name);
    all
}

/// An error and its causes as one line.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Some errors already end in the text of their cause.
        if parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
    }
    let words: Vec<&str> = parts.iter().map(String::as_str).collect();
    words
        .join(": ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{FromArgMatches, Parser, Subcommand};

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Sub,
    }
    #[derive(Subcommand)]
    enum Sub {
        Train(Train),
    }
    #[derive(clap::Args)]
    #[command(rename_all = "snake_case")]
    struct Train {
        #[command(flatten)]
        device: AdapterArg,
        #[arg(long)]
        learning_rate: Option<f32>,
        #[arg(long)]
        text: Vec<String>,
    }

    fn train(words: &[&str]) -> Train {
        let matches = command::<Cli>().try_get_matches_from(words).unwrap();
        let Sub::Train(train) = Cli::from_arg_matches(&matches).unwrap().command;
        train
    }

    #[test]
    fn both_spellings_reach_the_flag() {
        for flag in ["--learning_rate", "--learning-rate"] {
            assert_eq!(
                train(&["wgrad", "train", flag, "0.5"]).learning_rate,
                Some(0.5)
            );
        }
        let joined = train(&["wgrad", "train", "--learning-rate=2", "--text", "a-b_c"]);
        assert_eq!(joined.learning_rate, Some(2.0));
        assert_eq!(joined.text, ["a-b_c"]);
        assert_eq!(spellings("a_b-c"), ["a-b-c", "a-b_c", "a_b_c"]);
    }

    #[test]
    fn a_suggestion_has_one_spelling() {
        let text = "error: unexpected argument '--learning_rat' found\n\n  tip: a similar argument exists: '--learning-rate'\n";
        for suggested in ["--learning-rate", "--learning_rate"] {
            let line = usage_line(&text.replace("--learning-rate", suggested));
            assert_eq!(
                line,
                "error: unexpected argument '--learning_rat' found; a similar argument exists: '--learning_rate'; see --help"
            );
        }
        let mixed = text.replace("--learning-rate", "--train-batch_size");
        assert!(usage_line(&mixed).contains("'--train_batch_size'"));
    }

    #[test]
    fn the_adapter_is_accepted_before_and_behind_the_command() {
        for words in [
            ["wgrad", "--adapter", "llvm", "train"],
            ["wgrad", "train", "--adapter", "llvm"],
        ] {
            assert_eq!(train(&words).device.adapter.as_deref(), Some("llvm"));
        }
    }

    #[test]
    fn errors_are_one_line() {
        let error = anyhow::anyhow!("no such file\nor folder").context("model.safetensors");
        assert_eq!(
            one_line(&error),
            "model.safetensors: no such file or folder"
        );
    }
}
