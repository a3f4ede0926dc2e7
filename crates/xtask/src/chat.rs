//! `cargo xtask demo chat`: a language model of 135 million parameters answers on this machine.

use std::process::{Command, Stdio};

use crate::options::Options;
use crate::{adapter, demo, fetch};

/// The questions for the model.
const QUESTIONS: &[&str] = &[
    "What is the capital of France?",
    "Write one sentence about the sea.",
];

/// The system prompt of the model's own chat template.
const SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// Runs the demo.
pub fn run(options: &Options) -> Result<(), String> {
    adapter::ensure()?;
    let wgrad = demo::build()?;
    let model = fetch::chat_model(options)?;
    let mut generate = Command::new(&wgrad);
    generate
        .args(["generate", "--chat", "--temp", "0", "-n", "64"])
        .args(["--system", SYSTEM])
        .arg("-m")
        .arg(&model);
    if let Some(name) = &options.adapter {
        generate.arg("--adapter").arg(name);
    }
    for question in QUESTIONS {
        generate.arg("-p").arg(question);
    }
    println!(
        "\nSmolLM2 (135 million parameters) answers two questions, then yours: one a line, each on its own.\n\
         Ctrl-D (on Windows Ctrl-Z and Enter) ends it. Without a GPU it writes a few words a second.\n"
    );
    // Each line of standard input is a question.
    let status = generate
        .arg("--interactive")
        .stdin(Stdio::inherit())
        .status()
        .map_err(|e| format!("cannot run {}: {e}", wgrad.display()))?;
    if !status.success() {
        return Err(format!("`wgrad generate` failed ({status}), see above"));
    }
    println!(
        "\nany text continued: {} generate -m {} -p TEXT",
        wgrad.display(),
        model.display()
    );
    Ok(())
}
