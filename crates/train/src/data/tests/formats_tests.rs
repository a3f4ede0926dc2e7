//! Files that are not what their names say, and quoting.

use super::*;

#[test]
fn tab_separated_cells_are_quoted_as_csv_and_pandas_do() {
    let data = table(
        "a.tsv",
        "text\tlabel\n\"he said \"\"good\"\" twice\"\tb\n\"\"\"fully quoted\"\"\"\ta\nit's 5\" long\ta\n\"a\ttab\"\tb\n\"line one\nline two\"\tb\n",
    )
    .unwrap();
    let texts = [
        "he said \"good\" twice",
        "\"fully quoted\"",
        "it's 5\" long",
        "a\ttab",
        "line one\nline two",
    ];
    assert_eq!(data.texts, texts);
    assert_eq!(data.labels, Labels::Classes(vec![1, 0, 0, 1, 1]));
    assert_eq!(data.notes, Vec::<String>::new());
}

#[test]
fn a_lone_quotation_mark_is_text_and_said_to_be() {
    let data = table("a.tsv", "text\tlabel\n\"open\t1\nb\t0\n").unwrap();
    assert_eq!(data.texts, ["\"open", "b"]);
    assert!(
        data.notes[0].contains("1 quotation marks") && data.notes[0].contains("line 2"),
        "{:?}",
        data.notes
    );
}

#[test]
fn another_delimiter_or_format_is_named() {
    for (name, bytes, said) in [
        ("a.csv", "text\tlabel\na\tb\n", "separated by tabs"),
        ("a.tsv", "text,label\na,b\n", "separated by commas"),
        ("a.csv", "text;label\na, b;c\n", "semicolons (`;`)"),
        (
            "a.csv",
            "\"text\";\"label\"\n\"a\";\"b\"\n",
            "semicolons (`;`)",
        ),
        ("a.tsv", "text|label\na|b\n", "bars (`|`)"),
        (
            "a.csv",
            "{\"text\": \"a\", \"label\": 1}\n",
            "name the file .jsonl",
        ),
        ("a.jsonl", "text,label\na,b\n", "name the file .csv"),
        ("a.jsonl", "text\tlabel\na\tb\n", ".csv or .tsv"),
        (
            "a.csv",
            "\u{feff}\u{feff}text,label\na,b\n",
            "two byte order marks",
        ),
        (
            "a.csv",
            "text,label\na,b\n\u{feff}text,label\n",
            "line 3: a byte order mark",
        ),
        (
            "a.jsonl",
            "{\"text\":\"a\",\"label\":1}\n\u{feff}{\"text\":\"b\",\"label\":2}\n",
            "line 2: begins with a byte order mark",
        ),
        ("a.tsv", "text\tlabel\na\rb\t1\n", "carriage return alone"),
    ] {
        let line = error(name, bytes);
        assert!(line.contains(said), "{name} {bytes:?}: {line}");
    }
}

#[test]
fn encodings_are_named() {
    let utf16 = |bytes: [u8; 2], order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = "text,label\ncaf\u{e9},1\n".encode_utf16().flat_map(order);
        bytes.into_iter().chain(text).collect()
    };
    let plain = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "text,label\na,1\n".encode_utf16().flat_map(order).collect()
    };
    for (bytes, said) in [
        (utf16([0xff, 0xfe], u16::to_le_bytes), "UTF-16"),
        (utf16([0xfe, 0xff], u16::to_be_bytes), "UTF-16"),
        (plain(u16::to_le_bytes), "UTF-16 without a byte order mark"),
        (plain(u16::to_be_bytes), "UTF-16 without a byte order mark"),
        (vec![0xff, 0xfe, 0, 0, b't', 0, 0, 0], "UTF-32"),
        (b"text,label\ncaf\xe9,1\n".to_vec(), "Latin-1"),
        (b"text,label\nit\x92s,1\n".to_vec(), "Windows-1252"),
        (b"text,label\na\0b,1\n".to_vec(), "NUL byte"),
    ] {
        let line = error("a.csv", &bytes);
        assert!(line.contains(said), "{bytes:?}: {line}");
    }
}

#[test]
fn line_ends_of_every_kind() {
    let expected = ["good film", "bad film"];
    for end in ["\n", "\r\n", "\r"] {
        for (name, lines) in [
            ("a.csv", ["text,label", "good film,a", "bad film,b"]),
            ("a.tsv", ["text\tlabel", "good film\ta", "bad film\tb"]),
        ] {
            let data = table(name, lines.join(end)).unwrap();
            assert_eq!(data.texts, expected, "{name} {end:?}");
            assert_eq!(data.notes.is_empty(), end != "\r");
        }
        let json = [
            "{\"text\":\"good film\",\"label\":1}",
            "{\"text\":\"bad film\",\"label\":2}",
        ];
        assert_eq!(table("a.jsonl", json.join(end)).unwrap().texts, expected);
    }
    // Characters that some programs take for line ends are text.
    let odd = "a\u{2028}b\u{85}c\u{b}d";
    let data = table("a.csv", format!("text,label\n{odd},1\nx,2\n")).unwrap();
    assert_eq!(data.texts[0], odd);
    let json = "{\"text\":\"a\u{2028}b\",\"label\":1}\n{\"text\":\"c\",\"label\":2}\n";
    assert_eq!(table("a.jsonl", json).unwrap().texts[0], "a\u{2028}b");
}
