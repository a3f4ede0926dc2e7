//! The rules of the house that a compiler does not hold: who may import whom, what library code may
//! not do, how long a file gets.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. A crate imports those in front of it only.
const FLOORS: [&str; 10] = [
    "wgrad-shaders",
    "wgrad-emulator",
    "wgrad-runtime",
    "wgrad-tensor",
    "wgrad-derive",
    "wgrad-nn",
    "wgrad-train",
    "wgrad-models",
    "wgrad-tune",
    "wgrad-cli",
];

/// Crates that others build upon: no panics, no printing, no environment.
const LIBRARIES: [&str; 7] = [
    "emulator", "runtime", "tensor", "nn", "train", "models", "tune",
];

const RUST_LINES: usize = 400;
const SHADER_LINES: usize = 200;

/// Longer files, and why they are not cut up.
const LONG: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` whose name ends in one of `endings`, as (path from the root, text).
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path: PathBuf = entry.expect("a folder that can be read").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if path.is_dir() {
                if !matches!(name, "target" | ".git" | "__pycache__") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let inside = path.strip_prefix(root()).expect("a path in the project");
                let text = fs::read_to_string(&path).expect("a text file");
                found.push((inside.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    found.sort();
    found
}

/// The numbered lines of Rust code outside of comments and of test modules.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut all = text.lines().enumerate().peekable();
    while let Some((i, line)) = all.next() {
        if line.trim() == "#[cfg(test)]" {
            match all.peek() {
                // A module in another file: only its `mod` line is here.
                Some((_, next)) if next.ends_with(';') => {
                    all.next();
                    continue;
                }
                Some((_, next)) if next.contains("mod ") => break,
                _ => {}
            }
        }
        if !line.trim_start().starts_with("//") {
            lines.push((i + 1, line));
        }
    }
    lines
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// Fails with every place in the code of `folder` that holds one of `words`.
fn forbid(folder: &str, words: &[&str], why: &str) {
    let mut found = Vec::new();
    for (path, text) in files(folder, &[".rs"]) {
        if is_test_file(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                found.push(format!("{path}:{number}: `{word}`: {why}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn imports_go_downwards() {
    let mut wrong = Vec::new();
    for (path, text) in files("", &["Cargo.toml"]) {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name = "))
            .map(|name| name.trim_matches('"'));
        if name == Some("xtask") {
            let (_, dependencies) = text.split_once("[dependencies]").expect("a section");
            assert_eq!(
                dependencies.trim(),
                "",
                "{path}: the set-up program is std only"
            );
        }
        // The facade and the set-up program stand beside the floors.
        let Some(floor) = FLOORS.iter().position(|f| Some(*f) == name) else {
            continue;
        };
        for line in text.lines().filter(|line| line.starts_with("wgrad")) {
            let import = line.split(['.', ' ', '=']).next().unwrap_or("");
            if !FLOORS[..floor].contains(&import) {
                wrong.push(format!("{path}: {import} is not below {}", FLOORS[floor]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_runtime_names_wgpu() {
    for floor in ["tensor", "nn", "train", "models", "cli", "xtask", "wgrad"] {
        forbid(
            &format!("crates/{floor}"),
            &["wgpu::", "wgpu;"],
            "only crates/runtime may",
        );
        for (path, text) in files(&format!("crates/{floor}"), &["Cargo.toml"]) {
            assert!(
                !text.contains("wgpu"),
                "{path}: wgpu is for crates/runtime only"
            );
        }
    }
    forbid("examples", &["wgpu::", "wgpu;"], "only crates/runtime may");
}

#[test]
fn kernels_are_named_by_ops_only() {
    for floor in ["nn", "train", "models", "cli", "wgrad"] {
        forbid(
            &format!("crates/{floor}"),
            &[".kernel(\""],
            "kernels belong to the ops in crates/tensor",
        );
    }
}

#[test]
fn libraries_return_errors() {
    for library in LIBRARIES {
        let folder = format!("crates/{library}/src");
        let panics = [".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!"];
        forbid(&folder, &panics, "return an error");
        let prints = ["println!", "print!(", "dbg!"];
        forbid(&folder, &prints, "give text to the caller");
        let environment = ["env::var", "env::set_var"];
        forbid(&folder, &environment, "take it as an argument");
    }
}

#[test]
fn files_are_short() {
    let mut wrong = Vec::new();
    let rust = ["crates", "examples", "tests", "benches", "shaders"]
        .iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .map(|file| (file, RUST_LINES));
    let shaders = files("shaders", &[".wgsl"])
        .into_iter()
        .map(|file| (file, SHADER_LINES));
    let mut listed = 0;
    for ((path, text), most) in rust.chain(shaders) {
        let lines = text.lines().count();
        let allowed = LONG.iter().any(|(long, _)| *long == path);
        listed += usize::from(allowed);
        if lines > most && !allowed {
            wrong.push(format!("{path}: {lines} lines, {most} at most"));
        } else if lines <= most && allowed {
            wrong.push(format!("{path}: short enough now, take it off the list"));
        }
    }
    assert_eq!(
        listed,
        LONG.len(),
        "the list names a file that is not there"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_path_of_one_machine() {
    // Written in two parts so that this file does not hold them.
    let paths = [
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/tmp", "/w/"),
        ("/ho", "me/"),
    ];
    let endings = [".rs", ".md", ".toml", ".py", ".wgsl", ".sh", "run", ".yml"];
    let mut found = Vec::new();
    for (path, text) in files("", &endings) {
        for (number, line) in text.lines().enumerate() {
            // `u` is the invented user of some tests.
            let line = line.replace("/home/u", "");
            if paths.iter().any(|(a, b)| line.contains(&format!("{a}{b}"))) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_find_violations() {
    let text = "fn f() {}\n// .unwrap()\n#[cfg(test)]\nmod tests;\nlet x = y.unwrap();\n#[cfg(test)]\nmod more {\n    x.unwrap();\n";
    let lines: Vec<usize> = code(text).iter().map(|(number, _)| *number).collect();
    assert_eq!(lines, [1, 5]);
}
