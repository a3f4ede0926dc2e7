//! `wgrad finetune causal_lm` on a small Llama, and `generate` with the model that it wrote.

use std::process::Command;

use serde_json::{Map, Value, json};
use wgrad_models::io::safetensors::write;

use crate::support::{Random, Workplace, refuse, succeed, tensors, wgrad};

const WORDS: [&str; 8] = ["<unk>", "once", "upon", "a", "time", "there", "was", "end"];
const TEXT: &str = "once upon a time there was a end\n";

/// Writes a fresh model of one layer to the folder `llama`.
fn model(place: &Workplace) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 8,
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true,
    });
    place.write("llama/config.json", config.to_string());
    let vocabulary: Map<String, Value> = (0..)
        .zip(WORDS)
        .map(|(id, word): (u32, &str)| (word.to_owned(), json!(id)))
        .collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    });
    place.write("llama/tokenizer.json", tokenizer.to_string());
    let mut random = Random(3);
    let shapes: [(&str, &[usize]); 11] = [
        ("embed_tokens", &[8, 16]),
        ("layers.0.self_attn.q_proj", &[16, 16]),
        ("layers.0.self_attn.k_proj", &[8, 16]),
        ("layers.0.self_attn.v_proj", &[8, 16]),
        ("layers.0.self_attn.o_proj", &[16, 16]),
        ("layers.0.mlp.gate_proj", &[32, 16]),
        ("layers.0.mlp.up_proj", &[32, 16]),
        ("layers.0.mlp.down_proj", &[16, 32]),
        ("layers.0.input_layernorm", &[16]),
        ("layers.0.post_attention_layernorm", &[16]),
        ("norm", &[16]),
    ];
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let values = match shape.len() {
                1 => vec![1.0; count],
                _ => (0..count)
                    .map(|_| random.below(1000) as f32 / 2500.0 - 0.2)
                    .collect(),
            };
            (format!("model.{name}.weight"), shape.to_vec(), values)
        })
        .collect();
    write(place.path("llama/model.safetensors"), &tensors, &[]).unwrap();
}

fn finetune(place: &Workplace, text: &str, out: &str, more: &[&str]) -> Command {
    let mut command = wgrad(&["finetune", "causal_lm", "--logging_steps", "1"]);
    for (flag, name) in [
        ("--model_name_or_path", "llama"),
        ("--train_file", text),
        ("--output_dir", out),
    ] {
        command.arg(flag).arg(place.path(name));
    }
    command.args(more);
    command
}

#[test]
fn causal_lm_learns_a_sentence_and_generate_writes_it() {
    let place = Workplace::new();
    model(&place);
    place.write("train.txt", TEXT.repeat(40));
    place.write("valid.txt", TEXT.repeat(5));
    let flags = [
        "--block-size",
        "16",
        "--learning_rate",
        "1e-2",
        "--seed",
        "1",
    ];
    let run = |out: &str, more: &[&str]| {
        let mut command = finetune(&place, "train.txt", out, &flags);
        command
            .args(["--per_device_train_batch_size", "4"])
            .args(more);
        command
            .arg("--validation_file")
            .arg(place.path("valid.txt"));
        succeed(&mut command)
    };
    let stdout = run(
        "out",
        &[
            "--max_steps",
            "30",
            "--metric_for_best_model",
            "eval_perplexity",
        ],
    );
    assert!(
        stdout.contains("causal_lm: 20 training and 2 validation blocks of 16 tokens"),
        "{stdout}"
    );
    assert!(stdout.contains("validation perplexity: "), "{stdout}");
    let results = place.json("out/results.json");
    assert_eq!(results["metric_for_best_model"], "perplexity");
    let [loss, perplexity] = ["eval_loss", "eval_perplexity"].map(|k| results[k].as_f64().unwrap());
    assert!(
        loss < 0.5 && (perplexity - loss.exp()).abs() < 1e-9,
        "{results}"
    );
    assert!(place.path("out/report.html").exists() && place.path("out/tokenizer.json").exists());
    assert_eq!(place.json("out/config.json")["model_type"], "llama");
    let mut command = wgrad(&[
        "generate",
        "-p",
        "once upon",
        "-n",
        "3",
        "--temp",
        "0",
        "-m",
    ]);
    let stdout = succeed(command.arg(place.path("out")));
    assert!(stdout.contains("a time there"), "{stdout}");

    // A run that goes on from a checkpoint ends with the same bits.
    let steps = |steps: &'static str| ["--max_steps", steps, "--lr_scheduler_type", "constant"];
    run("whole", &steps("12"));
    run("cut", &steps("5"));
    let last = place.path("cut/checkpoint-last").display().to_string();
    let resume = ["--resume_from_checkpoint", &last];
    run("cut", &[&steps("12")[..], &resume[..]].concat());
    let weights = |out: &str| tensors(&place.path(&format!("{out}/model.safetensors")));
    assert_eq!(weights("cut"), weights("whole"));
}

#[test]
fn causal_lm_refuses_bad_input_in_one_line() {
    let place = Workplace::new();
    model(&place);
    place.write("train.txt", TEXT.repeat(8));
    place.write("empty.txt", "");
    place.write("bytes.txt", b"once \xff upon");
    for (text, more, expected) in [
        ("empty.txt", &[][..], "empty.txt: the text is empty"),
        ("bytes.txt", &[], "bytes.txt: the text is not UTF-8: byte 5"),
        ("none.txt", &[], "none.txt: cannot read the text"),
        (
            "train.txt",
            &["--block_size", "33"],
            "block_size is 33, the model has 32 positions",
        ),
        (
            "train.txt",
            &["--block_size", "1"],
            "block_size is 1; it must be at least 2",
        ),
        (
            "train.txt",
            &["--metric_for_best_model", "accuracy"],
            "for causal_lm there are loss, perplexity",
        ),
        ("train.txt", &["--freeze", "*"], "every parameter is frozen"),
        (
            "train.txt",
            &["--max_train_samples", "0"],
            "max_train_samples is 0",
        ),
        (
            "train.txt",
            &["--early_stopping_patience", "1"],
            "give a validation_file",
        ),
    ] {
        let line = refuse(&mut finetune(&place, text, "out", more));
        assert!(line.contains(expected), "{line}");
    }
    place.write("short.txt", "once upon a time");
    let line = refuse(&mut finetune(&place, "short.txt", "out", &[]));
    assert!(
        line.contains("4 tokens, less than one block of 32"),
        "{line}"
    );
}

#[test]
fn another_text_or_block_size_does_not_resume() {
    let place = Workplace::new();
    model(&place);
    place.write("train.txt", TEXT.repeat(40));
    // As many tokens, in another order.
    let mut words: Vec<&str> = TEXT.split_inclusive(' ').collect();
    words.swap(0, 1);
    place.write("other.txt", words.concat().repeat(40));
    let flags = ["--block_size", "16", "--max_steps", "2"];
    succeed(&mut finetune(&place, "train.txt", "out", &flags));
    let resume = |text: &str, more: &[&str]| {
        let flags = [
            "--resume_from_checkpoint",
            "--max_steps",
            "3",
            "--block_size",
            "16",
        ];
        let mut command = finetune(&place, text, "out", &flags);
        command.args(more);
        command
    };
    for (text, more, answer) in [
        ("other.txt", &[][..], "the training texts are other ones"),
        (
            "train.txt",
            &["--block_size", "8"],
            "block_size was 16, now 8",
        ),
        (
            "train.txt",
            &["--freeze", "*norm*"],
            "freeze was none, now *norm*",
        ),
    ] {
        let line = refuse(&mut resume(text, more));
        assert!(line.contains(answer), "{line}");
    }
    let stdout = succeed(&mut resume("train.txt", &["--learning_rate", "1e-4"]));
    let line = "resumed at step 2: learning_rate was 5e-5, now 0.0001";
    assert!(stdout.contains(line), "{stdout}");
}
