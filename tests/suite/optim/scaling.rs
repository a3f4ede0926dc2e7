//! Loss scaling: the same steps as without it, skipped ones left out, and what f16 would lose is kept.

use wgrad::nn::Parameters;
use wgrad::nn::optim::{AdamConfig, GradScaler, GradScalerState, Optimizer, SgdConfig};
use wgrad::tensor::ops::optim::{Scaling, StepRule, adamw_scalars};
use wgrad::tensor::{DType, Device, Gradients, Tensor};

use super::{LR, adamw, close, device, gradients, groups, parameter, sgd, small, values};

/// The gradients of step `t` of a loss times `scale`, or with one that overflowed.
fn scaled(params: &Parameters, t: usize, scale: f32, overflow: bool) -> Gradients {
    let plain = gradients(params, t);
    let mut out = Gradients::default();
    for (i, (_, tensor)) in params.iter().enumerate() {
        let mut values = plain.get(tensor).unwrap().to_vec::<f32>().unwrap();
        values.iter_mut().for_each(|v| *v *= scale);
        if overflow && i == 0 {
            values[1] = f32::INFINITY;
            values[2] = f32::NAN;
        }
        let shape = [values.len()];
        out.insert(
            tensor,
            Tensor::from_slice(tensor.device(), &values, &shape).unwrap(),
        );
    }
    out
}

type Make = fn(&Parameters) -> Box<dyn Optimizer>;

/// AdamW, and SGD with momentum and dampening, which treats its first step apart.
fn makers() -> [Make; 2] {
    [
        |params| adamw(AdamConfig::default(), groups(params, 0.1), LR).unwrap(),
        |params| {
            let config = SgdConfig {
                momentum: 0.9,
                dampening: 0.3,
                ..SgdConfig::default()
            };
            sgd(config, groups(params, 0.1), LR).unwrap()
        },
    ]
}

fn with_scaler(mut optimizer: Box<dyn Optimizer>, rule: GradScaler) -> Box<dyn Optimizer> {
    optimizer.set_grad_scaler(rule).unwrap();
    optimizer
}

fn state(optimizer: &dyn Optimizer) -> GradScalerState {
    optimizer.grad_scaler_state().unwrap().unwrap()
}

#[test]
fn scaled_steps_are_the_plain_ones_without_those_that_overflow() {
    let device = device();
    for make in makers() {
        let (params, others) = (small(&device), small(&device));
        let rule = GradScaler {
            init_scale: 1024.0,
            growth_interval: 4,
            ..GradScaler::default()
        };
        let (mut optimizer, mut plain) = (with_scaler(make(&params), rule), make(&others));
        let mut scale = 1024.0;
        let (mut since, mut skipped) = (0, 0);
        for t in 0..16 {
            let overflow = [0, 1, 7].contains(&t);
            let before = values(&params);
            let norm = optimizer
                .step(&scaled(&params, t, scale, overflow), Some(1.0))
                .unwrap();
            if overflow {
                assert!(!norm.item().unwrap().is_finite());
                assert_eq!(values(&params), before, "step {t} is skipped");
                (scale, since, skipped) = (scale / 2.0, 0, skipped + 1);
            } else {
                let want = plain.step(&gradients(&others, t), Some(1.0)).unwrap();
                let want = f64::from(want.item().unwrap());
                close("norm", &[norm.item().unwrap()], &[want]);
                since += 1;
                if since == 4 {
                    (scale, since) = (scale * 2.0, 0);
                }
            }
            let now = state(&*optimizer);
            assert_eq!((now.scale, now.growth_tracker), (scale, since), "step {t}");
            assert_eq!(now.skipped_steps, skipped);
            let want: Vec<f64> = values(&others).iter().map(|v| f64::from(*v)).collect();
            close("parameters", &values(&params), &want);
        }
        // Four values in one piece of the norm: the last parameter of it is named.
        assert_eq!(state(&*optimizer).overflowed.as_deref(), Some("bias"));
    }
}

/// Parameters that take part in some steps only, skipped ones among them, count their own updates.
#[test]
fn a_parameter_without_a_gradient_counts_no_step() {
    let device = device();
    for make in makers() {
        let (params, others) = (small(&device), small(&device));
        let mut optimizer = with_scaler(make(&params), GradScaler::default());
        let mut plain = make(&others);
        let mut scale = 65_536.0;
        let mut made = [0u64; 2];
        // Whether `weight` and `bias` have a gradient, and whether one of them overflowed.
        let steps = [
            (true, false, true),
            (true, false, false),
            (true, true, true),
            (false, true, false),
            (true, false, true),
            (true, true, false),
            (false, true, true),
            (true, true, false),
        ];
        for (t, (weight, bias, overflow)) in steps.into_iter().enumerate() {
            let part = |all: Gradients, params: &Parameters| {
                let mut some = Gradients::default();
                for ((_, tensor), due) in params.iter().zip([weight, bias]) {
                    if due {
                        some.insert(tensor, all.get(tensor).unwrap().clone());
                    }
                }
                some
            };
            let mut given = scaled(&params, t, scale, overflow);
            if overflow && !weight {
                let (_, tensor) = &params[1];
                let bad = vec![f32::NAN; tensor.numel()];
                given.insert(
                    tensor,
                    Tensor::from_slice(&device, &bad, tensor.shape()).unwrap(),
                );
            }
            optimizer.step(&part(given, &params), None).unwrap();
            if overflow {
                scale /= 2.0;
            } else {
                plain
                    .step(&part(gradients(&others, t), &others), None)
                    .unwrap();
                made[0] += u64::from(weight);
                made[1] += u64::from(bias);
            }
            let want: Vec<f64> = values(&others).iter().map(|v| f64::from(*v)).collect();
            close("parameters", &values(&params), &want);
            let saved = optimizer.state_dict().unwrap();
            for ((name, _), made) in params.iter().zip(made) {
                let steps = saved.steps.get(name).copied().unwrap_or(0);
                assert_eq!(steps, made, "`{name}` after step {t}");
            }
        }
    }
}

#[test]
fn the_parameter_that_overflowed_is_named() {
    let device = device();
    let names = ["first", "second", "third"];
    let params: Parameters = names
        .iter()
        .map(|name| (name.to_string(), parameter(&device, &vec![0.5; 40_000])))
        .collect();
    let mut optimizer = with_scaler(makers()[0](&params), GradScaler::default());
    let mut gradients = Gradients::default();
    for (i, (_, tensor)) in params.iter().enumerate() {
        let mut values = vec![1.0f32; 40_000];
        if i < 2 {
            values[20_000] = f32::INFINITY;
        }
        gradients.insert(
            tensor,
            Tensor::from_slice(&device, &values, &[40_000]).unwrap(),
        );
    }
    assert_eq!(state(&*optimizer).overflowed, None);
    optimizer.step(&gradients, None).unwrap();
    assert_eq!(state(&*optimizer).overflowed.as_deref(), Some("second"));
}

#[test]
fn a_saved_scaler_continues_with_the_same_bits() {
    let device = device();
    for make in makers() {
        let params = small(&device);
        let rule = GradScaler::default();
        let mut optimizer = with_scaler(make(&params), rule);
        for t in 0..5 {
            optimizer
                .step(&scaled(&params, t, 1.0, t == 0 || t == 3), None)
                .unwrap();
        }
        let saved = optimizer.state_dict().unwrap();
        assert_eq!(saved.grad_scaler, Some((16_384.0, 1)));
        assert_eq!(saved.steps["weight"], 3);
        let copies: Parameters = params
            .iter()
            .map(|(name, tensor)| {
                let values = tensor.to_vec::<f32>().unwrap();
                (name.clone(), parameter(&device, &values))
            })
            .collect();
        let mut resumed = with_scaler(make(&copies), rule);
        resumed.load_state_dict(&saved).unwrap().strict().unwrap();
        for t in 5..9 {
            optimizer
                .step(&scaled(&params, t, 1.0, t == 6), None)
                .unwrap();
            resumed
                .step(&scaled(&copies, t, 1.0, t == 6), None)
                .unwrap();
        }
        assert_eq!(values(&params), values(&copies));
        assert_eq!(state(&*optimizer).scale, state(&*resumed).scale);
    }
}

#[test]
fn bias_corrections_of_the_device_have_full_precision() {
    let device = device();
    let steps = [1u32, 2, 3, 9, 60, 499, 500, 501, 700, 5000, 100_000];
    let rows = [0.5f32, 0.75, 0.25, 1.0].repeat(steps.len());
    let rows = Tensor::from_slice(&device, &rows, &[steps.len(), 4]).unwrap();
    let clip = Tensor::ones(&device, &[2], DType::F32).unwrap();
    let scalars = Tensor::empty(&device, rows.shape(), DType::F32).unwrap();
    for betas in [(0.9, 0.999), (0.0, 0.95), (0.5, 0.9999)] {
        let before: Vec<f32> = steps.iter().map(|t| (t - 1) as f32).collect();
        let made = Tensor::from_slice(&device, &before, &[steps.len()]).unwrap();
        let scaling = Scaling::new(&device, GradScaler::default()).unwrap();
        scaling
            .scalars(&rows, StepRule::Adam { betas }, (&clip, &made), &scalars)
            .unwrap();
        let after: Vec<f32> = steps.iter().map(|t| *t as f32).collect();
        assert_eq!(made.to_vec::<f32>().unwrap(), after);
        let got = scalars.to_vec::<f32>().unwrap();
        for (t, got) in steps.iter().zip(got.chunks(4)) {
            let want = adamw_scalars(0.5, 0.5, 0.25, betas, u64::from(*t));
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() <= 5e-7 * w.abs(), "step {t}: {g}, {w}");
            }
        }
    }
}

/// A gradient far below f16's smallest number reaches an f32 weight through f16 activations.
#[test]
fn small_gradients_survive_f16() {
    let device = device();
    if !device.has_f16() {
        println!("skipped: the adapter has no f16");
        return;
    }
    let run = |device: &Device, rule: Option<GradScaler>| {
        let weight = parameter(device, &[0.5; 4]);
        let matrix = weight.reshape(&[1, 4]).unwrap();
        let params = vec![("weight".to_owned(), weight.clone())];
        let mut optimizer = makers()[0](&params);
        if let Some(rule) = rule {
            optimizer.set_grad_scaler(rule).unwrap();
        }
        let x = Tensor::ones(device, &[1, 4], DType::F16).unwrap();
        let y = x.linear(&matrix, None, None).unwrap();
        assert_eq!(y.dtype(), DType::F16);
        let loss = y.cast(DType::F32).unwrap().mul_scalar(1e-9).unwrap();
        let loss = loss.sum_all().unwrap();
        let gradients = optimizer.scale(&loss).unwrap().backward().unwrap();
        let plain = optimizer.unscale(&gradients).unwrap();
        let plain = plain.get(&weight).unwrap().to_vec::<f32>().unwrap();
        let norm = optimizer.step(&gradients, None).unwrap().item().unwrap();
        (plain, norm)
    };
    let (lost, norm) = run(&device, None);
    assert_eq!((lost, norm), (vec![0.0; 4], 0.0));
    let (kept, norm) = run(&device, Some(GradScaler::default()));
    for value in kept.into_iter().chain([norm / 2.0]) {
        assert!((value - 1e-9).abs() < 1e-12, "{value}");
    }
}

#[test]
fn bad_scalers_are_refused() {
    let device = device();
    let params = small(&device);
    let mut optimizer = makers()[0](&params);
    for rule in [
        GradScaler {
            init_scale: 0.0,
            ..GradScaler::default()
        },
        GradScaler {
            backoff_factor: 1.0,
            ..GradScaler::default()
        },
        GradScaler {
            growth_interval: 0,
            ..GradScaler::default()
        },
    ] {
        let error = optimizer.set_grad_scaler(rule).unwrap_err().to_string();
        assert!(error.contains("backoff_factor between 0 and 1"), "{error}");
    }
    optimizer.step(&gradients(&params, 0), None).unwrap();
    let late = optimizer.set_grad_scaler(GradScaler::default());
    assert!(late.unwrap_err().to_string().contains("before the first"));
}
