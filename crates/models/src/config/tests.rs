use serde_json::{Value, json};

use super::*;
use crate::testing::{TempDir, error_line};

fn minilm() -> Value {
    json!({
        "_name_or_path": "nreimers/MiniLM-L6-H384-uncased", "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 384, "initializer_range": 0.02,
        "intermediate_size": 1536, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
        "model_type": "bert", "num_attention_heads": 12, "num_hidden_layers": 6, "pad_token_id": 0,
        "position_embedding_type": "absolute", "transformers_version": "4.8.2",
        "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522
    })
}

/// `minilm` with some keys set (null removes one) to see what parsing says.
fn with(changes: Value) -> Result<BertConfig> {
    let mut config = minilm();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    BertConfig::from_json(config)
}

fn refused(changes: Value) -> String {
    error_line(with(changes))
}

fn labels(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn reads_bert() {
    let config = with(json!({})).unwrap();
    assert_eq!(config.family, Family::Bert);
    assert_eq!(config.hidden_size, 384);
    assert_eq!(config.num_hidden_layers, 6);
    assert_eq!(config.hidden_act, Activation::Gelu);
    assert_eq!(config.layer_norm_eps, 1e-12);
    assert_eq!(config.classifier_dropout, 0.1);
    assert_eq!(config.max_tokens(), 512);
    assert_eq!(config.id2label, ["LABEL_0", "LABEL_1"]);
    assert_eq!(config.raw(), &minilm());
}

#[test]
fn reads_roberta_and_its_shorter_positions() {
    for (model_type, class) in [
        ("roberta", "RobertaForMaskedLM"),
        ("xlm-roberta", "XLMRobertaModel"),
        ("camembert", "CamembertModel"),
    ] {
        let config = with(json!({
            "model_type": model_type, "architectures": [class], "pad_token_id": null,
            "max_position_embeddings": 514, "type_vocab_size": 1, "classifier_dropout": 0.3
        }))
        .unwrap();
        assert_eq!(config.family, Family::Roberta);
        assert_eq!((config.pad_token_id, config.max_tokens()), (1, 512));
        assert_eq!(config.classifier_dropout, 0.3);
        assert_eq!(config.type_vocab_size, 1);
    }
}

#[test]
fn reads_distilbert_by_its_own_keys() {
    let config = BertConfig::from_json(json!({
        "activation": "relu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.15,
        "dim": 96, "dropout": 0.05, "hidden_dim": 200, "model_type": "distilbert", "n_heads": 4,
        "n_layers": 3, "vocab_size": 100, "tie_weights_": true
    }))
    .unwrap();
    assert_eq!(config.family, Family::DistilBert);
    assert_eq!((config.hidden_size, config.intermediate_size), (96, 200));
    assert_eq!(
        (config.num_attention_heads, config.num_hidden_layers),
        (4, 3)
    );
    assert_eq!(config.hidden_act, Activation::Relu);
    assert_eq!(config.hidden_dropout_prob, 0.05);
    assert_eq!(config.attention_probs_dropout_prob, 0.15);
    assert_eq!(config.classifier_dropout, 0.2);
    assert_eq!(config.type_vocab_size, 0);
}

#[test]
fn concludes_the_model_type_from_the_architecture() {
    let config = with(json!({"model_type": null})).unwrap();
    assert_eq!(config.model_type, "bert");
    let saved = config.to_json_for_classification(&labels(&["a", "b"]), ProblemType::SingleLabel);
    assert_eq!(saved.unwrap()["model_type"], "bert");
}

/// As in `transformers`, where `AutoModel` goes by `model_type` alone.
#[test]
fn the_model_type_decides_whatever_the_class_is_called() {
    for class in [
        "HF_ColBERT",
        "BertLMHeadModel",
        "LSGBertModel",
        "BertForTokenAndTextThing",
        "RobertaModel",
    ] {
        let config = with(json!({"architectures": [class]})).unwrap();
        assert_eq!(config.family, Family::Bert, "{class}");
        let own_code = with(json!({
            "architectures": [class], "auto_map": {"AutoModel": "modeling.Own"}
        }));
        let names = labels(&["a", "b"]);
        let saved = own_code
            .unwrap()
            .to_json_for_classification(&names, ProblemType::SingleLabel)
            .unwrap();
        assert_eq!(saved.get("auto_map"), None);
    }
    let config = with(json!({"model_type": null, "architectures": ["BertLMHeadModel"]})).unwrap();
    assert_eq!(config.model_type, "bert");
}

#[test]
fn refuses_other_networks_by_name() {
    let line = refused(json!({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}));
    assert!(
        line.contains("gpt2") && line.contains("GPT2LMHeadModel"),
        "{line}"
    );
    assert!(
        line.contains("xlm-roberta") && line.contains("DistilBert"),
        "{line}"
    );
    let neither = refused(json!({"model_type": null, "architectures": null}));
    assert!(neither.contains("neither model_type"), "{neither}");
    assert!(refused(json!({"position_embedding_type": "relative_key"})).contains("relative_key"));
    for class in ["BertModel", "BertLMHeadModel", "SomebodysDecoder"] {
        let line = refused(json!({"is_decoder": true, "architectures": [class]}));
        assert!(
            line.contains("is_decoder") && !line.contains(class),
            "{line}"
        );
    }
    assert!(refused(json!({"hidden_act": "gelu_10"})).contains("gelu_10"));
}

#[test]
fn refuses_impossible_values() {
    for (key, value) in [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-384)),
        ("hidden_size", json!(384.5)),
        ("hidden_size", json!("384")),
        ("vocab_size", json!(u64::MAX)),
        ("num_hidden_layers", json!(1u64 << 40)),
        ("num_attention_heads", json!(7)),
        ("max_position_embeddings", json!([512])),
        ("type_vocab_size", json!(true)),
        ("layer_norm_eps", json!(0.0)),
        ("layer_norm_eps", json!(-1e-12)),
        ("hidden_dropout_prob", json!(1.0)),
        ("attention_probs_dropout_prob", json!("0.1")),
        ("pad_token_id", json!(30522)),
        ("pad_token_id", json!(-1)),
        ("model_type", json!(3)),
        ("architectures", json!("BertModel")),
        ("id2label", json!(["a", "b"])),
        ("num_labels", json!(-1)),
    ] {
        let line = refused(json!({ key: value }));
        assert!(line.contains(key), "{key}: {line}");
    }
    let huge = refused(json!({
        "hidden_size": 65536, "num_attention_heads": 64, "num_hidden_layers": 1024,
        "intermediate_size": 1048576
    }));
    assert!(huge.contains("parameters"), "{huge}");
    let positions = refused(json!({
        "model_type": "roberta", "architectures": null, "max_position_embeddings": 2,
        "pad_token_id": 1
    }));
    assert!(
        positions.contains("max_position_embeddings 2"),
        "{positions}"
    );
    assert!(error_line(BertConfig::from_json(json!([1]))).contains("object"));
}

#[test]
fn writes_a_classifier_and_keeps_every_other_key() {
    let config = with(json!({
        "my_own": {"deep": [1, null]}, "num_labels": 3, "torch_dtype": "float16", "dtype": "float16"
    }))
    .unwrap();
    let names = labels(&["negative", "positive"]);
    let saved = config
        .to_json_for_classification(&names, ProblemType::SingleLabel)
        .unwrap();
    assert_eq!(
        saved["architectures"],
        json!(["BertForSequenceClassification"])
    );
    assert_eq!(saved["id2label"], json!({"0": "negative", "1": "positive"}));
    assert_eq!(saved["label2id"], json!({"negative": 0, "positive": 1}));
    assert_eq!(saved["problem_type"], "single_label_classification");
    assert_eq!(
        (&saved["dtype"], &saved["torch_dtype"]),
        (&json!("float32"), &json!("float32"))
    );
    assert_eq!(saved["my_own"], json!({"deep": [1, null]}));
    assert!(saved.get("num_labels").is_none());
    let changed = [
        "architectures",
        "id2label",
        "label2id",
        "problem_type",
        "num_labels",
    ];
    for (key, value) in minilm().as_object().unwrap() {
        assert!(
            changed.contains(&key.as_str()) || &saved[key] == value,
            "{key}"
        );
    }
    // Through text and back, floats included.
    let text = serde_json::to_string_pretty(&saved).unwrap();
    let again = BertConfig::from_json(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(again.raw(), &saved);
    assert_eq!(again.id2label, names);

    assert!(
        error_line(config.to_json_for_classification(&names[..1], ProblemType::SingleLabel))
            .contains("negative")
    );
    assert!(
        error_line(
            config.to_json_for_classification(&labels(&["a", "a"]), ProblemType::SingleLabel)
        )
        .contains("twice")
    );
}

#[test]
fn file_errors_name_the_file() {
    let dir = TempDir::new();
    let missing = error_line(BertConfig::from_file(dir.path().join("config.json")));
    assert!(missing.contains("config.json"), "{missing}");
    let path = dir.write("config.json", "{\"model_type\": \"bert\",\n nonsense}");
    let line = error_line(BertConfig::from_file(&path));
    assert!(line.contains("config.json is not valid JSON"), "{line}");
    let path = dir.write("config.json", b"\xff\xfe{}");
    assert!(error_line(BertConfig::from_file(&path)).contains("config.json"));
    let path = dir.write("config.json", r#"{"model_type": "bert", "hidden_size": 0}"#);
    let line = error_line(BertConfig::from_file(&path));
    assert!(
        line.contains("config.json") && line.contains("hidden_size is 0"),
        "{line}"
    );
}
