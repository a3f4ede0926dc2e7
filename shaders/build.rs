//! Embeds every `.wgsl` file under this folder, so that a new kernel is one new file and nothing else.
use std::{env, fs, io, path::Path};

fn collect(dir: &Path, prefix: &str, rows: &mut Vec<(String, String)>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "src" && name != "target" {
                collect(&path, &format!("{prefix}{name}/"), rows)?;
            }
        } else if let Some(stem) = name.strip_suffix(".wgsl") {
            rows.push((format!("{prefix}{stem}"), path.display().to_string()));
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    println!("cargo:rerun-if-changed={root}");
    let mut rows = Vec::new();
    collect(Path::new(&root), "", &mut rows)?;
    let mut text = String::from("&[\n");
    for (name, path) in rows {
        text.push_str(&format!("    ({name:?}, include_str!({path:?})),\n"));
    }
    text.push_str("]\n");
    fs::write(Path::new(&out).join("sources.rs"), text)
}
