//! Reading one safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes.
//! <https://huggingface.co/docs/safetensors/index#format>

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

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
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::read_header(path).map_err(|error| anyhow!("{}: {error:#}", path.display()))
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
                "is {size} bytes, too short to be a safetensors file: the download is incomplete"
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
            "is {size} bytes, its header alone is {data_start}: the download is incomplete"
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
            "is {size} bytes, its header promises {promised}: the download is incomplete"
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
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// The tensor's element type as stored.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.info(name)?.dtype)
    }

    /// The file's `__metadata__`; empty where it has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor's elements in row-major order, converted to f32 from F32, F16, BF16 or F64
    /// (rounded to nearest). Any other type is an error.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let info = self.info(name)?;
        self.read_f32(info)
            .map_err(|error| anyhow!("{}: tensor {name:?}: {error:#}", self.path.display()))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.tensors
            .get(name)
            .with_context(|| format!("{}: there is no tensor {name:?}", self.path.display()))
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
mod tests {
    use super::*;
    use crate::testing::{TempDir, error_line};

    /// A file with this header text and this many zero bytes of data.
    fn bytes(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn refused(content: &[u8]) -> String {
        let dir = TempDir::new();
        let line = error_line(SafeFile::open(dir.write("model.safetensors", content)));
        assert!(line.contains("model.safetensors"), "{line}");
        line
    }

    #[test]
    fn converts_every_float_type() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},
            "f":{"dtype":"F32","shape":[1,2],"data_offsets":[16,24]},
            "i":{"dtype":"I64","shape":[],"data_offsets":[24,32]},
            "h":{"dtype":"F16","shape":[2],"data_offsets":[32,36]},
            "b":{"dtype":"BF16","shape":[2,1],"data_offsets":[36,40]},
            "z":{"dtype":"F32","shape":[0,7],"data_offsets":[40,40]}}"#;
        let mut content = bytes(header, 0);
        content.extend([0.1f64, -2.5].iter().flat_map(|v| v.to_le_bytes()));
        content.extend([1.5f32, -0.0].iter().flat_map(|v| v.to_le_bytes()));
        content.extend(7u64.to_le_bytes());
        content.extend([0x3c00u16, 0xfbff].iter().flat_map(|v| v.to_le_bytes()));
        content.extend([0x3f80u16, 0xc040].iter().flat_map(|v| v.to_le_bytes()));
        let dir = TempDir::new();
        let file = SafeFile::open(dir.write("a.safetensors", content)).unwrap();
        assert_eq!(
            file.names().collect::<Vec<_>>(),
            ["b", "d", "f", "h", "i", "z"]
        );
        assert_eq!(file.to_f32("d").unwrap(), [0.1, -2.5]);
        assert_eq!(file.to_f32("f").unwrap(), [1.5, -0.0]);
        assert_eq!(file.to_f32("h").unwrap(), [1.0, -65504.0]);
        assert_eq!(file.to_f32("b").unwrap(), [1.0, -3.0]);
        assert!(file.to_f32("z").unwrap().is_empty());
        assert_eq!(file.shape("b").unwrap(), [2, 1]);
        assert_eq!(file.dtype("i").unwrap(), Dtype::I64);
        assert_eq!(file.metadata()["format"], "pt");
        assert!(error_line(file.to_f32("i")).contains("I64"));
        assert!(error_line(file.to_f32("none")).contains("\"none\""));
    }

    #[test]
    fn refuses_what_is_no_safetensors_file() {
        let dir = TempDir::new();
        let missing = error_line(SafeFile::open(dir.path().join("model.safetensors")));
        assert!(
            missing.contains("model.safetensors: cannot open"),
            "{missing}"
        );
        assert!(error_line(SafeFile::open(dir.path())).contains("not a file"));
        assert!(refused(b"").contains("0 bytes"));
        assert!(refused(b"abc").contains("3 bytes"));
        assert!(refused(b"<!DOCTYPE html><html>").contains("not a safetensors file"));
        assert!(refused(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        assert!(refused(b"PK\x03\x04\0\0\0\0\0\0archive/data.pkl").contains("safe_serialization"));
        assert!(refused(&bytes("{not json}", 0)).contains("no JSON"));
        assert!(refused(&bytes("[1, 2]", 0)).contains("not a safetensors file"));
        let mut latin1 = bytes("{\"a_", 0);
        latin1[11] = 0xe9;
        assert!(refused(&latin1).contains("no JSON"));
    }

    #[test]
    fn refuses_hostile_headers() {
        // Lengths that would overflow, or allocate far more than the file holds.
        for length in [u64::MAX, u64::MAX - 7, 1 << 40, MAX_HEADER + 1] {
            let mut content = length.to_le_bytes().to_vec();
            content.extend(b"{\"a\":1}");
            assert!(refused(&content).contains("not a safetensors file"));
        }
        let mut content = MAX_HEADER.to_le_bytes().to_vec();
        content.extend(b"{\"a\":1}");
        assert!(refused(&content).contains("download is incomplete"));

        let one = |shape: &str, begin: usize, end: usize| {
            format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
        };
        for (header, says) in [
            (one("[2,3]", 0, 20), "does not fit"),
            (one("[2]", 8, 0), "does not fit"),
            (one("[4294967296,4294967296,4]", 0, 8), "overflows"),
            (one("[18446744073709551615]", 0, 8), "overflows"),
            (one("[-1]", 0, 8), "\"w\" is wrong"),
            (one("[2]", 4, 12), "begins at byte 4"),
            (one("[2]", 0, 8).replace("F32", "F99"), "\"w\" is wrong"),
            (r#"{"w":1}"#.to_owned(), "\"w\" is wrong"),
            (r#"{"__metadata__":{"a":1}}"#.to_owned(), "__metadata__"),
        ] {
            let line = refused(&bytes(&header, 8));
            assert!(line.contains(says), "{header}: {line}");
        }
        let two = |a: &str, b: &str| {
            let entry =
                |offsets| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
            format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
        };
        assert!(refused(&bytes(&two("[0,4]", "[2,6]"), 6)).contains("inside the one before"));
        assert!(refused(&bytes(&two("[0,4]", "[0,4]"), 4)).contains("inside the one before"));
        assert!(refused(&bytes(&two("[0,4]", "[6,10]"), 10)).contains("ends at 4"));
        let twice = two("[0,4]", "[4,8]").replace("\"b\"", "\"a\"");
        assert!(refused(&bytes(&twice, 8)).contains("\"a\" twice"));
        let same = two("[0,4]", "[0,4]").replace("\"b\"", "\"a\"");
        assert!(refused(&bytes(&same, 4)).contains("\"a\" twice"));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(refused(&bytes(&deep, 0)).contains("no JSON"));
    }

    #[test]
    fn says_how_many_bytes_are_missing() {
        let header = r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
        let whole = bytes(header, 16);
        let (size, cut) = (whole.len(), whole.len() - 5);
        let line = refused(&whole[..cut]);
        let says =
            format!("is {cut} bytes, its header promises {size}: the download is incomplete");
        assert!(line.contains(&says), "{line}");
        assert!(refused(&bytes(header, 17)).contains("damaged"));
        assert!(refused(&whole[..30]).contains("download is incomplete"));
        for cut in 0..size {
            assert!(
                refused(&whole[..cut]).contains("download is incomplete"),
                "{cut}"
            );
        }
    }
}
