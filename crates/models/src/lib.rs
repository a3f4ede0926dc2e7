//! Model families and their file formats.
//!
//! A model is a folder as `transformers` saves it: `config.json`, weights in safetensors,
//! a tokenizer. [`folder::ModelFolder`] opens one and says in one line what is wrong with it;
//! [`config`] reads and writes `config.json`, [`tokenizer`] turns text into token ids as
//! Python's `AutoTokenizer` does, [`io`] reads and writes weights, and [`bert::names`] knows by which
//! names each family stores its parameters.
//!
//! Those modules work on the host alone: they hold no tensor and need no adapter.
//! They treat every file as untrusted: sizes are checked before anything is allocated, paths
//! found inside files may not leave the folder, and no pickle is ever read.
//!
//! On them stand [`bert`], the encoder, [`classifier`], the encoder with a classification head, [`llama`] and
//! [`gpt`], decoders that [`generate`] writes texts with, and [`tasks`], what models are trained for:
//! [`tasks::text_classification`] trains a classifier from a table of texts, [`tasks::causal_lm`] a decoder on a
//! text.

pub mod batches;
pub mod bert;
pub mod classifier;
pub mod config;
pub mod embed;
pub mod folder;
pub mod generate;
pub mod gpt;
pub mod io;
pub mod llama;
mod modules_json;
pub mod pooling;
pub mod tasks;
pub mod tokenizer;

#[cfg(test)]
mod testing {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A fresh folder under the system's temporary folder, removed when dropped.
    pub struct TempDir(PathBuf);

    impl TempDir {
        pub fn new() -> Self {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("wgrad-models-test-{}-{next}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }

        pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// The error's text, which must be one line.
    pub fn error_line<T>(result: anyhow::Result<T>) -> String {
        let text = format!("{:#}", result.err().expect("an error"));
        assert!(!text.contains('\n'), "more than one line: {text}");
        text
    }
}
