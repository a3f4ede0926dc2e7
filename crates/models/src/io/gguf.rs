//! GGUF files, versions 2 and 3: metadata, and tensors in the block formats of ggml.
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::safetensors::check_finite;

mod block_type;
mod dequantize;
mod header;
mod metadata;
#[cfg(test)]
mod tests;

pub use block_type::BlockType;
pub use metadata::{Metadata, Value};

/// What a file says about one of its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Outermost dimension first, as in PyTorch; the file holds the reverse.
    pub shape: Vec<usize>,
    /// How the elements are stored.
    pub block_type: BlockType,
    /// Where the tensor's bytes begin, from the start of the tensor data.
    offset: u64,
    /// The number of bytes.
    bytes: u64,
}

/// An open GGUF file whose header has been read and checked against the file's size.
///
/// Tensors are read from the disk one at a time when they are asked for, in parts of 64 KiB, so that the
/// memory used is that of the result.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: Mutex<File>,
    metadata: Metadata,
    tensors: BTreeMap<String, TensorInfo>,
    data_start: u64,
}

impl GgufFile {
    /// Whether the file begins as a GGUF file does. A file that cannot be read does not.
    pub fn is_gguf(path: impl AsRef<Path>) -> bool {
        let mut magic = [0; 4];
        File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok_and(|()| magic == header::MAGIC)
    }

    /// Opens the file and reads its header.
    ///
    /// Errors: the file is missing, is cut short, is no GGUF file of version 2 or 3; a key or a tensor is
    /// named twice; a text is not UTF-8; a count, a size or an offset does not fit in the file; tensors
    /// overlap. No memory is taken for a size found in the file before that size is known to fit in it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::read_header(path).map_err(|error| anyhow!("{}: {error:#}", path.display()))
    }

    fn read_header(path: &Path) -> Result<Self> {
        let mut file = File::open(path).context("cannot open")?;
        let about = file.metadata().context("cannot read its size")?;
        ensure!(about.is_file(), "is not a file");
        ensure!(
            path.extension().is_none_or(|end| end != "safetensors"),
            "is a safetensors file, which holds weights only; give the model folder that it lies in"
        );
        let header = header::read(&mut file, about.len())?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            metadata: header.metadata,
            tensors: header.tensors,
            data_start: header.data_start,
        })
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What the file says about a tensor, or `None` where there is none of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The tensor's elements in row-major order, dequantised to f32. Errors: there is no tensor of this
    /// name, its format is not supported, an element is not finite.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let info = self
            .tensors
            .get(name)
            .with_context(|| format!("{}: there is no tensor {name:?}", self.path.display()))?;
        let values = self.read_f32(info);
        let values = values.and_then(|values| check_finite(name, &values).map(|()| values));
        values.map_err(|error| anyhow!("{}: tensor {name:?}: {error:#}", self.path.display()))
    }

    fn read_f32(&self, info: &TensorInfo) -> Result<Vec<f32>> {
        let Some(dequantize) = dequantize::rule(info.block_type) else {
            bail!(
                "is stored as {}, which cannot be read yet; readable are {}",
                info.block_type.name(),
                dequantize::readable()
            );
        };
        let count = info.shape.iter().product();
        let mut values = Vec::new();
        values
            .try_reserve_exact(count)
            .with_context(|| format!("no memory for {count} elements"))?;
        let (elements, bytes) = (info.block_type.elements(), info.block_type.bytes());
        let mut left = usize::try_from(info.bytes)?;
        let mut part = vec![0; (1 << 16) / bytes * bytes];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.data_start + info.offset))
            .context("cannot read")?;
        while left > 0 {
            let length = left.min(part.len());
            let part = &mut part[..length];
            file.read_exact(part)
                .context("cannot read; the file has become shorter since it was opened")?;
            for block in part.chunks_exact(bytes) {
                let start = values.len();
                values.resize(start + elements, 0.0);
                dequantize(block, &mut values[start..]);
            }
            left -= length;
        }
        Ok(values)
    }
}
