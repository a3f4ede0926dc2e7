//! Reading one safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes.
//! <https://huggingface.co/docs/safetensors/index#format>

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ::safetensors::tensor::{Dtype, TensorInfo};
use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::refused;

/// The format's own limit on the JSON header, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// An open safetensors file whose header has been read and checked against the file's size.
///
/// Tensors are read from disk one at a time when asked for, in blocks of 64 KiB, so that the
/// memory used is that of the result.
#[derive(Debug)]
pub struct SafeFile {
    path: PathBuf,
    file: Mutex<File>,
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl SafeFile {
    /// Opens the file and reads its header.
    ///
    /// Errors: the file is missing, is cut short, is no safetensors file, names a tensor twice,
    /// or has a header that is inconsistent: a shape that does not fit its bytes, tensors that
    /// overlap or leave bytes between them, sizes that overflow. Nothing is allocated by a size
    /// found in the file before that size is known to fit in it.
    pub fn open(path: impl AsRef<Path>) -> wgrad_tensor::Result<Self> {
        let path = path.as_ref();
        Self::read_header(path).map_err(|error| refused(anyhow!("{}: {error:#}", path.display())))
    }

    fn read_header(path: &Path) -> Result<Self> {
        let mut file = File::open(path).context("cannot open")?;
        let about = file.metadata().context("cannot read its size")?;
        ensure!(about.is_file(), "is not a file");
        let size = about.len();
        let mut start = Vec::new();
        Read::by_ref(&mut file)
            .take(16)
            .read_to_end(&mut start)
            .context("cannot read")?;
        if start.get(8) != Some(&b'{') {
            check_kind(&start)?;
        }
        let Some(length) = start.first_chunk::<8>().copied().map(u64::from_le_bytes) else {
            bail!(
                "is {size} bytes, too short to be a safetensors file: the file is cut short, as by an interrupted download"
            );
        };
        ensure!(
            length <= MAX_HEADER && start.get(8).is_none_or(|&byte| byte == b'{'),
            "is not a safetensors file: it does not begin with a header"
        );
        // `length` is at most MAX_HEADER, so none of these additions can overflow.
        let data_start = 8 + length;
        ensure!(
            data_start <= size,
            "is {size} bytes, its header alone is {data_start}: the file is cut short, as by an interrupted download"
        );
        let mut header = vec![0; usize::try_from(length)?];
        file.seek(SeekFrom::Start(8)).context("cannot read")?;
        file.read_exact(&mut header).context("cannot read")?;
        let (tensors, metadata) = parse_header(&header)?;
        let end = check_layout(&tensors)?;
        let promised = data_start
            .checked_add(end)
            .context("the header's sizes overflow")?;
        ensure!(
            size >= promised,
            "is {size} bytes, its header promises {promised}: the file is cut short, as by an interrupted download"
        );
        ensure!(
            size == promised,
            "is {size} bytes, its header promises {promised}: the file is damaged"
        );
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            data_start,
            tensors,
            metadata,
        })
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor's shape as stored, outermost dimension first.
    pub fn shape(&self, name: &str) -> wgrad_tensor::Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// The tensor's element type as stored.
    pub fn dtype(&self, name: &str) -> wgrad_tensor::Result<Dtype> {
        Ok(self.info(name)?.dtype)
    }

    /// The file's `__metadata__`; empty where it has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor's elements in row-major order, converted to f32 from F32, F16, BF16 or F64
    /// (rounded to nearest). Any other type is an error.
    pub fn to_f32(&self, name: &str) -> wgrad_tensor::Result<Vec<f32>> {
        let info = self.info(name)?;
        self.read_f32(info).map_err(|error| {
            refused(anyhow!(
                "{}: tensor {name:?}: {error:#}",
                self.path.display()
            ))
        })
    }

    fn info(&self, name: &str) -> wgrad_tensor::Result<&TensorInfo> {
        self.tensors
            .get(name)
            .with_context(|| format!("{}: there is no tensor {name:?}", self.path.display()))
            .map_err(refused)
    }

    fn read_f32(&self, info: &TensorInfo) -> Result<Vec<f32>> {
        let (width, convert): (usize, Convert) = match info.dtype {
            Dtype::F32 => (4, |bytes, out| {
                let element = |c: &[u8]| f32::from_le_bytes([c[0], c[1], c[2], c[3]]);
                out.extend(bytes.chunks_exact(4).map(element));
            }),
            Dtype::F16 => (2, |bytes, out| {
                let element = |c: &[u8]| f16::from_le_bytes([c[0], c[1]]).to_f32();
                out.extend(bytes.chunks_exact(2).map(element));
            }),
            Dtype::BF16 => (2, |bytes, out| {
                let element = |c: &[u8]| bf16::from_le_bytes([c[0], c[1]]).to_f32();
                out.extend(bytes.chunks_exact(2).map(element));
            }),
            Dtype::F64 => (8, |bytes, out| {
                let element = |c: &[u8]| {
                    f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]) as f32
                };
                out.extend(bytes.chunks_exact(8).map(element));
            }),
            other => bail!("is {other:?}; weights must be F32, F16, BF16 or F64"),
        };
        let (begin, end) = info.data_offsets;
        let mut left = end - begin;
        let mut values = Vec::new();
        values
            .try_reserve_exact(left / width)
            .with_context(|| format!("no memory for {} elements", left / width))?;
        let mut block = [0; 1 << 16];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.data_start + begin as u64))
            .context("cannot read")?;
        while left > 0 {
            let bytes = &mut block[..left.min(1 << 16)];
            file.read_exact(bytes)
                .context("cannot read; the file has become shorter since it was opened")?;
            convert(bytes, &mut values);
            left -= bytes.len();
        }
        Ok(values)
    }
}

/// Appends the elements that these bytes hold.
type Convert = fn(&[u8], &mut Vec<f32>);

/// Names the files that people most often have in place of a safetensors file.
fn check_kind(start: &[u8]) -> Result<()> {
    ensure!(
        !start.starts_with(b"version https"),
        "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`"
    );
    ensure!(
        !start.starts_with(b"PK\x03\x04") && !start.starts_with(b"\x80\x02"),
        "is a PyTorch pickle, not a safetensors file; pickles are not read because they can run \
         code: convert it in Python with save_pretrained(..., safe_serialization=True)"
    );
    Ok(())
}

type Header = (BTreeMap<String, TensorInfo>, BTreeMap<String, String>);

fn parse_header(header: &[u8]) -> Result<Header> {
    let entries: Entries = serde_json::from_slice(header)
        .map_err(|error| anyhow!("is not a safetensors file: its header is no JSON: {error}"))?;
    let mut tensors = BTreeMap::new();
    let mut metadata = None;
    for (name, value) in entries.0 {
        let twice = if name == "__metadata__" {
            let map = serde_json::from_value(value)
                .map_err(|error| anyhow!("__metadata__ must map strings to strings: {error}"))?;
            metadata.replace(map).is_some()
        } else {
            let info = serde_json::from_value(value)
                .map_err(|error| anyhow!("the header's entry for {name:?} is wrong: {error}"))?;
            tensors.insert(name.clone(), info).is_some()
        };
        ensure!(!twice, "the header names {name:?} twice");
    }
    Ok((tensors, metadata.unwrap_or_default()))
}

/// Checks every shape against its bytes and that the tensors lie one after the other, without
/// overlaps or holes, as the format demands. Returns where the last one ends.
fn check_layout(tensors: &BTreeMap<String, TensorInfo>) -> Result<u64> {
    let mut by_offset: Vec<_> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, info)| info.data_offsets);
    let mut last_end = 0;
    for (name, info) in by_offset {
        let (begin, end) = info.data_offsets;
        let bits = info
            .shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size))
            .and_then(|count| count.checked_mul(info.dtype.bitsize()))
            .with_context(|| format!("tensor {name:?}: shape {:?} overflows", info.shape))?;
        ensure!(
            begin <= end && bits.is_multiple_of(8) && end - begin == bits / 8,
            "tensor {name:?}: shape {:?} of {:?} does not fit its bytes {begin} to {end}",
            info.shape,
            info.dtype
        );
        ensure!(
            begin >= last_end,
            "tensor {name:?} begins at byte {begin}, inside the one before, which ends at {last_end}"
        );
        ensure!(
            begin == last_end,
            "tensor {name:?} begins at byte {begin}, but the one before ends at {last_end}"
        );
        last_end = end;
    }
    Ok(last_end as u64)
}

/// A JSON object's entries in order, duplicates kept: a map would hide them.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;
            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors by name")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests;
