//! SmolLM2-135M (`transformers.LlamaForCausalLM`) on 128 tokens: ids 0, 1, …, each scored against the next one.

use anyhow::Result;
use wgrad_models::llama::{LlamaConfig, LlamaForCausalLM};
use wgrad_nn::{Mode, Module, VarBuilder};
use wgrad_tensor::ops::cross_entropy::CrossEntropy;
use wgrad_tensor::{Device, Generator, Tensor};

use super::Case;

/// Tokens of the input.
const TOKENS: u32 = 128;

/// The model with its input.
pub struct SmolLm2 {
    model: LlamaForCausalLM,
    mode: Mode,
    /// u32 (1, 128)
    ids: Tensor,
    /// u32 (128)
    labels: Tensor,
    /// u32 (1, 1)
    one: Tensor,
}

impl SmolLm2 {
    /// With initial values of `transformers`.
    pub fn new(device: &Device) -> Result<Self> {
        let generator = Generator::new(device, 0)?;
        let vb = VarBuilder::fresh(device, &generator);
        let ids: Vec<u32> = (0..TOKENS).collect();
        let labels: Vec<u32> = (1..=TOKENS).collect();
        Ok(Self {
            model: LlamaForCausalLM::new(&LlamaConfig::smollm2_135m(), &vb)?,
            mode: Mode::eval(),
            ids: Tensor::from_slice(device, &ids, &[1, ids.len()])?,
            labels: Tensor::from_slice(device, &labels, &[labels.len()])?,
            one: Tensor::from_slice(device, &[0u32], &[1, 1])?,
        })
    }
}

impl Case for SmolLm2 {
    fn model(&self) -> &dyn Module {
        &self.model
    }

    fn forward(&self) -> Result<Tensor> {
        self.model.forward(&self.ids, &self.mode)
    }

    fn loss(&self) -> Result<Tensor> {
        let logits = self.forward()?;
        let vocabulary = logits.shape()[2];
        // Nobody reads the logits afterwards: their gradient may be written over them.
        let options = CrossEntropy {
            in_place: true,
            ..CrossEntropy::default()
        };
        let rows = logits.reshape(&[self.labels.numel(), vocabulary])?;
        drop(logits);
        Ok(rows.cross_entropy(&self.labels, &options)?)
    }

    fn latency(&self) -> Result<Tensor> {
        self.model.forward(&self.one, &self.mode)
    }
}
