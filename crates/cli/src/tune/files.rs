//! The files that `wgrad tune` reads and writes beside the kernel.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use wgrad_runtime::variants::{Entry, VariantTable};
use wgrad_tune::tuner::job::Job;
use wgrad_tune::tuner::{t1, template};

/// Writes `text` to `path` completely, or leaves the old file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    wgrad_train::fs::write_atomic(path, text.as_bytes())
}

/// Writes `text` to a new file.
fn write_new(path: &Path, text: &str) -> Result<()> {
    if path.exists() {
        bail!(
            "{} exists already; choose another name or remove it",
            path.display()
        );
    }
    write(path, text)
}

/// `wgrad tune --new NAME`.
pub fn new_pair(name: &str) -> Result<()> {
    let (kernel, spec) = template::pair(name).map_err(|e| anyhow!(e))?;
    let (wgsl, toml) = (format!("{name}.wgsl"), format!("{name}.toml"));
    if Path::new(&toml).exists() {
        bail!("{toml} exists already; choose another name or remove it");
    }
    write_new(Path::new(&wgsl), &kernel)?;
    write_new(Path::new(&toml), &spec)?;
    println!("wrote {wgsl} and {toml}");
    println!("next: wgrad tune {wgsl} --budget 20");
    Ok(())
}

/// The text of a file.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// `wgrad tune KERNEL --export_t1 FILE`.
pub fn export_t1(path: &Path, job: &Job) -> Result<()> {
    let (text, notes) = t1::export(job).with_context(|| job.spec_name.clone())?;
    write(path, &text)?;
    println!("wrote {}; please check:", path.display());
    for note in notes {
        println!("- {note}");
    }
    Ok(())
}

/// `wgrad tune --import_t1 FILE`.
pub fn import_t1(path: &Path) -> Result<()> {
    let text = read(path)?;
    let (name, spec) = t1::import(&text).with_context(|| path.display().to_string())?;
    let out = format!("{name}.toml");
    write_new(Path::new(&out), &spec)?;
    println!("wrote {out}; its head lists what to check");
    println!("next: write {name}.wgsl, then wgrad tune {name}.wgsl");
    Ok(())
}

/// The user's table; empty if there is none.
pub fn read_table(path: &Path) -> Result<VariantTable> {
    match std::fs::read_to_string(path) {
        Ok(text) => VariantTable::parse(&text)
            .map_err(|e| anyhow!("{}: {e}; correct or remove it", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(VariantTable::default()),
        Err(e) => Err(e).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Puts `entries` into the user's table.
pub fn keep(path: &Path, entries: Vec<Entry>) -> Result<()> {
    let mut table = read_table(path)?;
    for entry in entries.into_iter().rev() {
        table.insert(entry);
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    write(path, &table.to_text())
}

/// `wgrad tune --contribute`: the entries of wgrad's own kernels, in the form of the shipped tables.
pub fn contribute(path: Option<&Path>) -> Result<()> {
    let table = match path {
        Some(path) => read_table(path)?.current(),
        None => VariantTable::default(),
    };
    if table.entries().is_empty() {
        bail!(
            "none of wgrad's own kernels is tuned on this machine yet; `wgrad tune matmul` tunes one"
        );
    }
    println!(
        "# wgrad {}: open an issue with this text",
        env!("CARGO_PKG_VERSION")
    );
    print!("{}", table.to_text());
    Ok(())
}
