//! The tensors of a GGUF file of the architecture `llama`, under the names and in the layout of
//! `transformers`.

use std::collections::BTreeMap;

use wgrad_nn::TensorSource;
use wgrad_tensor::{Error, Result};

use super::LlamaConfig;
use crate::io::gguf::GgufFile;

/// The parts of a layer: name in GGUF, name in transformers.
const LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name that `transformers` gives to a tensor of a GGUF file: `blk.0.attn_q.weight` is
/// `model.layers.0.self_attn.q_proj.weight`. `None` for what is no parameter of a Llama.
pub fn from_gguf(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, parameter) = rest.split_once('.')?;
    let plain = number.parse::<usize>().ok()?.to_string() == number;
    let (_, module) = LAYER.iter().find(|(gguf, _)| *gguf == part)?;
    (plain && matches!(parameter, "weight" | "bias"))
        .then(|| format!("model.layers.{number}.{module}.{parameter}"))
}

/// A GGUF file as a source of tensors by the names of `transformers`.
///
/// The file holds the rows of queries and keys in an order in which rotary positions turn neighbours
/// (2i, 2i + 1); they are put back into that of `transformers`, where they turn (i, i + D / 2).
#[derive(Debug)]
pub struct GgufSource<'a> {
    file: &'a GgufFile,
    heads: usize,
    key_value_heads: usize,
    /// From the name in transformers to the name in the file.
    names: BTreeMap<String, String>,
}

impl<'a> GgufSource<'a> {
    /// The tensors of `file`, which holds a model of this configuration.
    pub fn new(file: &'a GgufFile, config: &LlamaConfig) -> Self {
        let named = |name: &str| Some((from_gguf(name)?, name.to_owned()));
        Self {
            file,
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            names: file.names().filter_map(named).collect(),
        }
    }

    /// The number of heads among whose rows the file permutes.
    fn permuted(&self, name: &str) -> Option<usize> {
        let module = name.rsplit_once('.')?.0;
        match module {
            _ if module.ends_with(".q_proj") => Some(self.heads),
            _ if module.ends_with(".k_proj") => Some(self.key_value_heads),
            _ => None,
        }
    }
}

impl TensorSource for GgufSource<'_> {
    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let info = self.file.tensor(self.names.get(name)?)?;
        Some(info.shape.clone())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        let refuse = |message: String| Error::op("load", message);
        let key = self
            .names
            .get(name)
            .ok_or_else(|| refuse(format!("there is no tensor `{name}`")))?;
        let values = self
            .file
            .to_f32(key)
            .map_err(|error| refuse(format!("{error:#}")))?;
        let rows = self.shape(name).and_then(|shape| shape.first().copied());
        match (self.permuted(name), rows) {
            (Some(heads), Some(rows)) if rows > 0 && rows.is_multiple_of(2 * heads) => {
                Ok(halves_apart(&values, heads, rows))
            }
            (Some(heads), Some(rows)) => Err(refuse(format!(
                "`{key}` has {rows} rows, which do not divide into {heads} heads of an even number of channels"
            ))),
            _ => Ok(values),
        }
    }
}

/// Rows (head, pair, half) as rows (head, half, pair).
fn halves_apart(values: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    let (columns, pairs) = (values.len() / rows, rows / heads / 2);
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for half in 0..2 {
            for pair in 0..pairs {
                let row = (head * pairs + pair) * 2 + half;
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_transformers() {
        let is = |gguf: &str, name: &str| assert_eq!(from_gguf(gguf).as_deref(), Some(name));
        is("token_embd.weight", "model.embed_tokens.weight");
        is(
            "blk.12.ffn_norm.weight",
            "model.layers.12.post_attention_layernorm.weight",
        );
        is("blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias");
        for none in [
            "rope_freqs.weight",
            "blk.01.attn_q.weight",
            "blk.0.attn_q",
            "blk.0.attn_x.weight",
        ] {
            assert_eq!(from_gguf(none), None, "{none}");
        }
    }

    #[test]
    fn rows_are_put_back() {
        // Two heads of four channels, two columns; a stored row holds its place in transformers.
        let stored = [0, 2, 1, 3, 4, 6, 5, 7];
        let values: Vec<f32> = stored.iter().flat_map(|row| [*row as f32; 2]).collect();
        let expected: Vec<f32> = (0..8).flat_map(|row| [row as f32; 2]).collect();
        assert_eq!(halves_apart(&values, 2, 8), expected);
    }
}
