//! Sound and damaged files.

use super::*;
use crate::common_tests::{TempDir, error_line};

/// A file with this header text and this many zero bytes of data.
fn bytes(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refused_line(content: &[u8]) -> String {
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
fn refuses_files_that_are_not_safetensors() {
    let dir = TempDir::new();
    let missing = error_line(SafeFile::open(dir.path().join("model.safetensors")));
    assert!(
        missing.contains("model.safetensors: cannot open"),
        "{missing}"
    );
    assert!(error_line(SafeFile::open(dir.path())).contains("not a file"));
    assert!(refused_line(b"").contains("0 bytes"));
    assert!(refused_line(b"abc").contains("3 bytes"));
    assert!(refused_line(b"<!DOCTYPE html><html>").contains("not a safetensors file"));
    assert!(refused_line(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(refused_line(b"PK\x03\x04\0\0\0\0\0\0archive/data.pkl").contains("safe_serialization"));
    assert!(refused_line(&bytes("{not json}", 0)).contains("no JSON"));
    assert!(refused_line(&bytes("[1, 2]", 0)).contains("not a safetensors file"));
    let mut latin1 = bytes("{\"a_", 0);
    latin1[11] = 0xe9;
    assert!(refused_line(&latin1).contains("no JSON"));
}

#[test]
fn refuses_hostile_headers() {
    // Lengths that would overflow, or allocate far more than the file holds.
    for length in [u64::MAX, u64::MAX - 7, 1 << 40, MAX_HEADER + 1] {
        let mut content = length.to_le_bytes().to_vec();
        content.extend(b"{\"a\":1}");
        assert!(refused_line(&content).contains("not a safetensors file"));
    }
    let mut content = MAX_HEADER.to_le_bytes().to_vec();
    content.extend(b"{\"a\":1}");
    assert!(refused_line(&content).contains("the file is cut short"));

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
        let line = refused_line(&bytes(&header, 8));
        assert!(line.contains(says), "{header}: {line}");
    }
    let two = |a: &str, b: &str| {
        let entry = |offsets| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b))
    };
    assert!(refused_line(&bytes(&two("[0,4]", "[2,6]"), 6)).contains("inside the one before"));
    assert!(refused_line(&bytes(&two("[0,4]", "[0,4]"), 4)).contains("inside the one before"));
    assert!(refused_line(&bytes(&two("[0,4]", "[6,10]"), 10)).contains("ends at 4"));
    let twice = two("[0,4]", "[4,8]").replace("\"b\"", "\"a\"");
    assert!(refused_line(&bytes(&twice, 8)).contains("\"a\" twice"));
    let same = two("[0,4]", "[0,4]").replace("\"b\"", "\"a\"");
    assert!(refused_line(&bytes(&same, 4)).contains("\"a\" twice"));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(refused_line(&bytes(&deep, 0)).contains("no JSON"));
}

#[test]
fn says_how_many_bytes_are_missing() {
    let header = r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let whole = bytes(header, 16);
    let (size, cut) = (whole.len(), whole.len() - 5);
    let line = refused_line(&whole[..cut]);
    let says = format!(
        "is {cut} bytes, its header promises {size}: the file is cut short, as by an interrupted download"
    );
    assert!(line.contains(&says), "{line}");
    assert!(refused_line(&bytes(header, 17)).contains("damaged"));
    assert!(refused_line(&whole[..30]).contains("the file is cut short"));
    for cut in 0..size {
        assert!(
            refused_line(&whole[..cut]).contains("the file is cut short"),
            "{cut}"
        );
    }
}
