#![no_main]
//! `modules.json` of a sentence-transformers folder, beside files that are sound.

use libfuzzer_sys::fuzz_target;
use wgrad_models::folder::ModelFolder;

const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 8, "hidden_size": 4,
 "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "max_position_embeddings": 16,
 "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12}"#;

fuzz_target!(|data: &[u8]| {
    wgrad_fuzz::file("config.json", CONFIG.as_bytes());
    wgrad_fuzz::file("modules.json", data);
    if let Ok(folder) = ModelFolder::open(wgrad_fuzz::folder()) {
        let _ = folder.embedding();
        let _ = folder.max_length();
    }
});
