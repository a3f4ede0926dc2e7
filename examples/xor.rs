//! A small network learns XOR: layers, loss, backward pass, optimizer.
//!
//! Run: cargo run --release --example xor

use wgrad::prelude::*;

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    let generator = Generator::new(&device, 1)?;
    let vb = VarBuilder::fresh(&device, &generator);
    let hidden = Linear::new(2, 16, &vb.pp("hidden"))?;
    let output = Linear::new(16, 1, &vb.pp("output"))?;
    let parameters = (&hidden, &output).named_parameters();
    let config = AdamConfig {
        lr: 0.05,
        ..Default::default()
    };
    let mut optimizer = Adam::new(parameters, config)?;

    let x = Tensor::from_slice(&device, &[0f32, 0., 0., 1., 1., 0., 1., 1.], &[4, 2])?;
    let y = Tensor::from_slice(&device, &[0f32, 1., 1., 0.], &[4, 1])?;
    let forward = |x: &Tensor| output.forward(&hidden.forward(x)?.tanh()?)?.sigmoid();
    for step in 1..=300 {
        let loss = forward(&x)?.sub(&y)?.pow_scalar(2.0)?.mean_all()?;
        optimizer.step(&loss.backward()?, None)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.6}", loss.item()?);
        }
    }
    let answers = no_grad(|| forward(&x))?.to_vec::<f32>()?;
    println!(
        "0 xor 0 = {:.3}, 0 xor 1 = {:.3}, 1 xor 0 = {:.3}, 1 xor 1 = {:.3}",
        answers[0], answers[1], answers[2], answers[3]
    );
    anyhow::ensure!(
        answers[1] > 0.9 && answers[2] > 0.9 && answers[0] < 0.1 && answers[3] < 0.1,
        "it did not learn"
    );
    Ok(())
}
