//! The keys and values of the tokens that a decoder has seen.

use wgrad_tensor::autograd::refuse_grad;
use wgrad_tensor::{DType, Device, Error, Result, Tensor, no_grad};

/// For each layer the keys and values of the tokens so far, so that the next token is computed alone. The
/// memory for all tokens is taken when the cache is made, and tokens are written in place: nothing grows while text is
/// written. No gradient flows through it.
///
/// ```
/// use wgrad_nn::KvCache;
/// use wgrad_tensor::{DType, Device, DeviceOptions, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let mut cache = KvCache::new(&device, 1, [1, 2, 16, 4], DType::F32)?;
/// let new = Tensor::ones(&device, &[1, 2, 3, 4], DType::F32)?;
/// let [keys, _values] = cache.append(0, &new, &new)?;
/// cache.advance(3)?;
/// assert_eq!((keys.shape()[2], cache.len(), cache.capacity()), (3, 3, 16));
/// # Ok(())
/// # }
/// ```
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

    /// The device of the cache.
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
    /// Errors: there is no room for T tokens, the cache has no such layer, shapes do not fit, keys or values require a
    /// gradient (write text under `no_grad`).
    pub fn append(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<[Tensor; 2]> {
        let tokens = keys.shape().get(2).copied().unwrap_or(0);
        let end = self.room_for(tokens)?;
        let Some(cached) = self.layers.get(layer) else {
            return Err(Error::op(
                "kv_cache",
                format!(
                    "there is no layer {layer}, the cache was made for {}",
                    self.layers.len()
                ),
            ));
        };
        refuse_grad("kv_cache", &[keys, values])?;
        no_grad(|| {
            for (new, cached) in [keys, values].into_iter().zip(cached) {
                let place = cached.narrow(2, self.len, tokens)?;
                new.copy_into(&place)?;
            }
            Ok([cached[0].narrow(2, 0, end)?, cached[1].narrow(2, 0, end)?])
        })
    }

    /// Counts `tokens` more, which every layer has got by [`KvCache::append`]. Errors: there is no room for them.
    pub fn advance(&mut self, tokens: usize) -> Result<()> {
        self.len = self.room_for(tokens)?;
        Ok(())
    }

    /// The number of tokens with `tokens` more.
    fn room_for(&self, tokens: usize) -> Result<usize> {
        let end = self.len + tokens;
        if end <= self.capacity {
            return Ok(end);
        }
        Err(Error::op(
            "kv_cache",
            format!(
                "there is room for {} tokens, {end} are needed; make a larger cache, or truncate it",
                self.capacity
            ),
        ))
    }
}
