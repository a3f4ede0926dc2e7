//! A model of your own: a struct of layers with `#[derive(Module)]`, trained on two spirals, saved to a
//! file, and loaded again.
//!
//! Run: cargo run --release --example mlp

use wgrad::nn::{load, save};
use wgrad::prelude::*;
use wgrad::tensor::Result;

/// Two hidden layers. The names of the fields are the names of the parameters: `hidden1.weight`, …
#[derive(Module)]
struct Mlp {
    hidden1: Linear,
    hidden2: Linear,
    output: Linear,
}

impl Mlp {
    fn new(hidden: usize, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            hidden1: Linear::new(2, hidden, &vb.pp("hidden1"))?,
            hidden2: Linear::new(hidden, hidden, &vb.pp("hidden2"))?,
            output: Linear::new(hidden, 2, &vb.pp("output"))?,
        })
    }

    /// `x` is (N, 2); the result holds the logits of the two classes, (N, 2).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.hidden1.forward(x)?.tanh()?;
        let x = self.hidden2.forward(&x)?.tanh()?;
        self.output.forward(&x)
    }
}

/// Points on two spirals that wind around each other, and the spiral of each point.
fn spirals(points: usize) -> (Vec<f32>, Vec<u32>) {
    let (mut xy, mut classes) = (Vec::new(), Vec::new());
    for i in 0..points {
        let class = i % 2;
        let along = i as f32 / points as f32;
        let angle = 4.0 * along * std::f32::consts::PI + class as f32 * std::f32::consts::PI;
        xy.extend([along * angle.cos(), along * angle.sin()]);
        classes.push(class as u32);
    }
    (xy, classes)
}

/// The share of points that the model puts on the right spiral.
fn accuracy(model: &Mlp, x: &Tensor, classes: &[u32]) -> Result<f64> {
    let predicted = no_grad(|| model.forward(x)?.argmax(-1, false))?.to_vec::<u32>()?;
    let right = predicted.iter().zip(classes).filter(|(a, b)| a == b);
    Ok(right.count() as f64 / classes.len() as f64)
}

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    let generator = Generator::new(&device, 1)?;
    let model = Mlp::new(32, &VarBuilder::fresh(&device, &generator))?;
    for (name, tensor) in model.named_parameters() {
        println!("{name}: {:?}", tensor.shape());
    }
    println!("{} parameters", model.num_parameters());

    let (xy, classes) = spirals(256);
    let x = Tensor::from_slice(&device, &xy, &[256, 2])?;
    let y = Tensor::from_slice(&device, &classes, &[256])?;
    let config = AdamWConfig {
        lr: 0.01,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(model.named_parameters(), config)?;
    for step in 1..=600 {
        let loss = model
            .forward(&x)?
            .cross_entropy(&y, &CrossEntropy::default())?;
        optimizer.step(&loss.backward()?, None)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.4}", loss.item()?);
        }
    }
    let trained = accuracy(&model, &x, &classes)?;
    println!("accuracy {trained:.3}");
    anyhow::ensure!(trained > 0.95, "it did not learn");

    // The file is in the safetensors format: PyTorch reads it with `safetensors.torch.load_file`.
    let path = std::env::temp_dir().join(format!("wgrad-mlp-{}.safetensors", std::process::id()));
    save(&model, &path)?;
    let other = Mlp::new(32, &VarBuilder::fresh(&device, &generator))?;
    load(&other, &path)?.strict()?;
    std::fs::remove_file(&path)?;
    let loaded = no_grad(|| other.forward(&x))?.to_vec::<f32>()?;
    let saved = no_grad(|| model.forward(&x))?.to_vec::<f32>()?;
    anyhow::ensure!(loaded == saved, "the loaded model computes something else");
    println!("saved, loaded, and the same to the bit");
    Ok(())
}
