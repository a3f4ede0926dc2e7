//! Random numbers from counters: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011), the same words on the host and on every device. There is no state to advance:
//! seed, step, micro-batch, op and element fix each word, so a step can be repeated or resumed exactly,
//! and a backward pass makes its mask again instead of storing it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wgrad_runtime::Device;

use crate::autograd::draws;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Four random words from a counter and a key, with any number of rounds.
fn philox(counter: [u32; 4], key: [u32; 2], rounds: usize) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..rounds {
        let a = 0xD251_1F53 * u64::from(c[0]);
        let b = 0xCD9E_8D57 * u64::from(c[2]);
        c = [
            (b >> 32) as u32 ^ c[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ c[3] ^ k[1],
            a as u32,
        ];
        k = [
            k[0].wrapping_add(0x9E37_79B9),
            k[1].wrapping_add(0xBB67_AE85),
        ];
    }
    c
}

/// Philox with ten rounds: four random words from a counter and a key.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox(counter, key, 10)
}

/// The micro-batch number of draws made before the first [`Generator::begin_step`]: initial values. No training
/// step has it, so initial values and dropout never share random words.
pub const INITIAL: u32 = 0xffff;

/// The four words that kernels draw from: the seed's lower and upper half, the step's lower 32 bits,
/// and the micro-batch with the step's next 16 bits above it.
///
/// Errors if `step` has more than 48 bits or `micro_batch` more than 16.
pub fn state(seed: u64, step: u64, micro_batch: u32) -> Result<[u32; 4]> {
    if step >> 48 != 0 || micro_batch >> 16 != 0 {
        return Err(Error::op(
            "begin_step",
            format!("step {step} and micro-batch {micro_batch} must be below 2^48 and 2^16"),
        ));
    }
    Ok([
        seed as u32,
        (seed >> 32) as u32,
        step as u32,
        micro_batch | ((step >> 32) as u32) << 16,
    ])
}

/// The random word of element `index` of random op `op`, as the kernels compute it.
pub fn word(state: [u32; 4], op: u32, index: usize) -> u32 {
    let counter = [(index / 4) as u32, op, state[2], state[3]];
    philox4x32_10(counter, [state[0], state[1]])[index % 4]
}

/// The source of all randomness on a device: a seed, the place in the training run, and a count of the
/// random ops of the current step. Two runs that call the same random ops in the same order after
/// `begin_step` with the same numbers get the same values.
///
/// Cheap to clone. Clones share the place and the count: a layer can keep a handle while the training loop
/// moves the generator on.
///
/// ```no_run
/// # use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Tensor};
/// # fn main() -> wgrad_tensor::Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 42)?;
/// let weight = Tensor::randn(&device, &[4, 4], &generator)?; // an initial value
/// for step in 0..10 {
///     generator.begin_step(step, 0)?;
///     let y = weight.dropout(0.1, &generator)?; // another mask in every step
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Generator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seed: u64,
    state: Tensor,
    /// The words in `state`, for draws on the host.
    host: Mutex<[u32; 4]>,
    ops: AtomicU32,
}

impl Generator {
    /// A generator for initial values. Draws made before the first [`Generator::begin_step`] have a stream of
    /// random words of their own.
    pub fn new(device: &Device, seed: u64) -> Result<Generator> {
        let words = state(seed, 0, INITIAL)?;
        Ok(Generator(Arc::new(Inner {
            seed,
            state: Tensor::from_slice(device, &words, &[4])?,
            host: Mutex::new(words),
            ops: AtomicU32::new(0),
        })))
    }

    /// Goes to a step (below 2^48) and a micro-batch of that step (gradient accumulation; below 65,535), and counts
    /// random ops from 0 again. The numbers are written in place on the device, after all work recorded so far. A
    /// backward pass through random ops of an earlier step is refused from here on: call `backward` first.
    pub fn begin_step(&self, step: u64, micro_batch: u32) -> Result<()> {
        if micro_batch >= INITIAL {
            return Err(Error::op(
                "begin_step",
                format!(
                    "micro-batch {micro_batch} must be below {INITIAL}, which stands for initial values"
                ),
            ));
        }
        let words = state(self.0.seed, step, micro_batch)?;
        self.0.state.copy_from_slice(&words)?;
        *self.0.host.lock().unwrap_or_else(PoisonError::into_inner) = words;
        self.0.ops.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The words of [`state`] on the device (u32, four of them), for kernels.
    pub fn state(&self) -> &Tensor {
        &self.0.state
    }

    /// The number of the next random op of this step; every call gives another.
    pub fn next_op(&self) -> u32 {
        draws::next_op(self.0.state.id(), &self.0.ops)
    }

    /// `n` uniform numbers in 0..1 on the host. They are the values that the next [`Tensor::rand`] would draw, without
    /// a launch and without waiting for the device.
    pub fn rand_on_host(&self, n: usize) -> Vec<f32> {
        let state = *self.0.host.lock().unwrap_or_else(PoisonError::into_inner);
        let op = self.next_op();
        let unit = |word: u32| (word >> 8) as f32 * 2.0f32.powi(-24);
        let blocks = (0..n.div_ceil(4) as u32).map(|block| {
            let counter = [block, op, state[2], state[3]];
            philox4x32_10(counter, [state[0], state[1]])
        });
        blocks.flatten().take(n).map(unit).collect()
    }

    /// Refuses tensors of another device.
    pub(crate) fn check_device(&self, op: &'static str, device: &Device) -> Result<()> {
        if self.0.state.device() == device {
            return Ok(());
        }
        Err(Error::op(
            op,
            format!(
                "the generator is on {:?}, the tensor on {device:?}; make a generator for that device",
                self.0.state.device()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers() {
        // Random123's kat_vectors.
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let pi_key = [0xa409_3822, 0x299f_31d0];
        for (counter, key, answer) in [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [!0; 4],
                [!0; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                pi,
                pi_key,
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), answer);
        }
        let seven = [0x4dfc_caba, 0x190a_87f0, 0xc473_62ba, 0xb6b5_242a];
        assert_eq!(philox(pi, pi_key, 7), seven);
    }

    #[test]
    fn the_host_draws_what_the_device_draws() {
        let device = Device::open(Default::default()).unwrap();
        let [here, there] = [(); 2].map(|()| Generator::new(&device, 9).unwrap());
        for n in [1, 1001] {
            let drawn = Tensor::rand(&device, &[n], 0.0, 1.0, &there).unwrap();
            assert_eq!(here.rand_on_host(n), drawn.to_vec::<f32>().unwrap());
            for generator in [&here, &there] {
                generator.begin_step(3, 1).unwrap();
            }
        }
    }

    #[test]
    fn long_runs_keep_their_steps_apart() {
        assert_eq!(state(7 << 32 | 5, 3, 2).unwrap(), [5, 7, 3, 2]);
        assert_eq!(state(0, 1 << 32, 2).unwrap(), [0, 0, 0, 0x1_0002]);
        assert!(state(0, 1 << 48, 0).is_err());
        assert!(state(0, 0, 1 << 16).is_err());
    }
}
