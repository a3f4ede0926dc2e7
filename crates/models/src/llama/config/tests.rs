//! Settings as files hold them.

use super::*;
use crate::testing::error_line;

#[test]
fn reads_both_places_of_the_base() {
    let read = |value| LlamaConfig::from_json(value);
    let old = read(json!({"rope_theta": 5e5, "rope_scaling": null})).unwrap();
    assert_eq!(old.rope_theta, 5e5);
    let new = json!({"rope_parameters": {"rope_theta": 1e5, "rope_type": "default"}});
    assert_eq!(read(new).unwrap().rope_theta, 1e5);
    assert_eq!(read(json!({})).unwrap().rope_theta, 1e4);
    let scaled = json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}});
    assert!(error_line(read(scaled)).contains("rope_scaling: there is no low_freq_factor"));
    let other = json!({"rope_scaling": {"type": "yarn", "factor": 8.0}});
    assert!(error_line(read(other)).contains("type \"yarn\", which are not supported yet"));
}

#[test]
fn what_is_written_is_read_back() {
    let config = LlamaConfig::smollm2_135m();
    let again = LlamaConfig::from_json(config.to_json()).unwrap();
    assert_eq!(
        LlamaConfig {
            raw: Value::Null,
            ..again
        },
        config
    );
    let many = json!({"eos_token_id": [1, 2], "unknown_key": 7, "dtype": "bfloat16"});
    let many = LlamaConfig::from_json(many).unwrap().to_json();
    assert_eq!(many["eos_token_id"], json!([1, 2]));
    assert_eq!(
        (&many["unknown_key"], &many["dtype"]),
        (&json!(7), &json!("float32"))
    );
}

#[test]
fn refuses_what_is_no_llama() {
    for (value, says) in [
        (json!([]), "expected a JSON object"),
        (json!({"model_type": "gemma3"}), "model_type is \"gemma3\""),
        (json!({"hidden_act": "gelu"}), "hidden_act is \"gelu\""),
        (
            json!({"num_attention_heads": 9, "num_key_value_heads": 2}),
            "must divide",
        ),
        (
            json!({"num_hidden_layers": 100_000}),
            "num_hidden_layers is 100000",
        ),
        (json!({"head_dim": 7}), "even number"),
        (json!({"hidden_size": 0}), "hidden_size is 0"),
        (json!({"eos_token_id": -1}), "eos_token_id is -1"),
        (
            json!({"hidden_size": 1 << 20, "intermediate_size": 1 << 20}),
            "parameters;",
        ),
    ] {
        let line = error_line(LlamaConfig::from_json(value));
        assert!(line.contains(says), "{line}");
    }
}

const LLAMA3: [f64; 8] = [
    1.0,
    0.421_696_513_9,
    0.161_053_478_7,
    0.028_639_800_8,
    0.007_905_694_65,
    0.003_333_803_73,
    0.001_405_853_31,
    0.000_592_843_454,
];
const LINEAR: [f64; 8] = [
    0.25,
    0.105_424_128_4,
    0.044_456_984_8,
    0.018_747_353_9,
    0.007_905_694_65,
    0.003_333_803_73,
    0.001_405_853_31,
    0.000_592_843_454,
];

#[test]
fn rotary_positions_are_stretched_as_transformers_does() {
    // `inv_freq` of transformers' LlamaRotaryEmbedding for heads of 16 channels.
    let config = |scaling: Value| {
        let heads = json!({
            "hidden_size": 64, "num_attention_heads": 4, "rope_parameters": scaling, "num_hidden_layers": 1
        });
        LlamaConfig::from_json(heads).unwrap()
    };
    let llama3 = json!({
        "rope_type": "llama3", "rope_theta": 1000.0, "factor": 4.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 128
    });
    let config3 = config(llama3.clone());
    close(&config3.rope_frequencies(), &LLAMA3);
    let linear = json!({"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0});
    close(&config(linear).rope_frequencies(), &LINEAR);
    // What is written keeps it, also where no file said it before.
    assert_eq!(config3.to_json()["rope_parameters"], llama3);
    let bare = LlamaConfig {
        raw: Value::Null,
        ..config3.clone()
    };
    let again = LlamaConfig::from_json(bare.to_json()).unwrap();
    assert_eq!(again.rope_frequencies(), config3.rope_frequencies());
}

#[test]
fn divisors_of_a_file_become_the_rule_that_they_follow() {
    let frequencies = rope_frequencies(64, 500_000.0);
    let rule = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let scaled = rule.apply(&frequencies);
    let divisors = || frequencies.iter().zip(&scaled).map(|(f, s)| (f / s) as f32);
    let read = |divisors: Vec<f32>| RopeScaling::from_divisors(divisors, &frequencies);
    assert_eq!(read(divisors().collect()).unwrap(), Some(rule));
    assert_eq!(read(vec![1.0; 32]).unwrap(), None);
    let mut other: Vec<f32> = divisors().collect();
    other[3] = 2.0;
    let found = read(other.clone()).unwrap().unwrap();
    assert_eq!(found, RopeScaling::Divisors(other));
    assert_eq!(found.apply(&frequencies)[3], frequencies[3] / 2.0);
    assert!(error_line(read(vec![1.0; 3])).contains("holds 3 numbers, a head has 32 pairs"));
    assert!(error_line(read(vec![0.0; 32])).contains("must hold positive numbers"));
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a / b - 1.0).abs() < 1e-6, "{a} {b}");
    }
}
