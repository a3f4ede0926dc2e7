//! Initial values of parameters, with the definitions of `torch.nn.init`.

use wgrad_tensor::{DType, Device, Error, Generator, Result, Tensor};

/// How a parameter starts. The fans of a weight (out, in, …) are its second and first side, times the
/// product of the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// This everywhere.
    Constant(f32),
    /// Uniform between the bounds.
    Uniform {
        /// The lowest value.
        low: f32,
        /// The end of the range, exclusive.
        high: f32,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f32,
        /// The standard deviation.
        std: f32,
    },
    /// Normal, but never outside of `low..high`.
    TruncatedNormal {
        /// The mean before truncation.
        mean: f32,
        /// The standard deviation before truncation.
        std: f32,
        /// The lowest value.
        low: f32,
        /// The highest value.
        high: f32,
    },
    /// Uniform within gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).
    XavierUniform {
        /// The factor on the range or deviation: 1 for linear layers, 5/3 for tanh.
        gain: f32,
    },
    /// Normal of standard deviation gain * sqrt(2 / (fan_in + fan_out)).
    XavierNormal {
        /// The factor on the range or deviation: 1 for linear layers, 5/3 for tanh.
        gain: f32,
    },
    /// Uniform within sqrt(6 / ((1 + a²) fan_in)) (He et al., arXiv:1502.01852); `a` is the slope of a
    /// leaky ReLU that follows, sqrt(5) in PyTorch's `nn.Linear`.
    KaimingUniform {
        /// The negative slope of the leaky ReLU behind the layer; 0 for ReLU.
        a: f32,
    },
    /// Normal of standard deviation sqrt(2 / ((1 + a²) fan_in)).
    KaimingNormal {
        /// The negative slope of the leaky ReLU behind the layer; 0 for ReLU.
        a: f32,
    },
}

impl Init {
    /// PyTorch's default for the weight of `nn.Linear`: uniform within 1 / sqrt(fan_in).
    pub fn linear_default() -> Self {
        Init::KaimingUniform { a: 5f32.sqrt() }
    }

    /// A new f32 parameter of `shape` that requires a gradient. Equal seeds and an equal order of calls
    /// give equal values.
    ///
    /// Errors: a shape without fans (fewer than two sides) for the Xavier and Kaiming schemes; bounds in
    /// the wrong order; what the device refuses.
    pub fn tensor(
        &self,
        device: &Device,
        shape: &[usize],
        generator: &Generator,
    ) -> Result<Tensor> {
        let tensor = match *self {
            Init::Zeros => Tensor::zeros(device, shape, DType::F32)?,
            Init::Ones => Tensor::ones(device, shape, DType::F32)?,
            Init::Constant(value) => Tensor::full(device, shape, value, DType::F32)?,
            Init::Uniform { low, high } => Tensor::rand(device, shape, low, high, generator)?,
            Init::Normal { mean, std } => {
                Tensor::randn(device, shape, generator)?.affine(std, mean)?
            }
            Init::TruncatedNormal {
                mean,
                std,
                low,
                high,
            } => {
                let uniform = generator.rand_on_host(shape.iter().product());
                let values = truncated(&uniform, mean, std, low, high)?;
                Tensor::from_slice(device, &values, shape)?
            }
            Init::XavierUniform { gain } => {
                let (fan_in, fan_out) = fans(shape)?;
                let bound = gain * (6.0 / (fan_in + fan_out)).sqrt();
                Tensor::rand(device, shape, -bound, bound, generator)?
            }
            Init::XavierNormal { gain } => {
                let (fan_in, fan_out) = fans(shape)?;
                let std = gain * (2.0 / (fan_in + fan_out)).sqrt();
                Tensor::randn(device, shape, generator)?.mul_scalar(std)?
            }
            Init::KaimingUniform { a } => {
                let bound = (6.0 / ((1.0 + a * a) * fans(shape)?.0)).sqrt();
                Tensor::rand(device, shape, -bound, bound, generator)?
            }
            Init::KaimingNormal { a } => {
                let std = (2.0 / ((1.0 + a * a) * fans(shape)?.0)).sqrt();
                Tensor::randn(device, shape, generator)?.mul_scalar(std)?
            }
        };
        tensor.set_requires_grad(true)?;
        Ok(tensor)
    }
}

/// (fan_in, fan_out), each at least 1 so that empty weights stay finite.
fn fans(shape: &[usize]) -> Result<(f32, f32)> {
    let [outputs, inputs, rest @ ..] = shape else {
        return Err(Error::op(
            "init",
            format!("shape {shape:?} has no fans; Xavier and Kaiming need (out, in, …)"),
        ));
    };
    let field: usize = rest.iter().product();
    Ok((
        (inputs * field).max(1) as f32,
        (outputs * field).max(1) as f32,
    ))
}

/// Numbers of a normal distribution cut off at both bounds, from uniform ones, by the inverse of its
/// distribution function: as PyTorch's `trunc_normal_`.
fn truncated(uniform: &[f32], mean: f32, std: f32, low: f32, high: f32) -> Result<Vec<f32>> {
    if !(low < high && std > 0.0) {
        return Err(Error::op(
            "init",
            format!("truncated normal: bounds {low}..{high} and std {std} must be positive ranges"),
        ));
    }
    let (mean, std) = (f64::from(mean), f64::from(std));
    let from = normal_cdf((f64::from(low) - mean) / std);
    let to = normal_cdf((f64::from(high) - mean) / std);
    Ok(uniform
        .iter()
        .map(|u| {
            // In the middle of the 2^-24 that a 24-bit number stands for: never 0 or 1.
            let u = f64::from(*u) + 0.5f64.powi(25);
            let value = mean + std * normal_quantile(from + (to - from) * u);
            (value as f32).clamp(low, high)
        })
        .collect())
}

/// The normal distribution function, by the error function's approximation 7.1.26 of Abramowitz and
/// Stegun (error below 1.5e-7: the bounds need no more).
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t
        + 0.254829592)
        * t;
    let tail = 0.5 * sum * (-z * z).exp();
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The inverse of the normal distribution function for 0 < p < 1, by P. J. Acklam's rational
/// approximation (relative error below 1.2e-9).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
        1.0,
    ];
    let horner = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let lower_tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / horner(&D, q)
    };
    if p < 0.02425 {
        lower_tail(p)
    } else if p > 1.0 - 0.02425 {
        -lower_tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * horner(&A, q * q) / horner(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_inverts_the_distribution_function() {
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959963984540054),
            (0.025, -1.959963984540054),
            (0.999, 3.090232306167813),
            (0.01, -2.326347874040841),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-8, "{p}");
            assert!((normal_cdf(x) - p).abs() < 2e-7, "{p}");
        }
    }

    #[test]
    fn truncated_values_stay_within_their_bounds_and_have_the_right_moments() {
        let n = 1 << 14;
        let uniform: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
        let values = truncated(&uniform, 0.5, 2.0, -1.5, 4.5).unwrap();
        assert!(values.iter().all(|v| (-1.5..=4.5).contains(v)));
        // A normal distribution cut off one standard deviation below its mean and two above it.
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        assert!((mean - (0.5 + 2.0 * 0.229_637)).abs() < 1e-3, "{mean}");
        assert!(truncated(&uniform, 0.0, 1.0, 1.0, 1.0).is_err());
    }

    #[test]
    fn fans_of_weights() {
        assert_eq!(fans(&[3, 5]).unwrap(), (5.0, 3.0));
        assert_eq!(fans(&[3, 5, 2, 2]).unwrap(), (20.0, 12.0));
        assert!(fans(&[3]).is_err());
    }
}
