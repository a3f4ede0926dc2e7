//! Text files that are not UTF-8, told by what they are.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

/// The text of a file. Errors name the file, and the encoding that its bytes look like.
pub fn read_utf8(path: &Path) -> Result<String> {
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            bail!(
                "{shown}: no such file; check the path (a relative path starts at the current folder)"
            )
        }
        Err(_) if path.is_dir() => bail!("{shown}: is a folder; give the path of a file in it"),
        Err(e) => bail!("{shown}: cannot be read: {e}; check the file's permissions"),
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        let bytes = e.as_bytes();
        let line = 1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count();
        let byte = bytes[offset];
        anyhow!(
            "{shown}, line {line}: not UTF-8, byte 0x{byte:02x} at byte offset {offset}{}; save the file as UTF-8",
            match encoding(bytes, byte) {
                Some(encoding) => format!(": the text looks like {encoding}"),
                None => String::new(),
            }
        )
    })?;
    if let Some(offset) = text.find('\0') {
        let encoding = encoding(text.as_bytes(), 0).unwrap_or("no text");
        bail!(
            "{shown}: a NUL byte at offset {offset}: the file looks like {encoding}; save it as UTF-8"
        );
    }
    Ok(text)
}

/// The encoding that bytes look like which are not UTF-8 at `byte`.
fn encoding(bytes: &[u8], byte: u8) -> Option<&'static str> {
    // The mark of UTF-32 begins like that of UTF-16.
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Some("UTF-32");
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Some("UTF-16");
    }
    // Western text in UTF-16 has a zero in every second place.
    let zeros = |from: usize| {
        let half = bytes.iter().skip(from).step_by(2).take(1000);
        half.clone().filter(|b| **b == 0).count() * 2 > half.count()
    };
    if zeros(0) || zeros(1) {
        return Some("UTF-16 without a byte order mark");
    }
    match byte {
        0 => None,
        0x80..=0x9f => Some("Windows-1252"),
        _ => Some("Latin-1 or Windows-1252"),
    }
}
