//! `cargo xtask demo chat`: a language model of 135 million parameters answers on this machine.

use std::ffi::OsString;
use std::process::Command;

use crate::options::Options;
use crate::{adapter, demo, fetch};

/// What the model is asked.
const QUESTIONS: &[&str] = &[
    "What is the capital of France?",
    "Write one sentence about the sea.",
];

/// Runs the demo.
pub fn run(options: &Options) -> Result<(), String> {
    adapter::ensure()?;
    let wgrad = demo::build()?;
    let model = fetch::chat_model(options)?;
    let chosen: Vec<OsString> = options
        .adapter
        .iter()
        .flat_map(|name| ["--adapter".into(), name.into()])
        .collect();
    for question in QUESTIONS {
        println!("\n> {question}");
        let prompt = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
        let mut generate = Command::new(&wgrad);
        generate
            .args(["generate", "--temp", "0", "-n", "64", "-p", &prompt])
            .arg("-m")
            .arg(&model)
            .args(&chosen);
        demo::execute(&mut generate)?;
    }
    println!(
        "\nyour own: {} generate -m {} -p TEXT",
        wgrad.display(),
        model.display()
    );
    Ok(())
}
