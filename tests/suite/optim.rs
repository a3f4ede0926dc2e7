//! Optimizers against PyTorch: its own numbers in float64, and its formulas written out on the host.

use wgrad::nn::Parameters;
use wgrad::nn::optim::{Adam, Optimizer, OptimizerState, ParamGroup, Sgd, no_decay};
use wgrad::nn::schedule::{LrScheduler, Schedule};
use wgrad::tensor::{DType, Device, DeviceOptions, Gradients, Result, Tensor};

const STEPS: usize = 20;
const LR: f64 = 0.05;

fn device() -> Device {
    Device::open(DeviceOptions {
        guard: true,
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

fn parameter(device: &Device, values: &[f32]) -> Tensor {
    let tensor = Tensor::from_slice(device, values, &[values.len()]).unwrap();
    tensor.set_requires_grad(true).unwrap();
    tensor
}

/// A weight of three values and a bias of one.
fn small(device: &Device) -> Parameters {
    vec![
        ("weight".into(), parameter(device, &[0.5, -1.0, 2.0])),
        ("bias".into(), parameter(device, &[0.25])),
    ]
}

/// The gradients of step `t` for [`small`], exact in f32: weight, then bias.
fn gradient(t: usize) -> [f64; 4] {
    let w = |i: usize| (((i * 7 + t * 3) % 11) as f64 - 5.0) / 4.0;
    [w(0), w(1), w(2), (((t * 5) % 7) as f64 - 2.0) / 2.0]
}

fn gradients(params: &Parameters, t: usize) -> Gradients {
    let values = gradient(t).map(|v| v as f32);
    let device = params[0].1.device();
    let mut gradients = Gradients::default();
    gradients.insert(
        &params[0].1,
        Tensor::from_slice(device, &values[..3], &[3]).unwrap(),
    );
    gradients.insert(
        &params[1].1,
        Tensor::from_slice(device, &values[3..], &[1]).unwrap(),
    );
    gradients
}

fn values(params: &Parameters) -> Vec<f32> {
    params
        .iter()
        .flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap())
        .collect()
}

/// The weight with this weight decay, the bias without.
fn groups(params: &Parameters, weight_decay: f64) -> Vec<ParamGroup> {
    no_decay(params.clone(), weight_decay)
}

/// Runs [`STEPS`] steps; returns the parameters and the norms of the gradients.
fn train(
    device: &Device,
    make: impl Fn(&Parameters) -> Result<Optimizer>,
    max_norm: Option<f64>,
) -> (Vec<f32>, Vec<f32>) {
    let params = small(device);
    let mut optimizer = make(&params).unwrap();
    let norms: Vec<f32> = (0..STEPS)
        .map(|t| {
            optimizer
                .step(&gradients(&params, t), max_norm)
                .unwrap()
                .item()
                .unwrap()
        })
        .collect();
    (values(&params), norms)
}

fn close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() <= 3e-6 * w.abs().max(1.0),
            "{what} {i}: {g}, {w}"
        );
    }
}

/// Printed by torch.optim 2.15 in float64 for the same parameters and gradients.
#[test]
fn twenty_steps_give_pytorchs_numbers() {
    let device = device();
    let adam = Adam::default();
    let other = Adam {
        betas: (0.8, 0.95),
        eps: 1e-6,
    };
    let momentum = Sgd {
        momentum: 0.9,
        dampening: 0.2,
        nesterov: false,
    };
    let nesterov = Sgd {
        momentum: 0.8,
        dampening: 0.0,
        nesterov: true,
    };
    type Make<'a> = &'a dyn Fn(&Parameters) -> Result<Optimizer>;
    let rows: [(&str, Make, Option<f64>, [f64; 4]); 6] = [
        (
            "sgd",
            &|p| Optimizer::sgd(Sgd::default(), groups(p, 0.0), LR),
            None,
            [0.5375, -1.0625, 1.975, -0.275],
        ),
        (
            "sgd with momentum, dampening, weight decay",
            &|p| Optimizer::sgd(momentum, groups(p, 0.1), LR),
            None,
            [
                0.62251474946,
                -0.802098532197,
                1.07901567745,
                -1.92440419748,
            ],
        ),
        (
            "sgd with nesterov",
            &|p| Optimizer::sgd(nesterov, groups(p, 0.1), LR),
            None,
            [
                0.464350282635,
                -0.794082956082,
                1.19500227574,
                -1.80878690755,
            ],
        ),
        (
            "adam",
            &|p| Optimizer::adam(adam, groups(p, 0.1), LR),
            None,
            [
                0.609468257799,
                -1.04128348497,
                1.77425676679,
                -0.0857355086425,
            ],
        ),
        (
            "adamw",
            &|p| Optimizer::adamw(adam, groups(p, 0.1), LR),
            None,
            [
                0.614239864578,
                -1.05351133421,
                1.82588299206,
                -0.0857355086425,
            ],
        ),
        (
            "adamw with clipping",
            &|p| Optimizer::adamw(other, groups(p, 0.1), LR),
            Some(1.0),
            [
                0.498503464129,
                -0.917659869034,
                1.75872746472,
                -0.0767917656506,
            ],
        ),
    ];
    for (what, make, max_norm, want) in rows {
        let (got, norms) = train(&device, make, max_norm);
        close(what, &got, &want);
        close(what, &norms[..2], &[1.75, 2.03100960115899]);
    }
    assert_eq!(device.check_guards().unwrap(), 0);
}

/// PyTorch's loops on the host, in float64: the parameters after [`STEPS`] steps.
fn host(
    update: impl Fn(&mut Memory, f64, f64, usize) -> f64,
    weight_decay: f64,
    max_norm: Option<f64>,
) -> Vec<f64> {
    let mut p = [0.5, -1.0, 2.0, 0.25];
    let mut memory = [Memory::default(); 4];
    for t in 0..STEPS {
        let g = gradient(t);
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let coefficient = max_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
        for i in 0..4 {
            memory[i].weight_decay = if i < 3 { weight_decay } else { 0.0 };
            p[i] = update(&mut memory[i], p[i], coefficient * g[i], t);
        }
    }
    p.to_vec()
}

#[derive(Clone, Copy, Default)]
struct Memory {
    m: f64,
    v: f64,
    weight_decay: f64,
}

fn host_sgd(memory: &mut Memory, p: f64, g: f64, t: usize, sgd: Sgd) -> f64 {
    let g = g + memory.weight_decay * p;
    memory.m = match t {
        0 => g,
        _ => sgd.momentum * memory.m + (1.0 - sgd.dampening) * g,
    };
    let d = if sgd.nesterov {
        g + sgd.momentum * memory.m
    } else {
        memory.m
    };
    p - LR * if sgd.momentum == 0.0 { g } else { d }
}

fn host_adam(memory: &mut Memory, p: f64, g: f64, t: usize, adam: Adam, decoupled: bool) -> f64 {
    let (beta1, beta2) = adam.betas;
    let wd = memory.weight_decay;
    let (p, g) = if decoupled {
        (p * (1.0 - LR * wd), g)
    } else {
        (p, g + wd * p)
    };
    memory.m += (1.0 - beta1) * (g - memory.m);
    memory.v = beta2 * memory.v + (1.0 - beta2) * g * g;
    let t = t as i32 + 1;
    let denominator = memory.v.sqrt() / (1.0 - beta2.powi(t)).sqrt() + adam.eps;
    p - LR / (1.0 - beta1.powi(t)) * memory.m / denominator
}

#[test]
fn every_variant_follows_the_formulas() {
    let device = device();
    for max_norm in [None, Some(0.7), Some(2.1)] {
        for weight_decay in [0.0, 0.3] {
            for (momentum, dampening, nesterov) in [
                (0.0, 0.0, false),
                (0.9, 0.0, false),
                (0.5, 0.5, false),
                (0.9, 0.0, true),
            ] {
                let sgd = Sgd {
                    momentum,
                    dampening,
                    nesterov,
                };
                let (got, _) = train(
                    &device,
                    |p| Optimizer::sgd(sgd, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_sgd(m, p, g, t, sgd),
                    weight_decay,
                    max_norm,
                );
                close(&format!("{sgd:?} {weight_decay} {max_norm:?}"), &got, &want);
            }
            for (betas, eps) in [
                ((0.9, 0.999), 1e-8),
                ((0.0, 0.9), 1e-3),
                ((0.95, 0.98), 1e-6),
            ] {
                let adam = Adam { betas, eps };
                let (got, _) = train(
                    &device,
                    |p| Optimizer::adam(adam, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_adam(m, p, g, t, adam, false),
                    weight_decay,
                    max_norm,
                );
                close(
                    &format!("adam {adam:?} {weight_decay} {max_norm:?}"),
                    &got,
                    &want,
                );
                let (got, _) = train(
                    &device,
                    |p| Optimizer::adamw(adam, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_adam(m, p, g, t, adam, true),
                    weight_decay,
                    max_norm,
                );
                close(
                    &format!("adamw {adam:?} {weight_decay} {max_norm:?}"),
                    &got,
                    &want,
                );
            }
        }
    }
}

#[test]
fn groups_have_their_own_rate_and_a_schedule_moves_all() {
    let device = device();
    let params = small(&device);
    let parts = vec![
        ParamGroup::new(params[..1].to_vec()).lr_scale(0.1),
        ParamGroup::new(params[1..].to_vec()),
    ];
    let mut optimizer = Optimizer::sgd(Sgd::default(), parts, 0.0).unwrap();
    let scheduler = LrScheduler::new(
        LR,
        Schedule::Linear {
            warmup: 2,
            total: 5,
        },
    )
    .unwrap();
    let mut want = [0.5, -1.0, 2.0, 0.25];
    for t in 0..5 {
        let lr = scheduler.lr_at(t as u64);
        optimizer.set_lr(lr).unwrap();
        optimizer.step(&gradients(&params, t), None).unwrap();
        for (i, (p, g)) in want.iter_mut().zip(gradient(t)).enumerate() {
            *p -= lr * if i < 3 { 0.1 } else { 1.0 } * g;
        }
    }
    close("groups", &values(&params), &want);
}

#[test]
fn frozen_and_skipped_parameters_stay_and_cost_nothing() {
    let device = device();
    let mut params = small(&device);
    params.push((
        "frozen".into(),
        Tensor::from_slice(&device, &[3.0f32; 5000], &[5000]).unwrap(),
    ));
    params.push(("unused".into(), parameter(&device, &[7.0])));
    let mut optimizer = Optimizer::adamw(Adam::default(), groups(&params, 0.5), LR).unwrap();
    for t in 0..3 {
        optimizer.step(&gradients(&params, t), None).unwrap();
    }
    assert_eq!(params[2].1.to_vec::<f32>().unwrap(), [3.0; 5000]);
    assert_eq!(params[3].1.to_vec::<f32>().unwrap(), [7.0]);
    let state = optimizer.state_dict();
    let names: Vec<&str> = state
        .tensors
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "weight.exp_avg",
            "weight.exp_avg_sq",
            "bias.exp_avg",
            "bias.exp_avg_sq"
        ]
    );
    // A parameter that joins later corrects its bias from its own first step, as PyTorch does.
    let mut late = gradients(&params, 3);
    late.insert(
        &params[3].1,
        Tensor::from_slice(&device, &[2.0f32], &[1]).unwrap(),
    );
    optimizer.step(&late, None).unwrap();
    let want = 7.0 * (1.0 - LR * 0.5) - LR;
    close("unused", &params[3].1.to_vec::<f32>().unwrap(), &[want]);
    assert_eq!(optimizer.state_dict().steps["unused"], 1);
    assert_eq!(optimizer.state_dict().steps["weight"], 4);
}

#[test]
fn the_same_steps_give_the_same_bits() {
    let device = device();
    let n = 40_001;
    let start: Vec<f32> = (0..n)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 77.0)
        .collect();
    let run = || {
        let params = vec![("w".to_owned(), parameter(&device, &start))];
        let mut optimizer = Optimizer::adamw(Adam::default(), groups(&params, 0.01), 1e-3).unwrap();
        let mut norms = Vec::new();
        for t in 0..3 {
            let g: Vec<f32> = (0..n)
                .map(|i| ((i * 53 + t * 7) % 89) as f32 / 31.0 - 1.4)
                .collect();
            let mut gradients = Gradients::default();
            gradients.insert(&params[0].1, Tensor::from_slice(&device, &g, &[n]).unwrap());
            norms.push(optimizer.step(&gradients, Some(1.0)).unwrap());
        }
        // Each step's norm stays its own, whenever it is read.
        let norms: Vec<u32> = norms
            .iter()
            .map(|norm| norm.item().unwrap().to_bits())
            .collect();
        assert_ne!(norms[0], norms[1]);
        let bits: Vec<u32> = values(&params).iter().map(|v| v.to_bits()).collect();
        (bits, norms)
    };
    assert!(run() == run());
}

#[test]
fn a_loaded_state_continues_with_the_same_bits() {
    let device = device();
    for momentum in [None, Some(0.9)] {
        let make = |params: &Parameters| match momentum {
            None => Optimizer::adamw(Adam::default(), groups(params, 0.1), LR).unwrap(),
            Some(momentum) => {
                let sgd = Sgd {
                    momentum,
                    ..Default::default()
                };
                Optimizer::sgd(sgd, groups(params, 0.1), LR).unwrap()
            }
        };
        let params = small(&device);
        let mut optimizer = make(&params);
        for t in 0..4 {
            optimizer.step(&gradients(&params, t), None).unwrap();
        }
        let copies: Parameters = params
            .iter()
            .map(|(name, tensor)| {
                (
                    name.clone(),
                    parameter(&device, &tensor.to_vec::<f32>().unwrap()),
                )
            })
            .collect();
        let mut resumed = make(&copies);
        resumed.load_state_dict(&optimizer.state_dict()).unwrap();
        for t in 4..8 {
            optimizer.step(&gradients(&params, t), None).unwrap();
            resumed.step(&gradients(&copies, t), None).unwrap();
        }
        assert_eq!(values(&params), values(&copies));
    }
}

#[test]
fn a_tensor_beyond_one_binding_is_updated_in_pieces() {
    let device = Device::open(DeviceOptions {
        webgpu_limits: true,
        ..Default::default()
    })
    .unwrap();
    let n = (device.max_binding_bytes() / 4) as usize + 4097;
    if n > 1 << 26 {
        return; // An adapter that keeps to a larger limit than WebGPU's default: too much for a test.
    }
    let p = Tensor::zeros(&device, &[n], DType::F32).unwrap();
    p.set_requires_grad(true).unwrap();
    let mut g = vec![0.0f32; n];
    let marks = [0, 1, n / 2, n - 4161, n - 4160, n - 4097, n - 1];
    for (i, at) in marks.iter().enumerate() {
        g[*at] = (i + 1) as f32;
    }
    let mut gradients = Gradients::default();
    gradients.insert(&p, Tensor::from_slice(&device, &g, &[n]).unwrap());
    let params = vec![("w".to_owned(), p.clone())];
    let mut optimizer = Optimizer::sgd(Sgd::default(), groups(&params, 0.0), 0.5).unwrap();
    let norm = optimizer.step(&gradients, None).unwrap().item().unwrap();
    assert!((norm - 140f32.sqrt()).abs() < 1e-5, "{norm}");
    let values = p.to_vec::<f32>().unwrap();
    assert!(values.iter().zip(&g).all(|(p, g)| *p == -0.5 * g));
}

#[test]
fn mistakes_are_named() {
    let device = device();
    let params = small(&device);
    let text = |result: Result<Optimizer>| match result {
        Ok(_) => panic!("it was accepted"),
        Err(e) => e.to_string(),
    };
    let twice = vec![
        ParamGroup::new(params.clone()),
        ParamGroup::new(params[..1].to_vec()),
    ];
    let error = text(Optimizer::sgd(Sgd::default(), twice, LR));
    assert!(error.contains("`weight` is in two groups"), "{error}");
    let tied = [
        params.clone(),
        vec![("tied".to_owned(), params[0].1.clone())],
    ]
    .concat();
    assert!(Optimizer::sgd(Sgd::default(), vec![ParamGroup::new(tied)], LR).is_ok());
    let error = text(Optimizer::sgd(Sgd::default(), vec![], LR));
    assert!(error.contains("no parameter was given"), "{error}");
    let error = text(Optimizer::sgd(
        Sgd::default(),
        groups(&params, 0.0),
        f64::NAN,
    ));
    assert!(error.contains("learning rate NaN"), "{error}");
    let nesterov = Sgd {
        nesterov: true,
        ..Default::default()
    };
    let error = text(Optimizer::sgd(nesterov, groups(&params, 0.0), LR));
    assert!(error.contains("nesterov needs a momentum"), "{error}");
    let adam = Adam {
        betas: (1.0, 0.9),
        eps: 1e-8,
    };
    let error = text(Optimizer::adamw(adam, groups(&params, 0.0), LR));
    assert!(error.contains("betas 1 and 0.9"), "{error}");
    let wide = parameter(&device, &[1.0; 6])
        .detach()
        .reshape(&[2, 3])
        .unwrap()
        .transpose(0, 1)
        .unwrap();
    let error = text(Optimizer::sgd(
        Sgd::default(),
        vec![ParamGroup::new(vec![("wide".into(), wide)])],
        LR,
    ));
    assert!(
        error.contains("`wide`") && error.contains("contiguous f32"),
        "{error}"
    );

    let mut optimizer = Optimizer::adam(Adam::default(), groups(&params, 0.0), LR).unwrap();
    let error = optimizer
        .step(&Gradients::default(), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none of the 2 parameters"), "{error}");
    let error = optimizer
        .step(&gradients(&params, 0), Some(f64::INFINITY))
        .unwrap_err()
        .to_string();
    assert!(error.contains("max_norm inf"), "{error}");

    optimizer.step(&gradients(&params, 0), None).unwrap();
    let good = optimizer.state_dict();
    let mut state = good.clone();
    state.steps.insert("other".into(), 3);
    refused(&mut optimizer, &state, "`other`");
    let mut state = good.clone();
    state.tensors.pop();
    refused(&mut optimizer, &state, "no tensor `bias.exp_avg_sq`");
    let mut state = good.clone();
    state
        .tensors
        .push(("bias.momentum_buffer".into(), params[1].1.clone()));
    refused(&mut optimizer, &state, "`bias.momentum_buffer`");
    let mut state = good.clone();
    state.tensors[0].1 = params[1].1.clone();
    refused(&mut optimizer, &state, "`weight.exp_avg` is");
    optimizer.load_state_dict(&good).unwrap();
}

fn refused(optimizer: &mut Optimizer, state: &OptimizerState, text: &str) {
    let error = optimizer.load_state_dict(state).unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}
