//! Tokenizers of a small vocabulary: the 256 bytes, some merges, two special tokens.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::io::gguf::{Metadata, Value};
use crate::testing::error_line;
use crate::tokenizer::TextTokenizer;

const MERGES: [&str; 7] = ["h i", "Ġ Ġ", "1 2", "Ċ Ċ", "Ġ hi", "12 3", "' s"];

fn tokens() -> Vec<String> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let bytes = alphabet.iter().map(char::to_string);
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let special = ["<|end|>", "<think>"].map(String::from);
    bytes.chain(merged).chain(special).collect()
}

fn metadata(pre: &str) -> Vec<(String, Value)> {
    let tokens = tokens();
    let mut types = vec![1; tokens.len()];
    let count = types.len();
    types[count - 2..].copy_from_slice(&[3, 4]);
    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
    [
        ("model", Value::Text("gpt2".into())),
        ("pre", Value::Text(pre.into())),
        ("merges", texts(&MERGES)),
        ("token_type", Value::Integers(types)),
        ("bos_token_id", Value::Unsigned(count as u64 - 2)),
        ("eos_token_id", Value::Unsigned(count as u64 - 2)),
        ("tokens", Value::Texts(tokens)),
    ]
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .to_vec()
}

fn build(entries: Vec<(String, Value)>) -> anyhow::Result<TextTokenizer> {
    TextTokenizer::from_gguf(&entries.into_iter().collect::<Metadata>())
}

/// The tokens of a text as they stand in the vocabulary.
#[track_caller]
fn pieces(pre: &str, text: &str, expected: &[&str]) {
    let tokenizer = build(metadata(pre)).unwrap();
    let ids = tokenizer.encode(text).unwrap();
    let all = tokens();
    let found: Vec<&str> = ids.iter().map(|id| all[*id as usize].as_str()).collect();
    assert_eq!(found, expected, "{pre} {text:?}");
    // Streamed or at once, the text comes back.
    let mut stream = tokenizer.stream(false);
    let mut streamed = String::new();
    for id in &ids {
        streamed += &stream.push(*id).unwrap();
    }
    streamed += &stream.finish().unwrap();
    assert_eq!(streamed, tokenizer.decode(&ids, false).unwrap());
    assert_eq!(streamed.strip_prefix("<|end|>").unwrap_or(&streamed), text);
}

#[test]
fn words_are_cut_as_the_kind_says() {
    pieces("smollm", "hi  123", &["hi", "ĠĠ", "1", "2", "3"]);
    pieces("gpt-2", "hi  123", &["hi", "Ġ", "Ġ", "123"]);
    pieces("qwen2", "hi  123", &["hi", "Ġ", "Ġ", "1", "2", "3"]);
    pieces("llama-bpe", "1234", &["<|end|>", "123", "4"]);
    pieces("smollm", "\n\n1", &["ĊĊ", "1"]);
    pieces("gpt-2", "\n\n1", &["Ċ", "Ċ", "1"]);
    pieces("gpt-2", "hi's", &["hi", "'s"]);
    pieces("smollm", "", &[]);
}

#[test]
fn whole_tokens_and_bytes_that_make_a_character() {
    pieces("smollm", "hi<|end|> hi", &["hi", "<|end|>", "Ġhi"]);
    pieces(
        "smollm",
        "<think>hi<|end|",
        &["<think>", "hi", "<", "|", "e", "n", "d", "|"],
    );
    pieces("smollm", "é", &["Ã", "©"]);
    pieces("smollm", "\u{1F600}", &["ð", "Ł", "ĺ", "Ģ"]);
    let tokenizer = build(metadata("smollm")).unwrap();
    let ids = tokenizer.encode("hi<|end|>é").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "hié");
    let mut stream = tokenizer.stream(true);
    let parts: Vec<String> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    assert_eq!(parts, ["hi", "", "", "é"]);
    // An unfinished character becomes the replacement character.
    let mut stream = tokenizer.stream(true);
    assert_eq!(stream.push(ids[2]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn beginning_and_end_are_added_where_the_file_says_so() {
    let mut entries = metadata("smollm");
    entries.push(("tokenizer.ggml.add_bos_token".into(), Value::Bool(true)));
    entries.push(("tokenizer.ggml.add_eos_token".into(), Value::Bool(true)));
    let end = tokens().len() as u32 - 2;
    let tokenizer = build(entries).unwrap();
    let ids = tokenizer.encode("hi").unwrap();
    assert_eq!((ids.len(), ids[0], ids[2]), (3, end, end));
    assert_eq!(tokenizer.encode("").unwrap(), [end, end]);
    assert_eq!(
        tokenizer.encode_batch(&["hi hi hi"], 3).unwrap(),
        [[end, ids[1], end]]
    );
}

#[test]
fn errors_name_the_key() {
    let with = |key: &str, value: Option<Value>| {
        let key = format!("tokenizer.ggml.{key}");
        let mut entries = metadata("smollm");
        entries.retain(|(name, _)| *name != key);
        entries.extend(value.map(|value| (key, value)));
        error_line(build(entries))
    };
    let text = |text: &str| Some(Value::Text(text.into()));
    assert!(with("model", None).contains("no `tokenizer.ggml.model`"));
    assert!(with("model", text("bert")).contains("\"bert\"; only \"gpt2\""));
    assert!(with("model", text("llama")).contains("no `tokenizer.ggml.scores`"));
    assert!(with("pre", text("tekken")).contains("`tokenizer.ggml.pre` is \"tekken\""));
    assert!(with("tokens", None).contains("no `tokenizer.ggml.tokens`"));
    let merges = |merge: &str| Some(Value::Texts(vec![merge.into()]));
    assert!(with("merges", merges("hi")).contains("no pair of tokens"));
    assert!(with("merges", merges("hi zz")).contains("`tokenizer.ggml.merges`: "));
    let types = Some(Value::Integers(vec![1]));
    assert!(with("token_type", types).contains("1 entries for 265 tokens"));
}

/// Pieces with scores as SentencePiece makes them: four special tokens, the 256 bytes, plain pieces, `more`.
fn pieces_metadata(prefix: bool, more: &[&str]) -> (Vec<String>, Vec<(String, Value)>) {
    let special = ["<unk>", "<s>", "</s>", "<sep>"].map(String::from);
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let plain = [
        "he", "ll", "▁h", "▁he", "llo", "▁hello", "▁▁", "▁", "h", "e", "l", "o", "a",
    ];
    let mut tokens: Vec<String> = special.into_iter().chain(bytes).collect();
    let start = tokens.len();
    tokens.extend(plain.iter().chain(more).map(|token| (*token).to_owned()));
    let kind = |id: usize| match id {
        0 => 2,
        1..=3 => 3,
        id if id < start => 6,
        id if id < start + plain.len() => 1,
        _ => 4,
    };
    let types = (0..tokens.len()).map(kind).collect();
    // The earlier a piece, the better.
    let score = |id: usize| {
        if id < start {
            0.0
        } else {
            -((id - start) as f64)
        }
    };
    let scores = (0..tokens.len()).map(score).collect();
    let entries = [
        ("model", Value::Text("llama".into())),
        ("scores", Value::Floats(scores)),
        ("token_type", Value::Integers(types)),
        ("tokens", Value::Texts(tokens.clone())),
        ("bos_token_id", Value::Unsigned(1)),
        ("add_space_prefix", Value::Bool(prefix)),
    ]
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value));
    (tokens, entries.to_vec())
}

#[test]
fn pieces_merge_by_score_and_characters_without_one_become_bytes() {
    let check = |prefix: bool, text: &str, expected: &[&str]| {
        let (tokens, entries) = pieces_metadata(prefix, &["  ", "<think>"]);
        let tokenizer = build(entries).unwrap();
        let ids = tokenizer.encode(text).unwrap();
        let found: Vec<&str> = ids.iter().map(|id| tokens[*id as usize].as_str()).collect();
        assert_eq!(found, expected, "{prefix} {text:?}");
        let plain = text.replace("<sep>", "");
        let mut stream = tokenizer.stream(true);
        let parts = ids.iter().map(|id| stream.push(*id).unwrap());
        let streamed: String = parts.collect();
        assert_eq!(
            streamed + &stream.finish().unwrap(),
            plain,
            "{prefix} {text:?}"
        );
    };
    check(true, "hello", &["<s>", "▁hello"]);
    check(false, "hello", &["<s>", "he", "llo"]);
    check(false, " hello a", &["<s>", "▁hello", "▁", "a"]);
    check(false, "aé", &["<s>", "a", "<0xC3>", "<0xA9>"]);
    check(false, "  a", &["<s>", "  ", "a"]);
    check(false, "a<think>a", &["<s>", "a", "<think>", "a"]);
    check(true, "", &["<s>"]);
    // A byte's name in a text is no byte, and what is special stands whole.
    check(false, "a<sep>a", &["<s>", "a", "<sep>", "a"]);
    let names = ["<0x3C>", "<0x30>", "<0x78>", "<0x34>", "<0x31>", "<0x3E>"];
    check(false, "<0x41>", &[&["<s>"], &names[..]].concat());
    let (_, entries) = pieces_metadata(true, &[]);
    let without = |key: &str| {
        let key = format!("tokenizer.ggml.{key}");
        error_line(build(
            entries
                .iter()
                .filter(|entry| entry.0 != key)
                .cloned()
                .collect(),
        ))
    };
    assert!(without("token_type").contains("no `tokenizer.ggml.token_type`"));
    let long = "x".repeat(600);
    let (_, entries) = pieces_metadata(true, &[&long]);
    assert!(error_line(build(entries)).contains("a token of 600 bytes"));
}
