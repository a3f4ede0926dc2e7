//! `cargo xtask demo`: from a fresh machine to a fine-tuned sentiment model.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::options::Options;
use crate::plan::Size;
use crate::{adapter, cargo, dataset, fetch, interrupt, json, readable, repository};

/// Sentences for the fine-tuned model at the end: easy ones and harder ones.
const SENTENCES: &[&str] = &[
    "A warm, funny and surprisingly moving film that I did not want to end.",
    "Two hours of my life that I will never get back: loud, dull and pointless.",
    "The plot is nonsense, but the cast is so charming that it hardly matters.",
    "Beautifully shot, and as cold and empty as its hero's apartment.",
    "It is not the disaster everyone predicted; in fact, it is rather good.",
];

/// Runs the demo.
pub fn run(options: &Options) -> Result<(), String> {
    adapter::ensure()?;
    let wgrad = build()?;
    let fetched = fetch::fetch(options)?;
    let files = dataset::prepare(&fetched.data)?;

    let chosen: Vec<OsString> = options
        .adapter
        .iter()
        .flat_map(|name| ["--adapter".into(), name.into()])
        .collect();
    let (size, reason) = match options.size {
        Some(size) => (size, format!("--{} was given", size.name())),
        None => size_for(&adapter_info(&wgrad, &chosen)?)?,
    };
    println!("{}", size.announce(&reason));

    let output = output_dir(options, &wgrad, size)?;
    let start = Instant::now();
    let mut finetune = Command::new(&wgrad);
    finetune
        .arg("finetune")
        .arg("--model_name_or_path")
        .arg(&fetched.model)
        .arg("--train_file")
        .arg(&files.train)
        .arg("--validation_file")
        .arg(&files.validation)
        .arg("--test_file")
        .arg(&files.test)
        .arg("--output_dir")
        .arg(&output)
        .args(size.flags())
        .args(&chosen);
    interrupt::hold();
    execute(&mut finetune)?;
    if interrupt::pressed() {
        return Err(format!(
            "stopped by Ctrl-C; what was trained so far is in {}",
            output.display()
        ));
    }
    let time = start.elapsed();

    let mut predict = Command::new(&wgrad);
    predict
        .arg("predict")
        .arg("--model_name_or_path")
        .arg(&output)
        .args(&chosen);
    for sentence in SENTENCES {
        predict.arg("--text").arg(sentence);
    }
    println!("\nsentences it has not seen:");
    execute(&mut predict)?;

    let report = output.join("report.html");
    if !report.is_file() {
        return Err(format!("there is no report at {}", report.display()));
    }
    println!(
        "\nfine-tuned in {}, model in {}",
        readable(time),
        output.display()
    );
    println!("report: {}", report.display());
    Ok(())
}

/// Builds the `wgrad` binary and returns its path as cargo gives it, wherever the target folder is.
pub fn build() -> Result<PathBuf, String> {
    println!("build: cargo build --release -p wgrad-cli");
    let output = Command::new(cargo())
        .args(["build", "--release", "-p", "wgrad-cli"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(repository())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "the build failed ({}); cargo's messages are above",
            output.status
        ));
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo built no binary named wgrad".to_string())
}

fn executable(messages: &str) -> Option<PathBuf> {
    json::objects(messages)
        .iter()
        .filter_map(|message| message.get("executable").map(PathBuf::from))
        .find(|path| path.file_stem().is_some_and(|stem| stem == "wgrad"))
}

/// The output of `wgrad info --json`.
fn adapter_info(wgrad: &Path, chosen: &[OsString]) -> Result<String, String> {
    let output = Command::new(wgrad)
        .args(["info", "--json"])
        .args(chosen)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", wgrad.display()))?;
    if !output.status.success() {
        return Err(format!(
            "`wgrad info --json` failed ({}), see above",
            output.status
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The plan for the adapter marked as selected, and the reason in words.
fn size_for(info: &str) -> Result<(Size, String), String> {
    let adapters = json::objects(info);
    let found = adapters
        .iter()
        .filter(|object| object.get("selected").is_some_and(|value| value == "true"))
        .find_map(|object| {
            object
                .get("device_type")
                .map(|device_type| (device_type, object))
        });
    let Some((device_type, object)) = found else {
        return Err(
            "`wgrad info --json` marks no adapter as selected; choose the plan yourself \
                    with --small or --full"
                .to_string(),
        );
    };
    let name = object.get("name").map_or("the adapter", String::as_str);
    let size = Size::for_device(device_type);
    let kind = match size {
        Size::Small => "runs on the CPU",
        Size::Full => "is a GPU",
    };
    Ok((size, format!("{name} {kind}")))
}

/// The given folder, or a fresh one beside the build's output.
fn output_dir(options: &Options, wgrad: &Path, size: Size) -> Result<PathBuf, String> {
    if let Some(given) = &options.output_dir {
        return std::path::absolute(given)
            .map_err(|e| format!("cannot use the output folder {}: {e}", given.display()));
    }
    let target = wgrad.ancestors().nth(2).unwrap_or(wgrad);
    let folder = target.join(format!("demo-{}", size.name()));
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!(
            "cannot empty the output folder {}: {e}",
            folder.display()
        )),
        _ => Ok(folder),
    }
}

/// Shows a `wgrad` command, for people to repeat, and runs it on this terminal.
pub fn execute(command: &mut Command) -> Result<(), String> {
    let words: Vec<String> = command
        .get_args()
        .map(|word| word.to_string_lossy().into())
        .collect();
    let name = words.first().cloned().unwrap_or_default();
    if name == "finetune" {
        println!(
            "\n$ {} {}",
            command.get_program().to_string_lossy(),
            words.join(" ")
        );
    }
    let status = command.stdin(Stdio::null()).status().map_err(|e| {
        format!(
            "cannot run {}: {e}",
            command.get_program().to_string_lossy()
        )
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`wgrad {name}` failed ({status}), see above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_adapter_decides() {
        let info = |first: bool| {
            format!(
                r#"[{{"name":"Big GPU","device_type":"DiscreteGpu","selected":{first},
                     "limits":{{"max_buffer_size":1}}}},
                    {{"selected":{},"limits":{{"a":1}},"device_type":"Cpu","name":"llvmpipe"}}]"#,
                !first
            )
        };
        let (size, reason) = size_for(&info(true)).unwrap();
        assert_eq!((size, reason.as_str()), (Size::Full, "Big GPU is a GPU"));
        let wrapped = format!("{{\"adapters\": {}}}", info(false));
        let (size, reason) = size_for(&wrapped).unwrap();
        assert_eq!(
            (size, reason.as_str()),
            (Size::Small, "llvmpipe runs on the CPU")
        );
        assert!(size_for("[]").unwrap_err().contains("--small"));
    }

    #[test]
    fn the_binary_is_the_one_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
             {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"wgrad\"},\"executable\":\"/t/release/wgrad\"}\n\
             {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/release/wgrad"))
        );
        let windows = r#"{"executable":"C:/t/release/wgrad.exe"}"#;
        assert_eq!(
            executable(windows),
            Some(PathBuf::from("C:/t/release/wgrad.exe"))
        );
        assert_eq!(executable(r#"{"executable":null}"#), None);
    }
}
