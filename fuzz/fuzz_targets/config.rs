#![no_main]
//! `config.json` of the encoder and decoder families.

use libfuzzer_sys::fuzz_target;
use wgrad_models::config::BertConfig;
use wgrad_models::llama::LlamaConfig;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else {
        return;
    };
    if let Ok(config) = BertConfig::from_json(value.clone()) {
        let _ = (config.num_labels(), config.max_tokens());
    }
    let _ = LlamaConfig::from_json(value);
});
