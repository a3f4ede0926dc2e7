//! Sine and cosine against float64: next to their zeros, and of arguments up to the largest.

use std::f32::consts::FRAC_PI_4;

use wgrad::tensor::{DType, Device, DeviceOptions, Tensor};

/// The largest errors of `got` against `exact`, absolute and in units in the last place of f32.
fn errors(got: &[f32], exact: impl Iterator<Item = f64>) -> (f64, f64) {
    let pairs = got.iter().zip(exact);
    pairs.fold((0.0, 0.0), |(absolute, units): (f64, f64), (y, exact)| {
        let nearest = exact.abs() as f32;
        let unit = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
        let error = (f64::from(*y) - exact).abs();
        (absolute.max(error), units.max(error / unit))
    })
}

fn check(what: &str, device: &Device, values: &[f32]) {
    let x = Tensor::from_slice(device, values, &[values.len()]).unwrap();
    let exact = || values.iter().map(|x| f64::from(*x));
    let sines = x.sin().unwrap().to_vec::<f32>().unwrap();
    let cosines = x.cos().unwrap().to_vec::<f32>().unwrap();
    for (function, (absolute, units)) in [
        ("sin", errors(&sines, exact().map(f64::sin))),
        ("cos", errors(&cosines, exact().map(f64::cos))),
    ] {
        println!("{function}, {what}: {absolute:.2e}, {units:.2} units");
        // 2^-23, as common/trig promises.
        assert!(absolute <= 1.2e-7, "{function}, {what}: {absolute:e}");
        assert!(units <= 4.0, "{function}, {what}: {units} units");
    }
}

#[test]
fn sine_and_cosine_of_any_float() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let both = |x: f32| [x, -x];
    let spread = |top: f32| (0..40_001).map(move |i| top * (i as f32 / 20_000.0 - 1.0));
    check("small", &device, &spread(0.8).collect::<Vec<_>>());
    check("a turn", &device, &spread(7.0).collect::<Vec<_>>());
    check("a thousand", &device, &spread(1e3).collect::<Vec<_>>());
    check("a million", &device, &spread(1e6).collect::<Vec<_>>());
    // Every exponent, with mantissas all over.
    let bits = (0..60_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9) % 0x7f80_0000));
    let normal = bits.filter(|x| x.is_normal());
    check("all", &device, &normal.flat_map(both).collect::<Vec<_>>());
    // The floats beside multiples of a quarter turn, where a sine or cosine is nearly 0; and the worst of all.
    let beside = (1..20_000u32).flat_map(|n| {
        let near = (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32;
        [near.to_bits() - 1, near.to_bits(), near.to_bits() + 1].map(f32::from_bits)
    });
    let worst = [
        16_367_173.0 * 2f32.powi(72),
        f32::MAX,
        FRAC_PI_4.next_down(),
        FRAC_PI_4,
    ];
    let values = beside.chain(worst).flat_map(both).collect::<Vec<_>>();
    check("beside zeros", &device, &values);
}

#[test]
fn sine_and_cosine_of_zeros_and_of_no_number() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let values = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let x = Tensor::from_slice(&device, &values, &[values.len()]).unwrap();
    let sines = x.sin().unwrap().to_vec::<f32>().unwrap();
    let cosines = x.cos().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(sines[..2], [0.0, 0.0]);
    assert_eq!(cosines[..2], [1.0, 1.0]);
    assert!(sines[0].is_sign_positive() && sines[1].is_sign_negative());
    assert!(sines[2..].iter().chain(&cosines[2..]).all(|y| y.is_nan()));
}

/// In f16 the argument is rounded before, the result after.
#[test]
fn sine_and_cosine_in_f16() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    if !device.has_f16() {
        return;
    }
    let values: Vec<f32> = (0..4_001).map(|i| 16.0 * i as f32 - 32_000.0).collect();
    let x = Tensor::from_slice(&device, &values, &[values.len()]).unwrap();
    let half = x.cast(DType::F16).unwrap();
    let rounded = half.cast(DType::F32).unwrap().to_vec::<f32>().unwrap();
    let sines = half.sin().unwrap().cast(DType::F32).unwrap();
    let sines = sines.to_vec::<f32>().unwrap();
    for (x, y) in rounded.iter().zip(sines) {
        let exact = f64::from(*x).sin();
        assert!(
            (f64::from(y) - exact).abs() <= 2f64.powi(-12) + 1e-6,
            "sin {x} is {y}"
        );
    }
}
