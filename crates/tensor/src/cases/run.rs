//! Runs one row of the op matrix on a device.

use half::f16;
use wgrad_runtime::Device;

use super::{Case, Expect, Fill, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::numel;
use crate::tensor::{NO_F16, Tensor};

/// Finite differences are taken at this many elements of each input, and along one direction.
const SAMPLES: usize = 6;

/// How a row went.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Values and gradients agree; the largest error over its tolerance.
    Passed {
        /// The largest error over its tolerance: 1 is the most that passes.
        worst: f64,
    },
    /// What went wrong.
    Failed(String),
    /// The device cannot run the row, for this reason.
    Skipped(String),
}

/// The inputs and results of a row, for comparison elsewhere.
#[derive(Default)]
pub struct Dump {
    /// The inputs, rounded to their types.
    pub inputs: Vec<HostArray>,
    /// The result; `None` where the row expects an error.
    pub y: Option<HostArray>,
    /// The gradient of the result that the backward pass started from.
    pub dy: Option<HostArray>,
    /// The gradient of each input; `None` for inputs without one.
    pub gradients: Vec<Option<HostArray>>,
}

/// Pseudo-random numbers from a name: rows do not depend on their order.
struct Draw(u64);

impl Draw {
    fn new(text: &str) -> Self {
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
    /// Uniform in 0..1 (SplitMix64).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn rounded(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => f16::from_f64(value).to_f64(),
        DType::U32 | DType::I32 => value.trunc(),
    }
}

fn draw(input: &Input, random: &mut Draw) -> HostArray {
    let mut values = HostArray::from_fn(&input.shape, |_| {
        let u = random.next();
        let value = match input.fill {
            Fill::Uniform(low, high) => low + (high - low) * u,
            Fill::Steps(n) => (u * f64::from(2 * n + 1)).floor() / f64::from(n) - 1.0,
            Fill::Index(n) => (u * f64::from(n)).floor(),
        };
        rounded(value, input.dtype)
    });
    if input.layout == Layout::Expanded && !input.shape.is_empty() {
        let row = values.data.len() / input.shape[0].max(1);
        for i in row..values.data.len() {
            values.data[i] = values.data[i % row];
        }
    }
    values
}

fn upload(device: &Device, values: &[f64], shape: &[usize], dtype: DType) -> Result<Tensor> {
    match dtype {
        DType::F32 => {
            let v: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            Tensor::from_slice(device, &v, shape)
        }
        DType::F16 => {
            let v: Vec<f16> = values.iter().map(|v| f16::from_f64(*v)).collect();
            Tensor::from_slice(device, &v, shape)
        }
        DType::U32 => {
            let v: Vec<u32> = values.iter().map(|v| *v as u32).collect();
            Tensor::from_slice(device, &v, shape)
        }
        DType::I32 => {
            let v: Vec<i32> = values.iter().map(|v| *v as i32).collect();
            Tensor::from_slice(device, &v, shape)
        }
    }
}

/// Puts `values` on the device so that the tensor has the input's layout, and makes it a leaf.
fn place(device: &Device, input: &Input, values: &HostArray) -> Result<Tensor> {
    let rank = input.shape.len();
    let view = match input.layout {
        Layout::Transposed if rank >= 2 => {
            let mut dims: Vec<usize> = (0..rank).collect();
            dims.swap(rank - 2, rank - 1);
            let stored = values.permute(&dims);
            upload(device, &stored.data, &stored.shape, input.dtype)?.transpose(-2, -1)?
        }
        Layout::Sliced if rank >= 1 => {
            // One more element in every dimension in front and two behind; these are poison.
            let outer: Vec<usize> = input.shape.iter().map(|s| s + 3).collect();
            let poison = if input.dtype.is_float() {
                f64::NAN
            } else {
                4e9
            };
            let stored = HostArray::from_fn(&outer, |at| {
                let inner: Option<Vec<usize>> = at
                    .iter()
                    .zip(&input.shape)
                    .map(|(i, side)| i.checked_sub(1).filter(|i| i < side))
                    .collect();
                inner.map_or(poison, |at| values.get(&at))
            });
            let mut view = upload(device, &stored.data, &outer, input.dtype)?;
            for (d, side) in input.shape.iter().enumerate() {
                view = view.narrow(d as isize, 1, *side)?;
            }
            view
        }
        Layout::Expanded if rank >= 1 => {
            let mut shape = input.shape.clone();
            shape[0] = 1;
            upload(device, &values.data[..numel(&shape)], &shape, input.dtype)?
                .expand(&input.shape)?
        }
        _ => upload(device, &values.data, &input.shape, input.dtype)?,
    };
    let leaf = view.detach();
    if input.requires_grad {
        leaf.set_requires_grad(true)?;
    }
    Ok(leaf)
}

fn download(tensor: &Tensor) -> Result<HostArray> {
    let data = match tensor.dtype() {
        DType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F16 => tensor
            .to_vec::<f16>()?
            .into_iter()
            .map(f16::to_f64)
            .collect(),
        DType::U32 => tensor.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
    };
    Ok(HostArray {
        shape: tensor.shape().to_vec(),
        data,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Why rows of f16 are skipped.
const WITHOUT_F16: &str = "the adapter has no shader-f16";

/// Runs `case`. `dump` receives what was computed.
pub fn run(device: &Device, case: &Case, dump: Option<&mut Dump>) -> Outcome {
    if case.inputs.iter().any(|i| i.dtype == DType::F16) && !device.has_f16() {
        return Outcome::Skipped(WITHOUT_F16.into());
    }
    let outcome = run_values(device, case, dump);
    let outcome = match outcome {
        Ok(worst) => Outcome::Passed { worst },
        // A row whose result is f16.
        Err(text) if !device.has_f16() && text.contains(NO_F16) => {
            Outcome::Skipped(WITHOUT_F16.into())
        }
        Err(text) => Outcome::Failed(text),
    };
    match device.check_guards() {
        Ok(0) => outcome,
        Ok(n) => Outcome::Failed(format!("{n} buffers were written past their end")),
        Err(e) => Outcome::Failed(e.to_string()),
    }
}

/// The inputs of `case` on the device, as [`run`] gives them to the op: for the benchmark.
pub fn inputs(device: &Device, case: &Case) -> Result<Vec<Tensor>> {
    let mut random = Draw::new(&case.name());
    case.inputs
        .iter()
        .map(|input| place(device, input, &draw(input, &mut random)))
        .collect()
}

fn run_values(
    device: &Device,
    case: &Case,
    dump: Option<&mut Dump>,
) -> std::result::Result<f64, String> {
    let text = |e: Error| e.to_string();
    let mut random = Draw::new(&case.name());
    let values: Vec<HostArray> = case.inputs.iter().map(|i| draw(i, &mut random)).collect();
    let inputs: Vec<Tensor> = case
        .inputs
        .iter()
        .zip(&values)
        .map(|(input, v)| place(device, input, v))
        .collect::<Result<_>>()
        .map_err(text)?;
    let reference = match &case.expect {
        Expect::Error(part) => {
            return match (case.run)(&inputs) {
                Err(e) if e.to_string().contains(part) => Ok(0.0),
                Err(e) => Err(format!("the error is \"{e}\", it should hold \"{part}\"")),
                Ok(_) => Err(format!("it was accepted; an error with \"{part}\" is due")),
            };
        }
        Expect::Values(reference) => reference,
    };
    let y = (case.run)(&inputs).map_err(text)?;
    let got = download(&y).map_err(text)?;
    let want = reference(&values);
    if got.shape != want.shape {
        return Err(format!(
            "the shape is {:?}, it should be {:?}",
            got.shape, want.shape
        ));
    }
    let mut worst = compare("value", &got.data, &want.data, case.tolerance)?;
    let mut gradients = vec![None; inputs.len()];
    let mut cotangent = None;
    if inputs.iter().any(Tensor::requires_grad) {
        let dy = HostArray::from_fn(&got.shape, |_| {
            rounded(random.next() * 2.0 - 1.0, y.dtype())
        });
        let dy_tensor = upload(device, &dy.data, &dy.shape, y.dtype()).map_err(text)?;
        let found = y.backward_with(&dy_tensor).map_err(text)?;
        for (i, input) in inputs.iter().enumerate() {
            if !input.requires_grad() {
                if found.get(input).is_some() {
                    return Err(format!(
                        "a gradient was computed for input {i}, which wants none"
                    ));
                }
                continue;
            }
            let gradient = found
                .get(input)
                .ok_or(format!("input {i} got no gradient"))?;
            let gradient = download(gradient).map_err(text)?;
            let error = differences(
                reference,
                &values,
                i,
                &dy,
                &gradient,
                case.tolerance,
                &mut random,
            )?;
            worst = worst.max(error);
            gradients[i] = Some(gradient);
        }
        cotangent = Some(dy);
    }
    if let Some(dump) = dump {
        *dump = Dump {
            inputs: values,
            y: Some(got),
            dy: cotangent,
            gradients,
        };
    }
    Ok(worst)
}

/// The largest |got - want| over tolerance * max(1, largest |want|); an error if that is above 1.
fn compare(
    what: &str,
    got: &[f64],
    want: &[f64],
    tolerance: f64,
) -> std::result::Result<f64, String> {
    let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let mut worst = 0.0f64;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs() / (tolerance * scale);
        if error.is_nan() || error > 1.0 {
            return Err(format!(
                "{what} {i} is {g}, it should be {w} (tolerance {tolerance})"
            ));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// Checks the gradient of sum(reference * dy) with respect to input `i` by central differences in
/// float64: at some elements, and along a random direction, which involves every element.
fn differences(
    reference: &dyn Fn(&[HostArray]) -> HostArray,
    values: &[HostArray],
    i: usize,
    dy: &HostArray,
    gradient: &HostArray,
    tolerance: f64,
    random: &mut Draw,
) -> std::result::Result<f64, String> {
    let n = values[i].data.len();
    if n == 0 {
        return Ok(0.0);
    }
    let h = 1e-5;
    let mut shifted = values.to_vec();
    let mut slope = |direction: &dyn Fn(usize) -> f64| {
        let mut at = |sign: f64| {
            for (k, v) in shifted[i].data.iter_mut().enumerate() {
                *v = values[i].data[k] + sign * h * direction(k);
            }
            dot(&reference(&shifted).data, &dy.data)
        };
        (at(1.0) - at(-1.0)) / (2.0 * h)
    };
    let mut got = Vec::new();
    let mut want = Vec::new();
    for s in 0..SAMPLES.min(n) {
        let k = match s {
            0 => 0,
            1 => n - 1,
            _ => (random.next() * n as f64) as usize,
        };
        got.push(gradient.data[k]);
        want.push(slope(&|j| f64::from(j == k)));
    }
    let scale = gradient.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let worst = compare(
        &format!("gradient {i} at sample"),
        &got,
        &want,
        tolerance * scale,
    )?;
    let signs: Vec<f64> = (0..n)
        .map(|_| if random.next() < 0.5 { -1.0 } else { 1.0 })
        .collect();
    let along = slope(&|j| signs[j]);
    // Independent roundings add up like a random walk.
    let allowed = tolerance * scale * (n as f64).sqrt();
    let error = (dot(&gradient.data, &signs) - along).abs() / allowed;
    if error.is_nan() || error > 1.0 {
        return Err(format!(
            "gradient {i} along a random direction is {}, it should be {along}",
            dot(&gradient.data, &signs)
        ));
    }
    Ok(worst.max(error))
}
