//! Files that made the crate panic or take gigabytes, found by fuzzing (`fuzz/`), each in its smallest form.

use serde_json::{Value, json};

use crate::testing::{TempDir, error_line};
use crate::tokenizer::TextTokenizer;

/// A tokenizer of two words, with some of its parts replaced.
fn file(parts: Value) -> Value {
    let mut file = json!({
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
        "post_processor": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "hello": 1, "world": 2}}
    });
    for (name, part) in parts.as_object().unwrap() {
        file[name] = part.clone();
    }
    file
}

fn ids(file: &Value) -> anyhow::Result<Vec<u32>> {
    let dir = TempDir::new();
    dir.write("tokenizer.json", file.to_string());
    TextTokenizer::from_dir(dir.path())?.encode("hello world")
}

fn refused(parts: Value, word: &str) {
    let line = error_line(ids(&file(parts.clone())));
    assert!(line.contains(word), "{parts}: {line}");
}

fn template(single: Value) -> Value {
    json!({"post_processor": {
        "type": "TemplateProcessing", "single": single,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [7], "tokens": ["[CLS]"]}, "[X]": {"id": "[X]", "ids": [7], "tokens": []}}
    }})
}

fn normalizer(normalizer: Value) -> Value {
    json!({ "normalizer": normalizer })
}

#[test]
fn sound_files_load() {
    assert_eq!(ids(&file(json!({}))).unwrap(), [1, 2]);
    let piece = |id| json!({"Sequence": {"id": id, "type_id": 0}});
    let cls = json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}});
    let found = ids(&file(template(json!([cls, piece("A")]))));
    assert_eq!(found.unwrap(), [7, 1, 2]);
    let lower = json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Prepend", "prepend": "hello "}]});
    assert_eq!(ids(&file(normalizer(lower))).unwrap(), [1, 1, 2]);
}

#[test]
fn a_normalizer_without_a_map_changes_nothing() {
    for map in [json!(null), json!("")] {
        let bare = json!({"type": "Precompiled", "precompiled_charsmap": map});
        assert_eq!(ids(&file(normalizer(bare.clone()))).unwrap(), [1, 2]);
        let list = json!({"type": "Sequence", "normalizers": [bare, {"type": "Lowercase"}]});
        assert_eq!(ids(&file(normalizer(list))).unwrap(), [1, 2]);
    }
}

#[test]
fn a_map_is_walked_before_it_is_used() {
    // A trie of one node for each byte, whose root leads everywhere but has no child; and no replacement.
    let map = |trie: &[u32], replacements: &[u8]| {
        let mut bytes = (trie.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(replacements);
        json!({"type": "Precompiled", "precompiled_charsmap": base64(&bytes)})
    };
    let mut trie = vec![0u32; 512];
    assert_eq!(ids(&file(normalizer(map(&trie, b"")))).unwrap(), [1, 2]);
    // `h` becomes what starts at byte 2: its unit has the label, a leaf, and leads to the base 256.
    let h = u32::from(b'h');
    trie[h as usize] = h | 1 << 8 | (256 ^ h) << 10;
    trie[256] = 2;
    assert_eq!(
        ids(&file(normalizer(map(&trie, b"x\0world \0")))).unwrap(),
        [2, 0, 2]
    );
    refused(
        normalizer(map(&trie, b"x")),
        "2, is no start of a replacement",
    );
    trie[h as usize] = h | 1 << 8 | 5000 << 10;
    refused(
        normalizer(map(&trie, b"x\0world \0")),
        "outside of the trie",
    );
    refused(normalizer(map(&trie[..100], b"")), "outside of the trie");
    for (text, word) in [
        ("/////wAA", "bytes follow"),
        ("AAAAAAA=", "bytes follow"),
        ("AAA", "not base64"),
        ("A*==", "not base64"),
        ("AAAA", "no room for the length"),
    ] {
        let damaged = json!({"type": "Precompiled", "precompiled_charsmap": text});
        refused(normalizer(damaged.clone()), word);
        refused(
            normalizer(json!({"normalizers": [damaged], "type": "Sequence"})),
            word,
        );
    }
    refused(normalizer(json!({"type": "Precompiled"})), "missing");
}

fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(*chunk.get(i).unwrap_or(&0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            match i <= chunk.len() {
                true => text.push(alphabet[(bits >> (18 - 6 * i)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

#[test]
fn settings_that_panic_inside_the_crate_are_refused_by_name() {
    refused(
        normalizer(json!({"type": "Prepend", "prepend": ""})),
        "Prepend has an empty text",
    );
    refused(
        json!({"pre_tokenizer": {"type": "FixedLength", "length": 0}}),
        "FixedLength",
    );
    let nested =
        json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]});
    refused(json!({ "pre_tokenizer": nested }), "FixedLength");
    let token = |id: &str| json!([{"SpecialToken": {"id": id, "type_id": 0}}]);
    refused(
        template(token("[SEP]")),
        "names \"[SEP]\", which its special_tokens lack",
    );
    refused(template(token("[X]")), "has 1 ids and 0 tokens");
    refused(
        template(json!([{"Sequence": {"id": "B", "type_id": 1}}])),
        "names the sequence \"B\"",
    );
    let bpe = |vocab: Value, merges: Value| json!({"model": {"type": "BPE", "continuing_subword_prefix": "##", "vocab": vocab, "merges": merges}});
    let merges = [json!(["l l"]), json!([["l", "l"]])];
    for merges in merges {
        refused(
            bpe(json!({"l": 0, "ll": 1}), merges),
            "lacks the continuing_subword_prefix \"##\"",
        );
    }
    let sound = bpe(json!({"h": 0, "##i": 1, "hi": 2}), json!(["h ##i"]));
    // `h`, and nothing for what is not in the vocabulary.
    assert_eq!(ids(&file(sound)).unwrap(), [0]);
    let vocab = json!({"[UNK]": 0, "hello": u32::MAX, "world": 2});
    refused(
        json!({"model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab}}),
        "id of 4294967295",
    );
}

#[test]
fn growth_is_bounded() {
    let twice = json!({"type": "Replace", "pattern": {"String": "l"}, "content": "ll"});
    let all =
        |part: &Value, n: usize| json!({"type": "Sequence", "normalizers": vec![part.clone(); n]});
    assert!(ids(&file(normalizer(all(&twice, 10)))).is_ok());
    refused(normalizer(all(&twice, 30)), "65536 times as long");
    let long = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "x".repeat(300)});
    refused(normalizer(all(&long, 2)), "65536 times as long");
    let bytes = json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}); 30]});
    refused(json!({ "pre_tokenizer": bytes }), "65536 times as long");
    let one = json!({"type": "Replace", "pattern": {"Regex": "x{2}"}, "content": ""});
    refused(normalizer(all(&one, 65)), "64 patterns");
    refused(
        normalizer(all(&json!({"type": "Lowercase"}), 300)),
        "256 normalizers",
    );
    let mut deep = json!({"type": "Lowercase"});
    for _ in 0..20 {
        deep = json!({"type": "Sequence", "normalizers": [deep]});
    }
    refused(normalizer(deep), "in more than 16 sequences");
    let copies = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 17];
    refused(template(json!(copies)), "17 copies of a text");
    let added = vec![json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}}); 1025];
    refused(template(json!(added)), "adds 1025 tokens");
}

#[test]
fn what_the_crate_throws_is_an_error() {
    // The crate panics on two templates one after the other: it has no code for them.
    let one = template(
        json!([{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]),
    );
    let both = vec![one["post_processor"].clone(); 2];
    let post = json!({"post_processor": {"type": "Sequence", "processors": both}});
    refused(post, "settings contradict each other (not yet implemented)");
    // A truncated file, one of another kind, a part that stands there twice.
    let dir = TempDir::new();
    for text in [
        "{\"added_tokens\":[],\"decoder\":",
        "[]",
        "{}",
        "\u{0}",
        "{\"model\":{\"vocab\":[]},\"model\":{\"vocab\":[]}}",
    ] {
        dir.write("tokenizer.json", text);
        let line = error_line(TextTokenizer::from_dir(dir.path()));
        assert!(line.contains("tokenizer.json"), "{line}");
    }
}
