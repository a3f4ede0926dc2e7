//! The header of a GGUF file: magic, version, metadata, the table of tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};

use anyhow::{Context, Result, bail, ensure};

use super::TensorInfo;
use super::block_type::BlockType;
use super::metadata::{Metadata, Value};

/// The first bytes of every file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// The most bytes that metadata and table of tensors may take: they are held in memory, and the largest
/// vocabularies take 15 MB.
const MAX_HEADER: u64 = 64 << 20;
/// The longest key, by the format's own rule.
const MAX_KEY: u64 = 65_535;
/// The longest name of a tensor, by the format's own rule.
const MAX_NAME: u64 = 64;
/// The most dimensions of a tensor, by ggml's rule.
const MAX_DIMENSIONS: u32 = 4;
/// The most elements of all arrays together. An element can take less in the file than in memory; the largest
/// vocabularies have a quarter of a million tokens and twice as many merges.
const MAX_ELEMENTS: u64 = 1 << 23;
/// The most keys, and the most tensors: real files have hundreds of either.
const MAX_ENTRIES: u64 = 1 << 18;
/// Where the tensor data begins is a multiple of this where the file does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The type of a value, by its number in the file.
mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// What the header says, checked.
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, TensorInfo>,
    pub data_start: u64,
}

/// Reads the header of a file of `size` bytes.
pub(super) fn read(file: &mut File, size: u64) -> Result<Header> {
    let mut reader = Reader {
        file: BufReader::with_capacity(1 << 16, file),
        at: 0,
        end: size.min(MAX_HEADER),
        size,
        elements: 0,
    };
    ensure!(
        size >= 4 && reader.array()? == MAGIC,
        "is not a GGUF file: it does not begin with \"GGUF\""
    );
    let version = reader.u32()?;
    match version {
        2 | 3 => {}
        1 => bail!(
            "is a GGUF file of version 1; convert it anew with llama.cpp, which writes version 3"
        ),
        other if other.swap_bytes() <= 3 => {
            bail!("is a big-endian GGUF file; only little-endian files can be read")
        }
        other => bail!("is a GGUF file of version {other}; versions 2 and 3 can be read"),
    }
    let tensor_count = reader.u64()?;
    let key_count = reader.u64()?;
    // No key with its value takes fewer than 13 bytes, no entry of the table of tensors fewer than 24.
    reader.fits(key_count, 13, "keys")?;
    reader.fits(tensor_count, 24, "tensors")?;
    ensure!(
        key_count <= MAX_ENTRIES && tensor_count <= MAX_ENTRIES,
        "claims {key_count} keys and {tensor_count} tensors; {MAX_ENTRIES} at most are allowed"
    );
    let mut entries = BTreeMap::new();
    for _ in 0..key_count {
        let key = reader.text(MAX_KEY, "a key")?;
        let value = reader
            .value()
            .with_context(|| format!("the value of `{key}`"))?;
        ensure!(!entries.contains_key(&key), "has the key `{key}` twice");
        entries.insert(key, value);
    }
    let metadata = Metadata(entries);
    let alignment = alignment(&metadata)?;
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = reader.text(MAX_NAME, "a tensor's name")?;
        let info = reader
            .tensor(alignment)
            .with_context(|| format!("tensor {name:?}"))?;
        ensure!(
            !tensors.contains_key(&name),
            "has the tensor {name:?} twice"
        );
        tensors.insert(name, info);
    }
    let data_start = reader.at.next_multiple_of(alignment);
    check_layout(&tensors, data_start, size)?;
    Ok(Header {
        metadata,
        tensors,
        data_start,
    })
}

fn alignment(metadata: &Metadata) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => Ok(*n),
        Some(other) => bail!(
            "`general.alignment` is {other:?}; it must be an unsigned power of two, at most 1048576"
        ),
    }
}

/// Checks that every tensor lies in the file and that no two share a byte.
fn check_layout(tensors: &BTreeMap<String, TensorInfo>, data_start: u64, size: u64) -> Result<()> {
    let mut by_offset: Vec<_> = tensors.iter().filter(|(_, info)| info.bytes > 0).collect();
    by_offset.sort_by_key(|(_, info)| info.offset);
    let mut last: Option<(&str, u64)> = None;
    for (name, info) in by_offset {
        let end = info.offset.checked_add(info.bytes);
        let file_end = end.and_then(|end| end.checked_add(data_start));
        let (Some(end), Some(file_end)) = (end, file_end) else {
            bail!("tensor {name:?}: offset {} overflows", info.offset);
        };
        ensure!(
            file_end <= size,
            "is {size} bytes, but tensor {name:?} ends at byte {file_end}: the file is cut short, as by an \
             interrupted download, or damaged; fetch it again"
        );
        if let Some((before, before_end)) = last {
            ensure!(
                info.offset >= before_end,
                "tensor {name:?} begins at byte {} of the data, inside {before:?}, which ends at {before_end}",
                info.offset
            );
        }
        last = Some((name, end));
    }
    Ok(())
}

/// Reads the header and counts the bytes, so that no length from the file reaches beyond its end.
struct Reader<'a> {
    file: BufReader<&'a mut File>,
    at: u64,
    /// The end of the file, or of what a header may take.
    end: u64,
    size: u64,
    /// Those of all arrays so far.
    elements: u64,
}

impl Reader<'_> {
    /// Refuses to read `bytes` more where the file ends before.
    fn need(&self, bytes: u64) -> Result<()> {
        if bytes <= self.end - self.at {
            return Ok(());
        }
        ensure!(
            bytes <= self.size - self.at,
            "is {} bytes and ends inside its header: the file is cut short, as by an interrupted download, or damaged; fetch it again",
            self.size
        );
        bail!("has a header of more than {MAX_HEADER} bytes")
    }

    /// Refuses a count of things that take at least `least` bytes each and more than are left.
    fn fits(&self, count: u64, least: u64, what: &str) -> Result<()> {
        let most = (self.end - self.at) / least;
        ensure!(
            count <= most,
            "claims {count} {what}, but the {} bytes of the file have room for {most}: it is damaged",
            self.size
        );
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).context("cannot read")?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => bail!("is {other}; a truth value is 0 or 1"),
        }
    }

    fn text(&mut self, most: u64, what: &str) -> Result<String> {
        let length = self.u64()?;
        ensure!(
            length <= most,
            "{what} claims {length} bytes, {most} at most are allowed: the file is damaged"
        );
        self.need(length)?;
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact(&mut bytes).context("cannot read")?;
        self.at += length;
        String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes());
            let shown: String = text.chars().take(40).collect();
            anyhow::anyhow!("{what} is not UTF-8: {shown:?}")
        })
    }

    fn unsigned(&mut self, kind: u32) -> Result<Option<u64>> {
        Ok(Some(match kind {
            kind::U8 => u8::from_le_bytes(self.array()?).into(),
            kind::U16 => u16::from_le_bytes(self.array()?).into(),
            kind::U32 => self.u32()?.into(),
            kind::U64 => self.u64()?,
            _ => return Ok(None),
        }))
    }

    fn signed(&mut self, kind: u32) -> Result<Option<i64>> {
        Ok(Some(match kind {
            kind::I8 => i8::from_le_bytes(self.array()?).into(),
            kind::I16 => i16::from_le_bytes(self.array()?).into(),
            kind::I32 => i32::from_le_bytes(self.array()?).into(),
            kind::I64 => i64::from_le_bytes(self.array()?),
            _ => return Ok(None),
        }))
    }

    fn float(&mut self, kind: u32) -> Result<f64> {
        match kind {
            kind::F32 => Ok(f32::from_le_bytes(self.array()?).into()),
            _ => Ok(f64::from_le_bytes(self.array()?)),
        }
    }

    fn value(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        if let Some(n) = self.unsigned(kind)? {
            return Ok(Value::Unsigned(n));
        }
        if let Some(n) = self.signed(kind)? {
            return Ok(Value::Signed(n));
        }
        Ok(match kind {
            kind::F32 | kind::F64 => Value::Float(self.float(kind)?),
            kind::BOOL => Value::Bool(self.bool()?),
            kind::TEXT => Value::Text(self.text(MAX_HEADER, "a text")?),
            kind::ARRAY => return self.values(),
            other => bail!("has the type {other}, which GGUF does not have: the file is damaged"),
        })
    }

    fn values(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        let count = self.u64()?;
        let least = match kind {
            kind::U8 | kind::I8 | kind::BOOL => 1,
            kind::U16 | kind::I16 => 2,
            kind::U32 | kind::I32 | kind::F32 => 4,
            kind::U64 | kind::I64 | kind::F64 | kind::TEXT => 8,
            kind::ARRAY => bail!("is an array of arrays, which no model needs; it cannot be read"),
            other => {
                bail!("is an array of type {other}, which GGUF does not have: the file is damaged")
            }
        };
        self.fits(count, least, "array elements")?;
        self.elements = self.elements.saturating_add(count);
        ensure!(
            self.elements <= MAX_ELEMENTS,
            "brings the elements of all arrays to {}; {MAX_ELEMENTS} at most are allowed",
            self.elements
        );
        let count = usize::try_from(count)?;
        // Grown as elements arrive: what is held is a small multiple of what the file holds.
        Ok(match kind {
            kind::TEXT => {
                let texts = (0..count).map(|_| self.text(MAX_HEADER, "an array's text"));
                Value::Texts(texts.collect::<Result<_>>()?)
            }
            kind::BOOL => Value::Bools((0..count).map(|_| self.bool()).collect::<Result<_>>()?),
            kind::F32 | kind::F64 => Value::Floats(
                (0..count)
                    .map(|_| self.float(kind))
                    .collect::<Result<_>>()?,
            ),
            _ => Value::Integers(
                (0..count)
                    .map(|_| self.integer(kind))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i64> {
        match (self.unsigned(kind)?, self.signed(kind)?) {
            (Some(n), _) => i64::try_from(n).with_context(|| format!("holds {n}, beyond 63 bits")),
            (None, Some(n)) => Ok(n),
            (None, None) => bail!("is no array of integers"),
        }
    }

    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo> {
        let dimensions = self.u32()?;
        ensure!(
            dimensions <= MAX_DIMENSIONS,
            "has {dimensions} dimensions; {MAX_DIMENSIONS} at most are allowed"
        );
        let mut sides = Vec::with_capacity(MAX_DIMENSIONS as usize);
        for _ in 0..dimensions {
            sides.push(self.u64()?);
        }
        let id = self.u32()?;
        let block_type = BlockType::from_id(id)
            .with_context(|| format!("is stored in format {id}, which is not known"))?;
        let offset = self.u64()?;
        ensure!(
            offset.is_multiple_of(alignment),
            "begins at byte {offset} of the data, which is no multiple of the alignment {alignment}"
        );
        let first = sides.first().copied().unwrap_or(1);
        ensure!(
            first.is_multiple_of(block_type.elements() as u64),
            "has rows of {first} elements, which do not divide into the blocks of {} of {}",
            block_type.elements(),
            block_type.name()
        );
        // Multiplied without the zeros, so that 0 x 2^63 x 2 overflows too.
        let count = sides
            .iter()
            .filter(|side| **side > 0)
            .try_fold(1u64, |count, side| count.checked_mul(*side))
            .filter(|count| i64::try_from(*count).is_ok())
            .with_context(|| format!("shape {sides:?} overflows"))?;
        let blocks = match sides.contains(&0) {
            true => 0,
            false => count / block_type.elements() as u64,
        };
        let bytes = blocks
            .checked_mul(block_type.bytes() as u64)
            .with_context(|| format!("shape {sides:?} overflows"))?;
        let shape = sides.iter().rev().map(|side| usize::try_from(*side));
        Ok(TensorInfo {
            shape: shape.collect::<Result<_, _>>()?,
            block_type,
            offset,
            bytes,
        })
    }
}
