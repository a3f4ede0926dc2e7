//! `wgrad generate` and `wgrad tokenize` on a small Llama: what they print, where prompts come from, one line for
//! each kind of bad input.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wgrad_models::io::safetensors::write;

use crate::support::{Workplace, refuse, succeed, wgrad};

const HIDDEN: usize = 16;

/// A folder `llama` of 24 positions, whose tokens are the characters of the alphabet, a space and `extra`.
fn llama(place: &Workplace, extra: &[&str]) -> PathBuf {
    let letters = ('a'..='z').chain(['Ġ', 'Ċ']).map(String::from);
    let tokens: Vec<String> = letters
        .chain(extra.iter().map(|token| (*token).into()))
        .collect();
    let vocab: Value = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let added = |token: &&str| {
        json!({
            "id": vocab[*token], "content": token, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false
        })
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": extra.iter().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    });
    place.write("llama/tokenizer.json", tokenizer.to_string());
    let config = json!({
        "model_type": "llama", "vocab_size": tokens.len(), "hidden_size": HIDDEN, "intermediate_size": 24,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 24, "tie_word_embeddings": true, "bos_token_id": 3
    });
    place.write("llama/config.json", config.to_string());
    write(
        place.path("llama/model.safetensors"),
        &weights(tokens.len()),
        &[],
    )
    .unwrap();
    place.path("llama")
}

/// Weights that look drawn by chance, the same each time.
fn weights(vocabulary: usize) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let half = HIDDEN / 2;
    let shapes = [
        (
            "model.embed_tokens.weight".to_owned(),
            vec![vocabulary, HIDDEN],
        ),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        (layer("input_layernorm"), vec![HIDDEN]),
        (layer("post_attention_layernorm"), vec![HIDDEN]),
        (layer("self_attn.q_proj"), vec![HIDDEN, HIDDEN]),
        (layer("self_attn.k_proj"), vec![half, HIDDEN]),
        (layer("self_attn.v_proj"), vec![half, HIDDEN]),
        (layer("self_attn.o_proj"), vec![HIDDEN, HIDDEN]),
        (layer("mlp.gate_proj"), vec![24, HIDDEN]),
        (layer("mlp.up_proj"), vec![24, HIDDEN]),
        (layer("mlp.down_proj"), vec![HIDDEN, 24]),
    ];
    let mut state = 1u32;
    let mut drawn = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let filled = |(name, shape): (String, Vec<usize>)| {
        let values = (0..shape.iter().product()).map(|_| drawn()).collect();
        (name, shape, values)
    };
    shapes.into_iter().map(filled).collect()
}

fn generate(model: &PathBuf, more: &[&str]) -> Command {
    let mut command = wgrad(&["generate", "--temp", "0"]);
    command.arg("-m").arg(model).args(more);
    if !more.contains(&"-n") {
        command.args(["-n", "6"]);
    }
    command
}

/// Runs with `input` on standard input.
fn fed(mut command: Command, input: &str) -> String {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(input.as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn last_json(output: &str) -> Value {
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

#[test]
fn prints_the_text_and_one_json_line() {
    let place = Workplace::new();
    let model = llama(&place, &[]);
    let plain = succeed(&mut generate(&model, &["-p", "hello"]));
    let output = succeed(&mut generate(&model, &["-p", "hello", "--json"]));
    let line = last_json(&output);
    let keys: Vec<&str> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "peak_device_bytes",
            "prompt_tokens",
            "text",
            "tokens",
            "tokens_per_second"
        ]
    );
    assert_eq!(line["prompt_tokens"], 5);
    assert_eq!(line["tokens"].as_array().unwrap().len(), 6);
    assert!(line["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(line["peak_device_bytes"].as_u64().unwrap() > 0);
    let text = line["text"].as_str().unwrap();
    assert_eq!(plain, format!("{text}\n"));
    assert!(output.starts_with(&plain));

    let none = succeed(&mut generate(&model, &["-p", "hello", "--json", "-n", "0"]));
    let none = last_json(&none);
    assert_eq!((&none["tokens"], &none["text"]), (&json!([]), &json!("")));
    // The token that begins a text stands for an empty prompt.
    let empty = last_json(&succeed(&mut generate(&model, &["-p", "", "--json"])));
    let begin = last_json(&succeed(&mut generate(&model, &["-p", "d", "--json"])));
    assert_eq!(
        (&empty["prompt_tokens"], &empty["tokens"]),
        (&json!(1), &begin["tokens"])
    );

    // A folder saved of the model, and one whose weights lie in two files, are the same model.
    let saved = place.path("saved");
    let flag = saved.display().to_string();
    succeed(&mut generate(
        &model,
        &["-p", "a", "-n", "0", "--save", &flag],
    ));
    let again = last_json(&succeed(&mut generate(&saved, &["-p", "hello", "--json"])));
    assert_eq!(again["tokens"], line["tokens"]);
    let all = weights(28);
    let mut map = serde_json::Map::new();
    for (part, tensors) in all.chunks(6).enumerate() {
        let name = format!("model-{part}.safetensors");
        write(model.join(&name), tensors, &[]).unwrap();
        map.extend(
            tensors
                .iter()
                .map(|(tensor, ..)| (tensor.clone(), json!(name))),
        );
    }
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    let index = json!({"metadata": {}, "weight_map": map});
    place.write("llama/model.safetensors.index.json", index.to_string());
    let parts = last_json(&succeed(&mut generate(&model, &["-p", "hello", "--json"])));
    assert_eq!(parts["tokens"], line["tokens"]);
}

#[test]
fn prompts_come_from_standard_input() {
    let place = Workplace::new();
    let model = llama(&place, &["<|im_start|>", "<|im_end|>"]);
    let one = succeed(&mut generate(&model, &["-p", "hello"]));
    let two = succeed(&mut generate(&model, &["-p", "sea"]));
    assert_eq!(
        fed(generate(&model, &[]), "hello\n\nsea"),
        format!("{one}{two}")
    );
    assert_eq!(fed(generate(&model, &[]), ""), "");
    let whole = succeed(&mut generate(&model, &["-p", "a\nb"]));
    assert_eq!(fed(generate(&model, &["-p", "-"]), "a\nb\n"), whole);

    let turn = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    let answer = succeed(&mut generate(&model, &["-n", "1", "-p", turn]));
    let chat = fed(generate(&model, &["-n", "1", "--chat"]), "hi\n");
    assert!(
        chat.starts_with(&format!("> hi\n{answer}")),
        "{chat:?} {answer:?}"
    );
}

#[test]
fn tokenizes() {
    let place = Workplace::new();
    let model = llama(&place, &["<|im_end|>"]);
    let mut command = wgrad(&[
        "tokenize",
        "--text",
        "ab <|im_end|>",
        "--text",
        "",
        "--json",
    ]);
    let output = succeed(command.arg("-m").arg(&model));
    assert_eq!(output, "{\"ids\":[0,1,26,28]}\n{\"ids\":[]}\n");
}

/// The beginning of a GGUF file of this architecture, without tensors.
fn gguf(architecture: &str) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    for (text, kind) in [("general.architecture", Some(8u32)), (architecture, None)] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(kind.map(u32::to_le_bytes).into_iter().flatten());
    }
    bytes
}

#[test]
fn refuses_in_one_line() {
    let place = Workplace::new();
    let model = llama(&place, &[]);
    let says = |model: PathBuf, more: &[&str], part: &str| {
        let mut args = vec!["-p", "hi"];
        args.extend(more);
        let line = refuse(&mut generate(&model, &args));
        assert!(line.contains(part), "no \"{part}\" in: {line}");
    };
    says(
        place.path("none"),
        &[],
        "expected a GGUF file, or a model folder",
    );
    says(
        place.path("model"),
        &[],
        "model_type is \"bert\"; only \"llama\"",
    );
    says(
        model.join("model.safetensors"),
        &[],
        "give the model folder that it lies in",
    );
    says(model.join("config.json"), &[], "is not a GGUF file");
    let other = place.write("files/other.gguf", gguf("qwen2"));
    says(
        other.clone(),
        &[],
        "`general.architecture` is \"qwen2\"; only \"llama\"",
    );
    says(place.path("files"), &[], "holds a GGUF file, so give that");
    let whole = gguf("llama");
    let cut = place.write("cut.gguf", &whole[..whole.len() - 3]);
    says(cut, &[], "cut short");
    says(model.clone(), &["--chat"], "no <|im_start|>");
    says(model.clone(), &["--top_p", "2"], "top_p is 2");
    let line = refuse(&mut generate(&model, &["-p", &"a".repeat(30)]));
    assert!(
        line.contains("leaves none of the model's 24 positions"),
        "{line}"
    );
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    says(model, &[], "has no weights");
}
