//! A model, its data and the command, made small enough that a run takes about a second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use wgrad_models::io::safetensors::{SafeFile, write};

pub const HIDDEN: usize = 32;
const LAYERS: usize = 2;
const INTERMEDIATE: usize = 64;
const POSITIONS: usize = 32;

const GOOD: [&str; 4] = ["good", "great", "lovely", "funny"];
const BAD: [&str; 4] = ["bad", "dull", "awful", "boring"];
const PLAIN: [&str; 14] = [
    "the", "a", "film", "movie", "story", "is", "was", "and", "very", "plot", "actor", "scene",
    "in", "end",
];

/// A folder for one test, deleted when dropped, with a model and data in it.
pub struct Workplace {
    root: PathBuf,
}

impl Workplace {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wgrad-cli-{}-{count}", std::process::id());
        let root = std::env::temp_dir().join(name);
        std::fs::create_dir_all(root.join("model")).unwrap();
        let place = Self { root };
        place.write("model/config.json", config().to_string());
        place.write("model/vocab.txt", vocabulary().join("\n") + "\n");
        write(place.path("model/model.safetensors"), &weights(), &[]).unwrap();
        place.write("train.tsv", table(60, 0));
        place.write("valid.tsv", table(40, 1000));
        place.write("test.tsv", table(40, 2000));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A copy of the model folder under another name.
    pub fn copy_model(&self, name: &str) -> PathBuf {
        for entry in std::fs::read_dir(self.path("model")).unwrap() {
            let entry = entry.unwrap();
            let to = format!("{name}/{}", entry.file_name().into_string().unwrap());
            self.write(&to, std::fs::read(entry.path()).unwrap());
        }
        self.path(name)
    }

    /// `wgrad finetune` on this place's model and data into the folder `out`, with `more` flags.
    pub fn finetune(&self, out: &str, more: &[&str]) -> Command {
        let mut command = wgrad(&["finetune", "--per_device_train_batch_size", "8"]);
        command.args(["--logging_steps", "1", "--seed", "7"]);
        for (flag, name) in [
            ("--model_name_or_path", "model"),
            ("--train_file", "train.tsv"),
            ("--output_dir", out),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command.args(more);
        command
    }

    /// A file of the output folder `out`, as JSON.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub fn wgrad(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed and say nothing on standard error; its standard output.
pub fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    assert_eq!(stderr, "", "{command:?}");
    stdout
}

/// Runs a command that must fail with one line on standard error; that line.
pub fn refuse(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = text(output.stderr);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {stderr}");
    let line = stderr.strip_suffix('\n').unwrap_or(&stderr).to_owned();
    assert!(
        line.starts_with("error: ") && !line.contains('\n') && !line.contains("defect in wgrad"),
        "{command:?}: {stderr}"
    );
    line
}

/// Starts a command whose end is not awaited.
pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Every file below a folder, which need not be there.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The tensors of a safetensors file.
pub fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let file = SafeFile::open(path).unwrap();
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    names
        .into_iter()
        .map(|name| {
            let values = file.to_f32(&name).unwrap();
            (name, values)
        })
        .collect()
}

/// A table of `rows` sentences, half of them with two good words, half with two bad ones.
pub fn table(rows: u64, seed: u64) -> String {
    let mut random = Random(seed + 1);
    let mut table = String::from("id\ttext\tlabel\n");
    for id in 0..rows {
        let (words, label) = match id % 2 {
            0 => (&GOOD, "positive"),
            _ => (&BAD, "negative"),
        };
        let mut sentence: Vec<&str> = (0..3 + random.below(8))
            .map(|_| PLAIN[random.below(PLAIN.len())])
            .collect();
        for _ in 0..2 {
            sentence.insert(
                random.below(sentence.len()),
                words[random.below(words.len())],
            );
        }
        table += &format!("{id}\t{}\t{label}\n", sentence.join(" "));
    }
    table
}

fn vocabulary() -> Vec<&'static str> {
    let special = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "!", "##s",
    ];
    special
        .into_iter()
        .chain(GOOD)
        .chain(BAD)
        .chain(PLAIN)
        .collect()
}

fn config() -> Value {
    json!({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": vocabulary().len(),
        "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "intermediate_size": INTERMEDIATE, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    })
}

/// The parameters of `BertModel`, under the names `transformers` saves.
fn weights() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut random = Random(99);
    let mut out = Vec::new();
    let mut add = |name: &str, shape: &[usize], centre: f32, spread: f32| {
        let count = shape.iter().product();
        let values = (0..count)
            .map(|_| centre + spread * random.unit())
            .collect();
        out.push((name.to_owned(), shape.to_vec(), values));
    };
    let tables = [
        ("word", vocabulary().len(), 1.0),
        ("position", POSITIONS, 0.1),
        ("token_type", 2, 0.1),
    ];
    for (kind, rows, spread) in tables {
        add(
            &format!("embeddings.{kind}_embeddings.weight"),
            &[rows, HIDDEN],
            0.0,
            spread,
        );
    }
    let mut names = vec!["embeddings.LayerNorm".to_owned()];
    for i in 0..LAYERS {
        let layer = |part: &str| format!("encoder.layer.{i}.{part}");
        for part in ["query", "key", "value"] {
            names.push(layer(&format!("attention.self.{part}")));
        }
        for part in ["dense", "LayerNorm"] {
            names.push(layer(&format!("attention.output.{part}")));
        }
        for part in ["intermediate.dense", "output.dense", "output.LayerNorm"] {
            names.push(layer(part));
        }
    }
    names.push("pooler.dense".to_owned());
    for name in names {
        let outputs = match name.contains("intermediate") {
            true => INTERMEDIATE,
            false => HIDDEN,
        };
        let inputs = match name.contains(".output.dense") && !name.contains("attention") {
            true => INTERMEDIATE,
            false => HIDDEN,
        };
        match name.contains("LayerNorm") {
            true => add(&format!("{name}.weight"), &[outputs], 1.0, 0.1),
            false => add(&format!("{name}.weight"), &[outputs, inputs], 0.0, 0.3),
        }
        add(&format!("{name}.bias"), &[outputs], 0.0, 0.1);
    }
    out
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In -1..1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
