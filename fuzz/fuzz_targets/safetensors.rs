#![no_main]
//! A safetensors file, and, from inputs that start with `{`, the index of a model in several files.

use libfuzzer_sys::fuzz_target;
use wgrad_models::io::safetensors::Weights;
use wgrad_nn::safetensors::SafeFile;

fuzz_target!(|data: &[u8]| {
    if data.first() == Some(&b'{') {
        wgrad_fuzz::file("model.safetensors.index.json", data);
        let _ = Weights::open(wgrad_fuzz::folder());
        return;
    }
    let path = wgrad_fuzz::file("part.safetensors", data);
    if let Ok(file) = SafeFile::open(path) {
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        for name in names {
            let _ = (file.shape(&name), file.dtype(&name), file.to_f32(&name));
        }
    }
});
