//! The keys and values of the tokens that a decoder has seen.

use anyhow::{Result, ensure};
use wgrad_tensor::{DType, Device, Tensor};

/// For each layer the keys and values of the tokens so far, so that the next token is computed alone. The
/// memory for all tokens is taken when the cache is made; nothing grows while text is written.
#[derive(Debug)]
pub struct KvCache {
    /// Keys and values of each layer, (B, H, capacity, D).
    layers: Vec<[Tensor; 2]>,
    device: Device,
    capacity: usize,
    len: usize,
}

impl KvCache {
    /// An empty cache for `layers` layers; `shape` is (texts, heads of keys and values, tokens, channels of a
    /// head), `dtype` that of the model's activations.
    pub fn new(device: &Device, layers: usize, shape: [usize; 4], dtype: DType) -> Result<Self> {
        let one = || Tensor::zeros(device, &shape, dtype);
        let layers = (0..layers).map(|_| Ok([one()?, one()?]));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            device: device.clone(),
            capacity: shape[2],
            len: 0,
        })
    }

    /// The device that the cache lies on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The number of tokens in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most tokens that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Writes keys and values (B, H, T, D) of the tokens that follow into `layer`, and gives those of all
    /// tokens, (B, H, len + T, D). The tokens count once every layer has them: see [`KvCache::advance`].
    ///
    /// Errors: there is no room for T tokens, the cache has no such layer, shapes do not fit.
    pub fn append(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<[Tensor; 2]> {
        let tokens = keys.shape().get(2).copied().unwrap_or(0);
        let end = self.len + tokens;
        ensure!(
            end <= self.capacity,
            "the cache of keys and values has room for {} tokens, {end} are needed",
            self.capacity
        );
        let Some(cached) = self.layers.get(layer) else {
            anyhow::bail!(
                "the cache of keys and values has {} layers; there is no layer {layer}",
                self.layers.len()
            );
        };
        for (new, cached) in [keys, values].into_iter().zip(cached) {
            new.copy_into(&cached.narrow(2, self.len, tokens)?)?;
        }
        Ok([cached[0].narrow(2, 0, end)?, cached[1].narrow(2, 0, end)?])
    }

    /// Counts `tokens` more, which every layer has got by [`KvCache::append`].
    pub fn advance(&mut self, tokens: usize) {
        self.len = (self.len + tokens).min(self.capacity);
    }
}
