//! Tensors of random numbers, for initialisers.

use wgrad_runtime::{Defines, Device};

use crate::cases::{Case, HostArray, Input};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::pieces::pieces;
use crate::random::{Generator, INITIAL, state, word};
use crate::tensor::Tensor;

impl Tensor {
    /// Uniform f32 numbers from `low` up to but without `high` (rounding may reach it if `low` is not
    /// 0), on multiples of (high - low) / 2^24. For 0 and 1 they are the same bits on every adapter,
    /// for other bounds to within rounding.
    ///
    /// Errors unless both bounds are finite, `low` is not above `high`, and `device` is the
    /// generator's.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Generator, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let generator = Generator::new(&device, 7)?;
    /// let x = Tensor::rand(&device, &[100], -1.0, 1.0, &generator)?.to_vec::<f32>()?;
    /// assert!(x.iter().all(|v| (-1.0..=1.0).contains(v)));
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn rand(
        device: &Device,
        shape: &[usize],
        low: f32,
        high: f32,
        generator: &Generator,
    ) -> Result<Tensor> {
        let width = high - low;
        if !low.is_finite() || !width.is_finite() || width < 0.0 {
            return Err(Error::op(
                "rand",
                format!("{low}..{high} is no range of finite numbers"),
            ));
        }
        generator.check_device("rand", device)?;
        draw(
            "rand",
            device,
            shape,
            &[("low", low), ("width", width)],
            generator,
        )
    }

    /// Normal f32 numbers with mean 0 and variance 1 (Box and Muller, 1958), at most 5.8 from 0; the
    /// same on every adapter to within rounding. Scale and shift them with `affine`.
    ///
    /// Errors if `device` is not the generator's.
    pub fn randn(device: &Device, shape: &[usize], generator: &Generator) -> Result<Tensor> {
        generator.check_device("randn", device)?;
        draw("randn", device, shape, &[], generator)
    }
}

/// A tensor of what `kernel` draws, with its numbers.
fn draw(
    kernel: &str,
    device: &Device,
    shape: &[usize],
    floats: &[(&str, f32)],
    generator: &Generator,
) -> Result<Tensor> {
    let y = Tensor::empty(device, shape, DType::F32)?;
    let op = generator.next_op() as usize;
    let kernel = device.kernel(kernel, &Defines::new())?;
    pieces(&[y.detach()], &mut |parts| {
        for y in parts {
            let binding = y.binding();
            let launch = device
                .launch(&kernel)
                .u32("n", y.numel())
                .u32("y_offset", binding.lead)
                .u32("op", op)
                .u32("first", y.offset() / 4);
            floats
                .iter()
                .fold(launch, |launch, (name, value)| launch.f32(name, *value))
                .bind(generator.state().buffer())
                .window(y.buffer(), binding.offset, binding.bytes)
                .invocations(y.numel().div_ceil(4) as u64)?;
        }
        Ok(())
    })?;
    Ok(y)
}

/// The number in 0..1 of element `i`.
fn unit(words: [u32; 4], op: u32, i: usize) -> f64 {
    f64::from(word(words, op, i) >> 8) / 16_777_216.0
}

fn normal(words: [u32; 4], op: u32, i: usize) -> f64 {
    let first = i & !1;
    let u = unit(words, op, first) + 1.0 / 16_777_216.0;
    let angle = std::f64::consts::TAU * unit(words, op, first + 1);
    let wave = if i == first { angle.cos() } else { angle.sin() };
    (-2.0 * u.ln()).sqrt() * wave
}

/// The rows of the op matrix. The input lends its shape and device.
pub fn cases(out: &mut Vec<Case>) {
    for shape in [
        vec![],
        vec![1],
        vec![3],
        vec![257],
        vec![3, 5],
        vec![0, 4],
        vec![33, 17],
        vec![1025],
        vec![2, 3, 4, 5],
        vec![64, 1024],
    ] {
        let input = || vec![Input::new(&shape, DType::F32).frozen()];
        for seed in [0u64, 0x1234_5678_9abc_def0] {
            let words = move || state(seed, 0, INITIAL).unwrap_or_default();
            for (low, high) in [(0.0f32, 1.0f32), (-0.25, 0.5)] {
                // PyTorch draws other numbers.
                let case = Case::new(
                    "rand",
                    "",
                    input(),
                    move |x| {
                        let generator = Generator::new(x[0].device(), seed)?;
                        Tensor::rand(x[0].device(), x[0].shape(), low, high, &generator)
                    },
                    move |x: &[HostArray]| {
                        let mut y = x[0].clone();
                        for (i, value) in y.data.iter_mut().enumerate() {
                            *value = f64::from(low) + f64::from(high - low) * unit(words(), 0, i);
                        }
                        y
                    },
                )
                .note(format!("{low}..{high} seed {seed}"));
                // From 0 to 1 every bit is known.
                out.push(match (low, high) {
                    (0.0, 1.0) => case.tolerance(1e-12),
                    _ => case,
                });
            }
            let case = Case::new(
                "randn",
                "",
                input(),
                move |x| {
                    let generator = Generator::new(x[0].device(), seed)?;
                    generator.next_op();
                    Tensor::randn(x[0].device(), x[0].shape(), &generator)
                },
                move |x: &[HostArray]| {
                    let mut y = x[0].clone();
                    for (i, value) in y.data.iter_mut().enumerate() {
                        *value = normal(words(), 1, i);
                    }
                    y
                },
            );
            out.push(case.note(format!("seed {seed}")));
        }
    }
    for (low, high) in [(1.0, 0.0), (0.0, f32::INFINITY), (f32::NAN, 1.0)] {
        out.push(Case::rejects(
            "rand",
            vec![Input::new(&[5], DType::F32).frozen()],
            move |x| {
                let generator = Generator::new(x[0].device(), 0)?;
                Tensor::rand(x[0].device(), x[0].shape(), low, high, &generator)
            },
            "no range of finite numbers",
        ));
    }
}
