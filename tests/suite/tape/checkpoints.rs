//! `checkpoint`: the same bits as without it, in less memory.

use super::{device, leaf, message, values};
use wgrad::tensor::autograd::{checkpoint, no_grad};
use wgrad::tensor::{DType, Device, Generator, Gradients, Result, Tensor};

const LAYERS: usize = 6;
const ROWS: usize = 64;
const CHANNELS: usize = 32;

/// Layers with dropout, each a checkpoint if asked for; several to an outer one if `nested`.
struct Model {
    weights: Vec<Tensor>,
    x: Tensor,
    generator: Generator,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Plain,
    Checkpoints,
    Nested,
}

fn layer(x: &Tensor, weight: &Tensor, generator: &Generator) -> Result<Tensor> {
    let hidden = x.matmul(weight)?.gelu()?.dropout(0.25, generator)?;
    // Much that only this layer's gradient reads.
    let wide = Tensor::concat(&[&hidden, &hidden.tanh()?, &hidden.exp()?], 1)?.silu()?;
    x.add(&wide.narrow(1, CHANNELS / 2, CHANNELS)?.sigmoid()?)
}

impl Model {
    fn new(device: &Device) -> Self {
        Self {
            weights: (0..LAYERS)
                .map(|_| leaf(device, &[CHANNELS, CHANNELS]))
                .collect(),
            x: leaf(device, &[ROWS, CHANNELS]),
            generator: Generator::new(device, 5).unwrap(),
        }
    }

    fn loss(&self, how: How) -> Result<Tensor> {
        let mut x = self.x.clone();
        for pair in self.weights.chunks(2) {
            let weights = pair.to_vec();
            let generator = self.generator.clone();
            let both = move |x: &[Tensor]| {
                let mut x = x[0].clone();
                for weight in &weights {
                    let (weight, generator) = (weight.clone(), generator.clone());
                    let one = move |x: &[Tensor]| layer(&x[0], &weight, &generator);
                    x = match how {
                        How::Plain => one(&[x])?,
                        _ => checkpoint(one, &[&x])?,
                    };
                }
                Ok(x)
            };
            x = match how {
                How::Nested => checkpoint(both, &[&x])?,
                _ => both(&[x])?,
            };
        }
        x.mul(&x)?.mean_all()
    }

    /// Loss and gradients of the first step, and the most memory that the step took.
    fn step(&self, how: How) -> (f32, Vec<Vec<f32>>, u64) {
        self.generator.begin_step(3, 0).unwrap();
        let device = self.x.device();
        device.reset_peak();
        let before = device.memory().in_use;
        let loss = self.loss(how).unwrap();
        let gradients = loss.backward().unwrap();
        let peak = device.memory().peak - before;
        assert_eq!(gradients.len(), LAYERS + 1);
        let read = |of: &Tensor, from: &Gradients| from.get(of).unwrap().to_vec::<f32>().unwrap();
        let all = self.weights.iter().chain([&self.x]);
        let all = all.map(|tensor| read(tensor, &gradients)).collect();
        (loss.item().unwrap(), all, peak)
    }
}

#[test]
fn a_checkpointed_step_has_the_same_bits_and_takes_less_memory() {
    let model = Model::new(&device());
    let (loss, gradients, plain) = model.step(How::Plain);
    for how in [How::Checkpoints, How::Nested] {
        let (same_loss, same, peak) = model.step(how);
        assert_eq!((same_loss, &same), (loss, &gradients));
        assert!(
            2 * peak < plain,
            "{peak} bytes, {plain} without checkpoints"
        );
    }
    // The generator counts on as if nothing had been computed twice.
    let next = |how| {
        model.generator.begin_step(4, 0).unwrap();
        model.loss(how).unwrap().backward().unwrap();
        model.generator.next_op()
    };
    assert_eq!(next(How::Nested), next(How::Plain));
}

#[test]
fn values_changed_before_the_second_run_are_refused() {
    let device = device();
    let (x, weight) = (values(&device, &[3]), leaf(&device, &[3]));
    let loss = || {
        let weight = weight.clone();
        checkpoint(move |x| x[0].mul(&weight), &[&x])
            .unwrap()
            .sum_all()
            .unwrap()
    };
    for changed in [&x, &weight] {
        let before = loss();
        changed.copy_from_slice(&[1f32; 3]).unwrap();
        let text = message(before.backward());
        assert!(
            text.starts_with("checkpoint: ") && text.contains("overwritten"),
            "{text}"
        );
        assert!(loss().backward().is_ok());
    }
    // A function that computes something else the second time.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let other = leaf(&device, &[3]);
    let captured = (weight.clone(), other.clone());
    let y = checkpoint(
        move |x| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => x[0].mul(&captured.0),
            _ => x[0].mul(&captured.1),
        },
        &[&x],
    );
    let text = message(y.unwrap().sum_all().unwrap().backward());
    assert!(text.contains("must compute the same both times"), "{text}");
}

#[test]
fn a_checkpoint_without_gradients_is_the_function() {
    let device = device();
    let x = Tensor::ones(&device, &[2], DType::F32).unwrap();
    let y = checkpoint(|x| x[0].exp(), &[&x]).unwrap();
    assert!(!y.requires_grad());
    x.set_requires_grad(true).unwrap();
    let y = no_grad(|| checkpoint(|x| x[0].exp(), &[&x])).unwrap();
    assert!(!y.requires_grad());
    // A tensor that existed before is passed through.
    let same = checkpoint(|x| Ok(x[0].clone()), &[&x]).unwrap();
    assert_eq!(same.id(), x.id());
}
