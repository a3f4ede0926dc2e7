//! Writing a safetensors file of f32 tensors, under a temporary name until it is whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::refused;

/// Writes the tensors (name, shape, elements in row-major order) to `path`. `metadata` goes to the
/// header beside `"format": "pt"`, which `transformers` asks for.
///
/// The file appears under its name only when it is complete and on disk; a crash or an error leaves
/// an older file of that name as it was.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
    metadata: &[(&str, &str)],
) -> wgrad_tensor::Result<()> {
    let layout: Vec<(&str, &[usize])> = tensors
        .iter()
        .map(|(name, shape, _)| (name.as_str(), shape.as_slice()))
        .collect();
    let mut writer = SafeWriter::create(path, &layout, metadata)?;
    for (_, _, values) in tensors {
        writer.push(values)?;
    }
    writer.finish()
}

/// Writes a safetensors file tensor by tensor, so that not all need be in memory at once:
/// [`SafeWriter::create`] with every name and shape, [`SafeWriter::push`] for each in that order,
/// [`SafeWriter::finish`]. Dropped before that, it removes what it has written.
#[derive(Debug)]
pub struct SafeWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    layout: Counts,
    next: usize,
    finished: bool,
}

/// Name and number of elements, in the order of writing.
type Counts = Vec<(String, usize)>;

impl SafeWriter {
    /// Creates `path` with `.tmp` appended and writes the header.
    ///
    /// Errors: a name given twice or reserved by the format, sizes that overflow, a folder that
    /// cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        layout: &[(&str, &[usize])],
        metadata: &[(&str, &str)],
    ) -> wgrad_tensor::Result<Self> {
        Self::begin(path.as_ref(), layout, metadata).map_err(refused)
    }

    fn begin(path: &Path, layout: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> Result<Self> {
        let (header, layout) =
            header(layout, metadata).map_err(|error| anyhow!("{}: {error:#}", path.display()))?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        // A leftover is replaced; a symbolic link is not followed.
        let _ = std::fs::remove_file(&temporary);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|error| anyhow!("cannot write {}: {error}", temporary.display()))?;
        let mut writer = Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::with_capacity(1 << 16, file),
            layout,
            next: 0,
            finished: false,
        };
        let length = (header.len() as u64).to_le_bytes();
        let written = writer.file.write_all(&length);
        let written = written.and_then(|()| writer.file.write_all(&header));
        writer.located(written)?;
        Ok(writer)
    }

    /// Writes the next tensor's elements, whose number must be that of its shape.
    pub fn push(&mut self, values: &[f32]) -> wgrad_tensor::Result<()> {
        self.append(values).map_err(refused)
    }

    fn append(&mut self, values: &[f32]) -> Result<()> {
        let path = self.path.display();
        let Some((name, count)) = self.layout.get(self.next) else {
            return Err(anyhow!(
                "{path}: a tensor too many, the layout has {}",
                self.next
            ));
        };
        ensure!(
            values.len() == *count,
            "{path}: tensor {name:?} has {} elements, its shape {count}",
            values.len()
        );
        let mut elements = values.iter();
        let written = elements.try_for_each(|value| self.file.write_all(&value.to_le_bytes()));
        self.located(written)?;
        self.next += 1;
        Ok(())
    }

    /// Brings everything to disk and renames the file to its final name.
    pub fn finish(mut self) -> wgrad_tensor::Result<()> {
        self.commit().map_err(refused)
    }

    fn commit(&mut self) -> Result<()> {
        if let Some((name, _)) = self.layout.get(self.next) {
            return Err(anyhow!(
                "{}: tensor {name:?} was not written",
                self.path.display()
            ));
        }
        let flushed = self.file.flush();
        let synced = flushed.and_then(|()| self.file.get_ref().sync_all());
        self.located(synced)?;
        std::fs::rename(&self.temporary, &self.path).map_err(|error| {
            let (from, to) = (self.temporary.display(), self.path.display());
            anyhow!("cannot rename {from} to {to}: {error}")
        })?;
        self.finished = true;
        Ok(())
    }

    fn located(&self, result: std::io::Result<()>) -> Result<()> {
        result.map_err(|error| anyhow!("cannot write {}: {error}", self.temporary.display()))
    }
}

impl Drop for SafeWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: an error is on its way to the caller already.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// The header's bytes, and each tensor's number of elements.
fn header(layout: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> Result<(Vec<u8>, Counts)> {
    let mut about: Map<String, Value> = Map::new();
    about.insert("format".into(), json!("pt"));
    for (key, value) in metadata {
        about.insert((*key).into(), json!(value));
    }
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), Value::Object(about));
    let mut names = BTreeSet::from(["__metadata__"]);
    let mut counts = Vec::with_capacity(layout.len());
    let mut offset = 0usize;
    for &(name, shape) in layout {
        ensure!(
            names.insert(name),
            "tensor name {name:?} is reserved or there twice"
        );
        let sizes = || {
            let count = shape
                .iter()
                .try_fold(1usize, |n, &size| n.checked_mul(size))?;
            Some((
                count,
                offset.checked_add(count.checked_mul(size_of::<f32>())?)?,
            ))
        };
        let (count, end) =
            sizes().with_context(|| format!("tensor {name:?}: shape {shape:?} overflows"))?;
        entries.insert(
            name.into(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}),
        );
        counts.push((name.to_owned(), count));
        offset = end;
    }
    let mut header = serde_json::to_vec(&entries)?;
    // Spaces, so that the data begins at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok((header, counts))
}

#[cfg(test)]
mod tests {
    use super::super::SafeFile;
    use super::*;
    use crate::common_tests::{TempDir, error_line};

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> (String, Vec<usize>, Vec<f32>) {
        (name.to_owned(), shape.to_vec(), values.to_vec())
    }

    fn entries(dir: &TempDir) -> usize {
        std::fs::read_dir(dir.path()).unwrap().count()
    }

    #[test]
    fn written_values_are_read_back() {
        let dir = TempDir::new();
        let path = dir.path().join("model.safetensors");
        let many: Vec<f32> = (0..50_000).map(|i| i as f32 * -0.1).collect();
        let tensors = [
            tensor(
                "z.weight",
                &[2, 2],
                &[1.0, f32::MIN_POSITIVE, -0.0, f32::NAN],
            ),
            tensor("a \"quoted\" é", &[], &[7.0]),
            tensor("many", &[500, 100], &many),
            tensor("empty", &[0, 3], &[]),
        ];
        write(&path, &tensors, &[("step", "12")]).unwrap();
        let file = SafeFile::open(&path).unwrap();
        assert_eq!(file.names().count(), 4);
        for (name, shape, values) in &tensors {
            assert_eq!(file.shape(name).unwrap(), shape.as_slice());
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&file.to_f32(name).unwrap()), bits(values));
        }
        assert_eq!(file.metadata()["format"], "pt");
        assert_eq!(file.metadata()["step"], "12");
        // The reference implementation agrees.
        let bytes = std::fs::read(&path).unwrap();
        let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(reference.tensor("many").unwrap().shape(), [500, 100]);
        // Replacing works, and no temporary file stays.
        write(&path, &tensors[..1], &[]).unwrap();
        assert_eq!(SafeFile::open(&path).unwrap().names().count(), 1);
        assert_eq!(entries(&dir), 1);
    }

    #[test]
    fn mistakes_leave_no_file() {
        let dir = TempDir::new();
        let path = dir.path().join("model.safetensors");
        let a = tensor("a", &[2], &[1.0, 2.0]);
        let line = |tensors: &[_]| error_line(write(&path, tensors, &[]));
        assert!(line(&[a.clone(), a.clone()]).contains("twice"));
        assert!(line(&[tensor("__metadata__", &[], &[1.0])]).contains("reserved"));
        assert!(line(&[a.clone(), tensor("b", &[3], &[1.0])]).contains("\"b\" has 1 elements"));
        assert!(line(&[tensor("b", &[usize::MAX, 2], &[])]).contains("overflows"));
        let mut writer = SafeWriter::create(&path, &[("a", &[1])], &[]).unwrap();
        writer.push(&[1.0]).unwrap();
        assert!(error_line(writer.push(&[1.0])).contains("too many"));
        drop(writer);
        let writer = SafeWriter::create(&path, &[("a", &[1])], &[]).unwrap();
        assert!(error_line(writer.finish()).contains("\"a\" was not written"));
        assert_eq!(entries(&dir), 0);
        let nowhere = dir.path().join("none").join("model.safetensors");
        assert!(error_line(write(&nowhere, &[a], &[])).contains("cannot write"));
    }

    #[test]
    fn an_unfinished_write_keeps_the_old_file() {
        let dir = TempDir::new();
        let path = dir.path().join("model.safetensors");
        write(&path, &[tensor("a", &[1], &[1.0])], &[]).unwrap();
        let mut writer = SafeWriter::create(&path, &[("a", &[1])], &[]).unwrap();
        writer.push(&[2.0]).unwrap();
        assert_eq!(SafeFile::open(&path).unwrap().to_f32("a").unwrap(), [1.0]);
        drop(writer);
        assert_eq!(SafeFile::open(&path).unwrap().to_f32("a").unwrap(), [1.0]);
        assert_eq!(entries(&dir), 1);
    }
}
