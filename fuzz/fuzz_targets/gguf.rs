#![no_main]
//! A GGUF file: header, tensors, and the tokenizer in its metadata.

use libfuzzer_sys::fuzz_target;
use wgrad_models::io::gguf::GgufFile;
use wgrad_models::tokenizer::TextTokenizer;

fuzz_target!(|data: &[u8]| {
    let path = wgrad_fuzz::file("model.gguf", data);
    let Ok(file) = GgufFile::open(path) else {
        return;
    };
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    for name in names {
        let _ = file.to_f32(&name);
    }
    if let Ok(tokenizer) = TextTokenizer::from_gguf(file.metadata()) {
        let _ = tokenizer.encode("hello world");
    }
});
