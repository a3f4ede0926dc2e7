//! Sound, damaged and hostile files.

use super::*;
use crate::testing::{TempDir, error_line};

const VECTORS: &[u8] = include_bytes!("testdata/vectors.gguf");

/// Writes a file's parts one after the other.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(version: u32, tensors: u64, keys: u64) -> Self {
        let bytes = Self(b"GGUF".to_vec()).u32(version);
        bytes.u64(tensors).u64(keys)
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    fn u32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn u64(self, n: u64) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn text(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.u64(text.len() as u64).raw(text)
    }
    /// An entry of the table of tensors.
    fn tensor(self, name: &str, sides: &[u64], id: u32, offset: u64) -> Self {
        let mut bytes = self.text(name).u32(sides.len() as u32);
        for side in sides {
            bytes = bytes.u64(*side);
        }
        bytes.u32(id).u64(offset)
    }
    /// Zeros up to a multiple of 32, then `data` bytes.
    fn data(mut self, data: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + data, 0);
        self
    }
}

fn open(bytes: &[u8]) -> Result<GgufFile> {
    let dir = TempDir::new();
    GgufFile::open(dir.write("model.gguf", bytes))
}

#[track_caller]
fn refused(bytes: &Bytes, says: &str) {
    let line = error_line(open(&bytes.0));
    assert!(
        line.contains("model.gguf: ") && line.contains(says),
        "{line}"
    );
}

#[test]
fn reads_what_the_gguf_package_wrote() {
    let file = open(VECTORS).unwrap();
    let metadata = file.metadata();
    assert_eq!(
        metadata.text("general.architecture").unwrap(),
        Some("vectors")
    );
    assert_eq!(
        metadata.integers("vectors.integers").unwrap(),
        Some(&[1, -2, 3][..])
    );
    assert_eq!(
        metadata.floats("vectors.floats").unwrap(),
        Some(&[0.5, -2.0][..])
    );
    assert_eq!(metadata.bool("vectors.bool").unwrap(), Some(true));
    assert_eq!(metadata.size("vectors.unsigned").unwrap(), Some(1 << 40));
    assert_eq!(metadata.float("vectors.float").unwrap(), Some(0.25));
    assert_eq!(metadata.get("vectors.signed"), Some(&Value::Signed(-7)));
    assert_eq!(metadata.size("vectors.absent").unwrap(), None);
    assert!(error_line(metadata.size("vectors.signed")).contains("`vectors.signed` is -7"));
    assert!(error_line(metadata.text("vectors.bool")).contains("a truth value; it must be a text"));
    let absent = Metadata::need("vectors.absent", metadata.text("vectors.absent"));
    assert!(error_line(absent).contains("no `vectors.absent`"));
}

#[test]
fn dequantises_to_the_bits_of_the_gguf_package() {
    let file = open(VECTORS).unwrap();
    let types = file.metadata().texts("vectors.types").unwrap().unwrap();
    assert_eq!(types.len(), 13);
    for name in types {
        let bits = |name: &str| -> Vec<u32> {
            let values = file.to_f32(name).unwrap();
            values.iter().map(|value| value.to_bits()).collect()
        };
        let expected = format!("{name}.expected");
        assert_eq!(file.tensor(name).unwrap().block_type.name(), name);
        assert_eq!(
            file.tensor(name).unwrap().shape,
            file.tensor(&expected).unwrap().shape
        );
        // -0 and 0 are the same element.
        let same = |a: &u32, b: &u32| a == b || (a | b) << 1 == 0;
        let (found, expected) = (bits(name), bits(&expected));
        assert_eq!(found.len(), expected.len());
        let wrong = found.iter().zip(&expected).position(|(a, b)| !same(a, b));
        assert_eq!(wrong, None, "{name}");
    }
    assert!(error_line(file.to_f32("none")).contains("no tensor \"none\""));
}

#[test]
fn formats_that_cannot_be_read_are_named() {
    let bytes = Bytes::header(3, 2, 0)
        .tensor("iq", &[256, 1], 16, 0)
        .tensor("nan", &[1], 0, 96)
        .data(96)
        .raw(&f32::NAN.to_le_bytes());
    let file = open(&bytes.0).unwrap();
    assert!(
        error_line(file.to_f32("iq"))
            .contains("IQ2_XXS, which cannot be read yet; readable are F32,")
    );
    assert!(error_line(file.to_f32("nan")).contains("must be finite"));
    // Every format that has a rule has a block that fits it.
    for block_type in BlockType::all() {
        if let Some(rule) = dequantize::rule(block_type) {
            rule(
                &vec![0xff; block_type.bytes()],
                &mut vec![0.0; block_type.elements()],
            );
        }
        assert_eq!(BlockType::from_id(block_type.id()), Some(block_type));
    }
}

#[test]
fn refuses_what_is_no_gguf_file() {
    let dir = TempDir::new();
    assert!(error_line(GgufFile::open(dir.path().join("a.gguf"))).contains("cannot open"));
    assert!(error_line(GgufFile::open(dir.path())).contains("not a file"));
    for start in [&b""[..], b"GGU", b"PK\x03\x04", b"GGML\x03\0\0\0"] {
        refused(&Bytes(start.to_vec()), "not a GGUF file");
    }
    refused(&Bytes(b"GGUF".to_vec()), "cut short");
    refused(&Bytes::header(1, 0, 0), "version 1;");
    refused(&Bytes::header(4, 0, 0), "version 4;");
    refused(&Bytes::header(3 << 24, 0, 0), "big-endian");
    assert!(open(&Bytes::header(2, 0, 0).0).is_ok());
    assert!(GgufFile::is_gguf(dir.write("b.gguf", b"GGUF")));
    assert!(!GgufFile::is_gguf(dir.write("c.gguf", b"GGU")));
}

#[test]
fn refuses_counts_and_lengths_beyond_the_file() {
    refused(&Bytes::header(3, 0, u64::MAX), "keys, but the 24 bytes");
    refused(&Bytes::header(3, u64::MAX, 0), "tensors, but the 24 bytes");
    refused(&Bytes::header(3, 0, 1).raw(&[0; 8]), "keys, but");
    let key = |bytes: Bytes| bytes.data(64);
    refused(&key(Bytes::header(3, 0, 1).u64(u64::MAX)), "a key claims");
    refused(&key(Bytes::header(3, 0, 1).u64(60_000)), "cut short");
    let one = || Bytes::header(3, 0, 1).text("k");
    refused(&key(one().u32(8).u64(1 << 40)), "a text claims");
    refused(&key(one().u32(8).u64(1 << 20)), "cut short");
    refused(&key(one().u32(9).u32(0).u64(u64::MAX)), "array elements");
    refused(&key(one().u32(9).u32(8).u64(1 << 30)), "array elements");
    refused(&key(one().u32(9).u32(9).u64(1)), "array of arrays");
    // More than there can be of in a sound file, although the file has the bytes.
    let bytes = vec![0; (1 << 23) + 1];
    let array = key(one().u32(9).u32(0).u64(bytes.len() as u64)).raw(&bytes);
    refused(&array, "8388608 at most are allowed");
    let many = Bytes::header(3, 0, (1 << 18) + 1).raw(&vec![0; 4 << 20]);
    refused(&many, "262144 at most are allowed");
    refused(&key(one().u32(9).u32(13).u64(1)), "array of type 13");
    refused(&key(one().u32(13)), "type 13");
    refused(&key(one().u32(7).raw(&[2])), "a truth value is 0 or 1");
    refused(
        &key(one().u32(9).u32(10).u64(1).u64(u64::MAX)),
        "beyond 63 bits",
    );
    refused(
        &key(Bytes::header(3, 0, 1).text(b"\xff\xfe").u32(4)),
        "a key is not UTF-8",
    );
    refused(&key(one().u32(8).text(b"a\xe9b")), "a text is not UTF-8");
    refused(
        &key(Bytes::header(3, 0, 2)
            .text("k")
            .u32(4)
            .u32(1)
            .text("k")
            .u32(4)),
        "`k` twice",
    );
    for wrong in [0u32, 3, 1 << 31] {
        let bytes = Bytes::header(3, 0, 1)
            .text("general.alignment")
            .u32(4)
            .u32(wrong);
        refused(&key(bytes), "power of two");
    }
    let signed = Bytes::header(3, 0, 1)
        .text("general.alignment")
        .u32(5)
        .u32(32);
    refused(&key(signed), "power of two");
}

#[test]
fn refuses_tensors_that_do_not_fit() {
    let one = |sides: &[u64], id, offset| Bytes::header(3, 1, 0).tensor("w", sides, id, offset);
    assert!(open(&one(&[8], 0, 0).data(32).0).is_ok());
    refused(&one(&[8], 0, 0).data(31), "cut short");
    refused(&one(&[8], 0, 32).data(32), "cut short");
    refused(&one(&[8], 0, 4).data(64), "multiple of the alignment 32");
    refused(&one(&[8], 0, u64::MAX - 31).data(64), "overflows");
    refused(&one(&[8], 4, 0).data(64), "format 4");
    refused(&one(&[8], u32::MAX, 0).data(64), "format 4294967295");
    refused(
        &one(&[8], 2, 0).data(64),
        "do not divide into the blocks of 32",
    );
    refused(&one(&[1; 5], 0, 0).data(64), "5 dimensions");
    for sides in [
        &[1 << 32, 1 << 32][..],
        &[u64::MAX],
        &[i64::MAX as u64, 2],
        &[0, 1 << 63, 2],
        &[1 << 62, 1],
    ] {
        refused(&one(sides, 0, 0).data(64), "overflows");
    }
    refused(&one(&[1 << 61, 1], 0, 0).data(64), "ends at byte");
    let name = "n".repeat(65);
    refused(
        &Bytes::header(3, 1, 0).tensor(&name, &[8], 0, 0).data(64),
        "name claims 65 bytes",
    );
    let two = |first: &str, offset| {
        let bytes = Bytes::header(3, 2, 0).tensor(first, &[16], 0, 0);
        bytes.tensor("b", &[8], 0, offset).data(128)
    };
    assert!(open(&two("a", 64).0).is_ok());
    refused(
        &two("a", 32),
        "\"b\" begins at byte 32 of the data, inside \"a\"",
    );
    refused(&two("a", 0), "inside");
    refused(&two("b", 64), "the tensor \"b\" twice");
    // A tensor without elements, and one without dimensions.
    let empty = one(&[8, 0], 0, 0).data(0);
    assert!(open(&empty.0).unwrap().to_f32("w").unwrap().is_empty());
    let scalar = one(&[], 0, 0).data(4);
    assert_eq!(open(&scalar.0).unwrap().to_f32("w").unwrap(), [0.0]);
}

#[test]
fn no_truncation_and_no_flipped_bit_panics() {
    let dir = TempDir::new();
    let small = Bytes::header(3, 2, 3)
        .text("general.alignment")
        .u32(4)
        .u32(32)
        .text("texts")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("é")
        .text("ids")
        .u32(9)
        .u32(5)
        .u64(2)
        .u32(1)
        .u32(2)
        .tensor("a", &[32, 2], 2, 0)
        .tensor("b", &[4], 0, 64)
        .data(80)
        .0;
    let file = open(&small).unwrap();
    assert_eq!(file.tensor("a").unwrap().shape, [2, 32]);
    assert_eq!(file.to_f32("b").unwrap(), [0.0; 4]);
    let path = dir.path().join("x.gguf");
    let read_all = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(file) = GgufFile::open(&path) else {
            return false;
        };
        for name in file.names() {
            let _ = file.to_f32(name);
        }
        true
    };
    for cut in 0..small.len() {
        assert!(!read_all(&small[..cut]), "{cut}");
    }
    let mut opened = 0;
    for at in 0..small.len() {
        for bit in 0..8 {
            let mut bytes = small.clone();
            bytes[at] ^= 1 << bit;
            opened += usize::from(read_all(&bytes));
        }
        for value in [0x7f, 0xff] {
            let mut bytes = small.clone();
            bytes[at] = value;
            read_all(&bytes);
        }
    }
    // The tensors' bytes may be anything.
    assert!(opened >= 80 * 8, "{opened}");
    // The same over the start and a random choice of places of a file with every format.
    let mut state = 1u64;
    for round in 0..150usize {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut bytes = VECTORS.to_vec();
        let at = match round % 2 {
            0 => (state >> 33) as usize % 2_000,
            _ => (state >> 33) as usize % bytes.len(),
        };
        bytes[at] ^= 1 << (state >> 29 & 7);
        bytes.truncate(bytes.len() - (round % 5) * 100);
        read_all(&bytes);
    }
}
