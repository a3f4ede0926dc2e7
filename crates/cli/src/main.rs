//! The `wgrad` command: one file for each subcommand. No other crate reads the environment or writes
//! to the terminal.

mod args;
mod bench;
mod doctor;
mod doctor_notes;
mod dump;
mod embed;
mod emulate;
mod finetune;
mod generate;
mod hugging_face;
mod info;
mod predict;
mod quiet;
mod texts;
mod tokenize;
mod tune;

use std::process::ExitCode;

use anyhow::Result;
use clap::{FromArgMatches, Parser, Subcommand};

/// Train, fine-tune and run neural networks on any GPU through WebGPU.
#[derive(Parser)]
#[command(name = "wgrad", version, rename_all = "snake_case")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Info(info::InfoArgs),
    Doctor(doctor::DoctorArgs),
    Bench(bench::BenchArgs),
    Embed(embed::EmbedArgs),
    Finetune(finetune::FinetuneArgs),
    Generate(generate::GenerateArgs),
    Predict(predict::PredictArgs),
    Tokenize(tokenize::TokenizeArgs),
    Tune(Box<tune::TuneArgs>),
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Info(args) => info::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Embed(args) => embed::run(args),
        Command::Finetune(args) => finetune::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Tune(args) => tune::run(*args),
    }
}

fn main() -> ExitCode {
    quiet::drivers();
    quiet::panics();
    let command = args::command::<Cli>();
    let parsed = command
        .try_get_matches_from(std::env::args_os())
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help and version are no mistakes: they go to standard output.
        Err(e) if !e.use_stderr() => e.exit(),
        Err(e) => {
            eprintln!("{}", args::usage_line(&e.to_string()));
            return ExitCode::from(2);
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {}", args::one_line(&e));
            ExitCode::FAILURE
        }
    }
}
