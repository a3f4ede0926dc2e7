//! Facts about a task's data and model, which a resumed run is compared with.

use wgrad_nn::Parameters;
use wgrad_train::{ContentHash, Fact};

/// A hash of token sequences.
pub fn hash_tokens<'a>(
    hash: ContentHash,
    sequences: impl IntoIterator<Item = &'a [u32]>,
) -> ContentHash {
    sequences.into_iter().fold(hash, |hash, ids| {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        hash.with(&bytes)
    })
}

/// The facts of every task: its training and validation examples, its parameters, and what is frozen by name.
pub fn facts(
    train: ContentHash,
    validation: ContentHash,
    parameters: &Parameters,
    freeze: &[String],
) -> Vec<Fact> {
    let layout = parameters.iter().map(|(name, tensor)| {
        let shape = tensor.shape();
        format!("{name} {shape:?}")
    });
    let patterns = match freeze.is_empty() {
        true => "none".to_owned(),
        false => freeze.join(", "),
    };
    vec![
        Fact::data(
            "training tokens",
            train,
            "the training texts are other ones (train_file, max_train_samples, the lengths or the tokenizer)",
        ),
        Fact::changing_data(
            "validation examples",
            validation,
            "the validation data is another one; the best value so far is that of the earlier data",
        ),
        Fact::data(
            "parameters",
            ContentHash::new().with_all(layout),
            "model_name_or_path: the model has other layers or sizes",
        ),
        Fact::fixed("freeze", patterns),
    ]
}
