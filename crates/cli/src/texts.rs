//! The texts that a command is given: one by one, or in a file.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use wgrad_train::data::{Texts, read_texts};

/// Flattened into every command that reads texts.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct TextArgs {
    /// A text; may be repeated
    #[arg(long)]
    text: Vec<String>,
    /// Texts from a TSV, CSV or JSONL file with a header
    #[arg(long)]
    file: Option<PathBuf>,
    #[arg(long, default_value = "text")]
    text_column: String,
}

impl TextArgs {
    /// The texts of `--text`, then those of `--file`.
    pub fn read(self) -> Result<Vec<String>> {
        Ok(self.read_pairs(PairArgs::default())?.texts)
    }

    /// The same with second texts, where `pairs` asks for them.
    pub fn read_pairs(self, pairs: PairArgs) -> Result<Texts> {
        let with_pairs = !pairs.text_pair.is_empty() || pairs.text_pair_column.is_some();
        let (mut texts, mut seconds) = (self.text, pairs.text_pair);
        ensure!(
            !with_pairs || texts.len() == seconds.len(),
            "{} of --text and {} of --text_pair; give one each",
            texts.len(),
            seconds.len()
        );
        if let Some(file) = self.file {
            ensure!(
                !with_pairs || pairs.text_pair_column.is_some(),
                "--text_pair is given; name the column of the second text in --file with --text_pair_column"
            );
            let column = pairs.text_pair_column.as_deref();
            let more = read_texts(file, &self.text_column, column)?;
            for note in &more.notes {
                eprintln!("{note}");
            }
            texts.extend(more.texts);
            seconds.extend(more.pairs.unwrap_or_default());
        }
        ensure!(!texts.is_empty(), "no text was given; use --text or --file");
        Ok(Texts {
            texts,
            pairs: with_pairs.then_some(seconds),
            notes: Vec::new(),
        })
    }
}

/// Flattened into every command that reads pairs of texts.
#[derive(Args, Debug, Default)]
#[command(rename_all = "snake_case")]
pub struct PairArgs {
    /// The second text of a pair, one for each --text; may be repeated
    #[arg(long)]
    text_pair: Vec<String>,
    /// Column of the second text of a pair in the file
    #[arg(long, value_name = "COLUMN")]
    text_pair_column: Option<String>,
}
