#![no_main]
//! `tokenizer.json`, whole, as a model folder has it.

use libfuzzer_sys::fuzz_target;
use wgrad_models::tokenizer::TextTokenizer;

fuzz_target!(|data: &[u8]| {
    wgrad_fuzz::file("tokenizer.json", data);
    let Ok(tokenizer) = TextTokenizer::from_dir(wgrad_fuzz::folder()) else {
        return;
    };
    let texts = ["hello world", "", "Ünï côdé 漢字 🙂", "[CLS] a\tb\n  c\u{0}"];
    for text in texts {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids, true);
            let mut stream = tokenizer.stream(false);
            for id in ids.iter().take(8) {
                let _ = stream.push(*id);
            }
            let _ = stream.finish();
        }
    }
    let _ = tokenizer.encode_batch(&texts, 16);
    let owned = texts.map(str::to_owned);
    let _ = tokenizer.encode_sequences(&owned, Some(&owned), 16);
    let _ = tokenizer.decode(&[0, 1, 2, u32::MAX], true);
    let _ = tokenizer.save(wgrad_fuzz::folder().join("saved.json"));
});
