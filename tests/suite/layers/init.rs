//! The distributions of initial values.

use wgrad::nn::{Init, Linear, Module, VarBuilder};
use wgrad::tensor::Generator;

use super::device;

/// (least, largest, mean, standard deviation)
fn moments(values: &[f32]) -> (f32, f32, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|v| (f64::from(*v) - mean).powi(2))
        .sum::<f64>()
        / n;
    let low = values.iter().copied().fold(f32::MAX, f32::min);
    let high = values.iter().copied().fold(f32::MIN, f32::max);
    (low, high, mean, variance.sqrt())
}

#[test]
fn initial_values_have_their_distribution() {
    let device = device();
    let generator = Generator::new(&device, 3).unwrap();
    // fan_in 200, fan_out 300
    let draw = |init: Init| {
        let tensor = init.tensor(&device, &[300, 200], &generator).unwrap();
        assert!(tensor.requires_grad());
        moments(&tensor.to_vec::<f32>().unwrap())
    };
    let uniform = |bound: f64| (-bound, bound, 0.0, bound / 3f64.sqrt());
    let normal = |std: f64| (-5.8 * std, 5.8 * std, 0.0, std);
    for (init, (low, high, mean, std)) in [
        (
            Init::Uniform {
                low: -0.5,
                high: 0.5,
            },
            uniform(0.5),
        ),
        (
            Init::Normal {
                mean: 0.0,
                std: 0.02,
            },
            normal(0.02),
        ),
        (
            Init::XavierUniform { gain: 2.0 },
            uniform(2.0 * (6.0f64 / 500.0).sqrt()),
        ),
        (
            Init::XavierNormal { gain: 1.0 },
            normal((2.0f64 / 500.0).sqrt()),
        ),
        (
            Init::KaimingUniform { a: 0.0 },
            uniform((6.0f64 / 200.0).sqrt()),
        ),
        (
            Init::KaimingNormal { a: 1.0 },
            normal((1.0f64 / 200.0).sqrt()),
        ),
        (Init::linear_default(), uniform((1.0f64 / 200.0).sqrt())),
        (
            Init::TruncatedNormal {
                mean: 0.0,
                std: 0.02,
                low: -0.04,
                high: 0.04,
            },
            // The deviation of a normal distribution cut off at twice its own.
            (-0.04, 0.04, 0.0, 0.02 * 0.879_626),
        ),
        (Init::Constant(0.25), (0.25, 0.25, 0.25, 0.0)),
    ] {
        let got = draw(init);
        assert!(
            f64::from(got.0) >= low - 1e-7 && f64::from(got.1) <= high + 1e-7,
            "{init:?} {got:?}"
        );
        assert!((got.2 - mean).abs() <= std * 0.02, "{init:?} {got:?}");
        assert!((got.3 - std).abs() <= std * 0.02, "{init:?} {got:?}");
    }
    let again = |seed| {
        let generator = Generator::new(&device, seed).unwrap();
        let linear = Linear::new(30, 20, &VarBuilder::fresh(&device, &generator)).unwrap();
        let out = linear.named_parameters();
        assert_eq!(out[1].0, "bias");
        out.iter()
            .map(|(_, t)| t.to_vec::<f32>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(again(9), again(9));
    assert_ne!(again(9), again(10));
    let error = Init::XavierNormal { gain: 1.0 }
        .tensor(&device, &[5], &generator)
        .unwrap_err();
    assert!(error.to_string().contains("no fans"), "{error}");
}
