//! Writing text with a causal language model: one token after another, with a cache of keys and values.

use anyhow::{Result, ensure};
use wgrad_nn::{KvCache, Mode, Module};
use wgrad_tensor::{Tensor, no_grad};

mod language_model;
mod sampler;

pub(crate) use language_model::save_weights;
pub use language_model::{Generated, LanguageModel};
pub use sampler::{Sampler, SamplingOptions};

/// A model that tells for each token of a text how likely each token of its vocabulary follows. Implement it
/// for a model of your own, and [`generate`] writes text with it.
pub trait CausalLM: Module {
    /// Logits (B, T, V) from ids u32 (B, T): those at a token are about its successor.
    fn logits(&self, input_ids: &Tensor, mode: &Mode) -> Result<Tensor>;

    /// An empty cache for `batch` texts of at most `tokens` tokens. Errors where the model has fewer positions.
    fn new_cache(&self, batch: usize, tokens: usize) -> Result<KvCache>;

    /// Logits (B, V) for the successor of the last of `input_ids`, u32 (B, T), which follow the tokens that
    /// the cache holds; their keys and values are added to it.
    fn next_logits(&self, input_ids: &Tensor, cache: &mut KvCache) -> Result<Tensor>;

    /// The number of logits of a token.
    fn vocab_size(&self) -> usize;

    /// The most tokens of a text.
    fn max_tokens(&self) -> usize;

    /// The `config.json` to save beside the weights, if the model has one.
    fn config_json(&self) -> Option<serde_json::Value> {
        None
    }
}

/// The last of T hidden states (B, T, C): (B, C).
pub(crate) fn last_of(hidden: &Tensor) -> Result<Tensor> {
    let [b, t, c] = *hidden.shape() else {
        anyhow::bail!("hidden states {:?} are not (B, T, C)", hidden.shape());
    };
    ensure!(t > 0, "there are no tokens");
    Ok(hidden.narrow(1, t - 1, 1)?.reshape(&[b, c])?)
}

/// Continues `prompt` by at most `max_new_tokens` tokens. Each one is given to `on_token` as soon as it is
/// known; where that says `false`, or behind a token of `end`, nothing follows. Returns the new tokens, the
/// last one included.
///
/// Errors: an empty prompt, an id beyond the vocabulary, a prompt that leaves no position, what `on_token`
/// reports.
pub fn generate(
    model: &dyn CausalLM,
    prompt: &[u32],
    max_new_tokens: usize,
    sampler: &mut Sampler,
    end: &[u32],
    on_token: &mut dyn FnMut(u32) -> Result<bool>,
) -> Result<Vec<u32>> {
    ensure!(
        !prompt.is_empty(),
        "the prompt has no tokens; give a text to continue"
    );
    let vocabulary = model.vocab_size();
    if let Some(id) = prompt.iter().find(|id| **id as usize >= vocabulary) {
        anyhow::bail!(
            "token id {id} is beyond the model's vocabulary of {vocabulary}; does the tokenizer belong to this model?"
        );
    }
    let room = model.max_tokens().saturating_sub(prompt.len());
    ensure!(
        room > 0 || max_new_tokens == 0,
        "the prompt has {} tokens, which leaves none of the model's {} positions; give a shorter one",
        prompt.len(),
        model.max_tokens()
    );
    let count = max_new_tokens.min(room);
    let mut new = Vec::new();
    if count == 0 {
        return Ok(new);
    }
    // The last token is not given back to the model.
    let mut cache = model.new_cache(1, prompt.len() + count - 1)?;
    let device = cache.device().clone();
    let mut input = prompt.to_vec();
    loop {
        let ids = Tensor::from_slice(&device, &input, &[1, input.len()])?;
        let id = no_grad(|| sampler.pick(&model.next_logits(&ids, &mut cache)?))?;
        new.push(id);
        let go_on = on_token(id)?;
        if !go_on || new.len() == count || end.contains(&id) {
            return Ok(new);
        }
        input = vec![id];
    }
}
