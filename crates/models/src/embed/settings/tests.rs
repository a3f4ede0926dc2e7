use serde_json::json;

use super::*;
use crate::testing::{TempDir, error_line};

const OLD: &str = "sentence_transformers.models";
const NEW: &str = "sentence_transformers.sentence_transformer.modules.somewhere";

/// A `modules.json` of a Transformer in the root and of these, as releases before and since 5.4 name them.
fn modules(dir: &TempDir, names: &str, classes: &[&str]) {
    let mut list =
        vec![json!({"idx": 0, "name": "0", "path": "", "type": format!("{names}.Transformer")})];
    for (at, class) in (1..).zip(classes) {
        let path = format!("{at}_{class}");
        list.push(
            json!({"idx": at, "name": "x", "path": path, "type": format!("{names}.{class}")}),
        );
    }
    dir.write(MODULES, Value::Array(list).to_string());
}

fn with_pooling(dir: &TempDir, config: Value) -> Result<Settings> {
    dir.write("1_Pooling/config.json", config.to_string());
    Settings::read(dir.path())
}

#[test]
fn without_modules_vectors_are_normalised_means() {
    let dir = TempDir::new();
    // Not read where there is no modules.json.
    dir.write("config_sentence_transformers.json", "{}");
    let settings = Settings::read(dir.path()).unwrap();
    assert_eq!(settings.pooling, [Pooling::Mean]);
    assert!(matches!(settings.stages.as_slice(), [Stage::Normalize]));
}

#[test]
fn normalises_only_where_a_module_says_so() {
    let dir = TempDir::new();
    for names in [OLD, NEW] {
        modules(&dir, names, &["Pooling"]);
        let settings = with_pooling(&dir, json!({})).unwrap();
        assert!(settings.stages.is_empty());
        modules(&dir, names, &["Pooling", "Dropout", "Normalize"]);
        let settings = with_pooling(&dir, json!({})).unwrap();
        assert!(matches!(settings.stages.as_slice(), [Stage::Normalize]));
        assert_eq!(settings.dir, dir.path());
    }
}

#[test]
fn pooling_in_old_and_new_words() {
    let dir = TempDir::new();
    modules(&dir, OLD, &["Pooling"]);
    for (mode, name, flag) in Pooling::NAMES {
        for config in [
            json!({"word_embedding_dimension": 8, flag: true}),
            json!({"embedding_dimension": 8, "pooling_mode": name}),
            json!({"pooling_mode": [name], "pooling_mode_mean_tokens": true}),
        ] {
            assert_eq!(
                with_pooling(&dir, config.clone()).unwrap().pooling,
                [mode],
                "{config}"
            );
        }
    }
    let all_off = json!({"pooling_mode_cls_token": false});
    assert_eq!(
        with_pooling(&dir, all_off).unwrap().pooling,
        [Pooling::Mean]
    );
    // Flags have an order of their own, lists that of the list.
    let two = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true});
    let expected = [Pooling::Cls, Pooling::Mean];
    assert_eq!(with_pooling(&dir, two).unwrap().pooling, expected);
    let two = json!({"pooling_mode": ["mean", "cls"], "include_prompt": false});
    let settings = with_pooling(&dir, two).unwrap();
    assert_eq!(settings.pooling, [Pooling::Mean, Pooling::Cls]);
    assert!(!settings.include_prompt);
    for (config, said) in [
        (json!({"pooling_mode": "attention"}), "attention"),
        (
            json!({"pooling_mode_first_last_avg": true}),
            "pooling_mode_first_last_avg",
        ),
        (
            json!({"pooling_mode_cls_token": "yes"}),
            "pooling_mode_cls_token",
        ),
        (json!({"include_prompt": 1}), "include_prompt"),
        (json!([]), "JSON object"),
    ] {
        let line = error_line(with_pooling(&dir, config.clone()));
        assert!(line.contains(said), "{config}: {line}");
    }
}

#[test]
fn modules_that_are_not_obeyed_are_refused_by_name() {
    let dir = TempDir::new();
    for class in [
        "CNN",
        "LSTM",
        "WeightedLayerPooling",
        "WordEmbeddings",
        "Router",
    ] {
        modules(&dir, NEW, &["Pooling", class]);
        let line = error_line(with_pooling(&dir, json!({})));
        assert!(line.contains(class), "{line}");
    }
    for (classes, said) in [
        (vec![], "no Pooling"),
        (vec!["Normalize", "Pooling"], "Pooling must come before"),
        (vec!["Pooling", "Pooling"], "second, and once"),
        (
            vec!["Pooling", "Transformer"],
            "Transformer must come first",
        ),
    ] {
        modules(&dir, OLD, &classes);
        dir.write("2_Pooling/config.json", "{}");
        let line = error_line(with_pooling(&dir, json!({})));
        assert!(line.contains(said), "{line}");
    }
    for (list, said) in [
        (
            json!([{"type": "mine.Transformer", "path": ""}]),
            "mine.Transformer",
        ),
        (
            json!([{"type": "sentence_transformers.models.Transformer", "path": "../x"}]),
            "leaves",
        ),
        (
            json!([{"type": "sentence_transformers.models.Transformer", "path": "/x"}]),
            "leaves",
        ),
        (
            json!([{"type": "sentence_transformers.models.Transformer"}]),
            "no path",
        ),
        (
            json!([{"type": "sentence_transformers.models.Pooling", "path": ""}]),
            "Transformer must come first",
        ),
        (json!([{}]), "no type"),
        (json!([]), "no Pooling"),
        (json!({}), "list of modules"),
    ] {
        dir.write(MODULES, list.to_string());
        let line = error_line(Settings::read(dir.path()));
        assert!(line.contains(said), "{list}: {line}");
    }
}

#[test]
fn the_encoder_may_lie_in_a_folder_of_its_own() {
    let dir = TempDir::new();
    let list = json!([
        {"type": "sentence_transformers.models.Transformer", "path": "0_BERT"},
        {"type": "sentence_transformers.models.Pooling", "path": "./deep/pool"}
    ]);
    dir.write(MODULES, list.to_string());
    dir.write("deep/pool/config.json", "{}");
    dir.write(
        "0_BERT/sentence_bert_config.json",
        r#"{"max_seq_length": 5}"#,
    );
    let settings = Settings::read(dir.path()).unwrap();
    assert_eq!(settings.dir, dir.path().join("0_BERT"));
    assert_eq!(settings.transformer.max_seq_length, Some(5));
    assert_eq!(encoder_dir_of(dir.path()), dir.path().join("0_BERT"));
}

fn encoder_dir_of(dir: &Path) -> PathBuf {
    crate::modules_json::encoder_dir(dir).unwrap().unwrap()
}

#[test]
fn prompts_are_read() {
    let dir = TempDir::new();
    modules(&dir, OLD, &["Pooling"]);
    let read = |config: Value| {
        dir.write("config_sentence_transformers.json", config.to_string());
        with_pooling(&dir, json!({}))
    };
    let settings = read(json!({
        "__version__": {}, "prompts": {"query": "q: ", "empty": null}, "default_prompt_name": "query",
        "similarity_fn_name": "cosine", "truncate_dim": 3
    }));
    let settings = settings.unwrap();
    assert_eq!(settings.prompt("query").unwrap(), "q: ");
    assert_eq!(settings.prompt("empty").unwrap(), "");
    // Every model has these two.
    assert_eq!(settings.prompt("document").unwrap(), "");
    assert_eq!(settings.default_prompt_name.as_deref(), Some("query"));
    assert_eq!(settings.truncate_dim, Some(3));
    assert!(settings.notes[0].contains("\"q: \""));
    assert!(error_line(settings.prompt("other")).contains("\"other\""));
    for (config, said) in [
        (json!({"default_prompt_name": "x"}), "no prompt \"x\""),
        (json!({"prompts": ["a"]}), "prompts is"),
        (json!({"prompts": {"a": 1}}), "prompt \"a\" is 1"),
        (json!({"model_type": "SparseEncoder"}), "SparseEncoder"),
        (json!([]), "JSON object"),
    ] {
        let line = error_line(read(config.clone()));
        assert!(line.contains(said), "{config}: {line}");
    }
}
