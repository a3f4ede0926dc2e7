//! Folders with each form of a tokenizer.

use super::*;
use crate::testing::{TempDir, error_line};

const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##s\n!\n中\nHello\ncafe\n";

fn vocab_dir() -> TempDir {
    let dir = TempDir::new();
    dir.write("vocab.txt", VOCAB);
    dir
}

fn encode(dir: &TempDir, text: &str, max_length: usize) -> Vec<u32> {
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    tokenizer
        .encode_batch(&[text], max_length)
        .unwrap()
        .remove(0)
}

/// `tokenizer.json` of that vocabulary, with padding and truncation stored in it.
fn json_dir(lowercase: bool) -> TempDir {
    let dir = vocab_dir();
    let settings = Settings::read(dir.path(), &Map::new()).unwrap();
    let tokenizer = word_piece(dir.path(), &settings).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
    json["normalizer"]["lowercase"] = json!(lowercase);
    json["truncation"] =
        json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0,
        "pad_type_id": 0, "pad_token": "[PAD]", "pad_to_multiple_of": null});
    dir.write("tokenizer.json", json.to_string());
    std::fs::remove_file(dir.path().join("vocab.txt")).unwrap();
    dir
}

#[test]
fn builds_word_piece_from_vocab_txt() {
    let dir = vocab_dir();
    assert_eq!(encode(&dir, "HELLO  worlds!", 64), [2, 5, 6, 7, 8, 3]);
    assert_eq!(encode(&dir, "Café\u{0}\t中x", 64), [2, 11, 9, 1, 3]);
    assert_eq!(encode(&dir, "", 64), [2, 3]);
    assert_eq!(encode(&dir, "hello[SEP]world", 64), [2, 5, 3, 6, 3]);
    dir.write("tokenizer_config.json", r#"{"do_lower_case": false}"#);
    assert_eq!(encode(&dir, "Hello HELLO café", 64), [2, 10, 1, 1, 3]);
    dir.write("vocab.txt", VOCAB.replace('\n', "\r\n"));
    assert_eq!(encode(&dir, "hello world", 64), [2, 5, 6, 3]);
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    assert_eq!(
        (tokenizer.vocab_size(), tokenizer.token_to_id("[SEP]")),
        (12, Some(3))
    );
}

#[test]
fn stored_padding_and_truncation_are_dropped() {
    let dir = json_dir(true);
    assert_eq!(
        encode(&dir, "hello world world world!", 64),
        [2, 5, 6, 6, 6, 8, 3]
    );
    assert_eq!(encode(&dir, "hello", 64), [2, 5, 3]);
}

#[test]
fn truncation_counts_the_special_tokens() {
    let dir = vocab_dir();
    let long = "hello world worlds ".repeat(300);
    for max_length in 2..20 {
        let ids = encode(&dir, &long, max_length);
        assert_eq!(ids.len(), max_length);
        assert_eq!((ids[0], ids[max_length - 1]), (2, 3));
    }
    assert_eq!(encode(&dir, "hello world!", 4), [2, 5, 6, 3]);
    dir.write("tokenizer_config.json", r#"{"truncation_side": "left"}"#);
    assert_eq!(encode(&dir, "hello world!", 4), [2, 6, 8, 3]);
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    assert!(error_line(tokenizer.encode_batch(&["a"], 1)).contains("max_seq_length of 1"));
}

#[test]
fn tokenizer_config_decides_about_case_as_in_transformers() {
    let dir = json_dir(false);
    assert_eq!(encode(&dir, "Hello", 8), [2, 5, 3]);
    dir.write(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#,
    );
    assert_eq!(encode(&dir, "Hello", 8), [2, 10, 3]);
    dir.write("tokenizer_config.json", r#"{"do_lower_case": false}"#);
    assert_eq!(encode(&dir, "Hello", 8), [2, 10, 3]);
}

#[test]
fn batches_larger_than_a_chunk_keep_their_order() {
    let dir = vocab_dir();
    let tokenizer = TextTokenizer::from_dir(dir.path()).unwrap();
    let texts: Vec<&str> = (0..CHUNK + 3)
        .map(|i| ["hello", "world !"][i % 2])
        .collect();
    let rows = tokenizer.encode_batch(&texts, 16).unwrap();
    assert_eq!(rows.len(), texts.len());
    let right = |(i, row): (usize, &Vec<u32>)| row[1] == [5, 6][i % 2];
    assert!(rows.iter().enumerate().all(right));
    assert_eq!(tokenizer.encode_batch(&[], 16).unwrap().len(), 0);
}

#[test]
fn errors_name_the_file_and_the_way_out() {
    let dir = TempDir::new();
    let refused = || error_line(TextTokenizer::from_dir(dir.path()));
    assert!(refused().contains("expected tokenizer.json"));
    dir.write("vocab.txt", "hello\n[UNK]\n[CLS]\n");
    assert!(refused().contains("vocab.txt: has no token \"[SEP]\""));
    dir.write("vocab.txt", b"\xff");
    assert!(refused().contains("not UTF-8"));
    dir.write("vocab.txt", "");
    assert!(refused().contains("is empty"));
    dir.write("tokenizer.json", "{\n\"version\": 1");
    assert!(refused().contains("tokenizer.json: "));
    dir.write("tokenizer_config.json", r#"{"do_lower_case": "yes"}"#);
    assert!(refused().contains("do_lower_case is \"yes\""));
}
