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
