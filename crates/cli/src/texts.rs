//! The texts that a command is given: one by one, or in a file.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use wgrad_train::data::read_texts;

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
        let mut texts = self.text;
        if let Some(file) = self.file {
            texts.extend(read_texts(file, &self.text_column)?);
        }
        ensure!(!texts.is_empty(), "no text was given; use --text or --file");
        Ok(texts)
    }
}
