//! What the targets share: a folder of this process for parsers that read files, and a spec and a kernel to vary.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("wgrad-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for files");
    folder
});

/// The folder of this process.
pub fn folder() -> &'static Path {
    &FOLDER
}

/// Writes a file into it and returns its path.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    std::fs::write(&path, bytes).expect("a file that can be written");
    path
}

/// A small spec.
pub const SPEC: &str = r#"
workgroups = ["ceil_div(n, WIDTH)"]
constraints = ["WIDTH <= 128"]
check = [{ n = 7 }]
time = [{ n = 64 }]
[parameters]
WIDTH = [64, 32, 128]
EACH = [1, 2]
[[buffers]]
name = "x"
dtype = "f32"
size = "n"
[[buffers]]
name = "y"
dtype = "f32"
size = "n"
output = true
[reference]
builtin = "copy"
shape = { n = "n" }
"#;
