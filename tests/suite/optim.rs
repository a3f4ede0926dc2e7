//! Optimizers against PyTorch: its own numbers in float64, and its formulas written out on the host.

mod behaviour;
mod own;
mod scaling;

use wgrad::nn::Parameters;
use wgrad::nn::optim::{
    Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, ParamGroup, ParamGroups, Sgd, SgdConfig,
    no_decay,
};
use wgrad::tensor::{Device, DeviceOptions, Gradients, Result, Tensor};

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

type Made = Result<Box<dyn Optimizer>>;

fn sgd(config: SgdConfig, groups: impl Into<ParamGroups>, lr: f64) -> Made {
    Ok(Box::new(Sgd::new(groups, SgdConfig { lr, ..config })?))
}

fn adam(config: AdamConfig, groups: impl Into<ParamGroups>, lr: f64) -> Made {
    Ok(Box::new(Adam::new(groups, AdamConfig { lr, ..config })?))
}

fn adamw(config: AdamConfig, groups: impl Into<ParamGroups>, lr: f64) -> Made {
    let config = AdamWConfig {
        lr,
        betas: config.betas,
        eps: config.eps,
        ..AdamWConfig::default()
    };
    Ok(Box::new(AdamW::new(groups, config)?))
}

/// Runs [`STEPS`] steps; returns the parameters and the norms of the gradients.
fn train(
    device: &Device,
    make: impl Fn(&Parameters) -> Made,
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
    let usual = AdamConfig::default();
    let other = AdamConfig {
        betas: (0.8, 0.95),
        eps: 1e-6,
        ..Default::default()
    };
    let momentum = SgdConfig {
        momentum: 0.9,
        dampening: 0.2,
        nesterov: false,
        ..Default::default()
    };
    let nesterov = SgdConfig {
        momentum: 0.8,
        dampening: 0.0,
        nesterov: true,
        ..Default::default()
    };
    type Make<'a> = &'a dyn Fn(&Parameters) -> Made;
    let rows: [(&str, Make, Option<f64>, [f64; 4]); 6] = [
        (
            "sgd",
            &|p| sgd(SgdConfig::default(), groups(p, 0.0), LR),
            None,
            [0.5375, -1.0625, 1.975, -0.275],
        ),
        (
            "sgd with momentum, dampening, weight decay",
            &|p| sgd(momentum, groups(p, 0.1), LR),
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
            &|p| sgd(nesterov, groups(p, 0.1), LR),
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
            &|p| adam(usual, groups(p, 0.1), LR),
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
            &|p| adamw(usual, groups(p, 0.1), LR),
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
            &|p| adamw(other, groups(p, 0.1), LR),
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

fn host_sgd(memory: &mut Memory, p: f64, g: f64, t: usize, sgd: SgdConfig) -> f64 {
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

fn host_adam(
    memory: &mut Memory,
    p: f64,
    g: f64,
    t: usize,
    adam: AdamConfig,
    decoupled: bool,
) -> f64 {
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
                let config = SgdConfig {
                    momentum,
                    dampening,
                    nesterov,
                    ..SgdConfig::default()
                };
                let (got, _) = train(
                    &device,
                    |p| sgd(config, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_sgd(m, p, g, t, config),
                    weight_decay,
                    max_norm,
                );
                close(
                    &format!("{config:?} {weight_decay} {max_norm:?}"),
                    &got,
                    &want,
                );
            }
            for (betas, eps) in [
                ((0.9, 0.999), 1e-8),
                ((0.0, 0.9), 1e-3),
                ((0.95, 0.98), 1e-6),
            ] {
                let config = AdamConfig {
                    betas,
                    eps,
                    ..AdamConfig::default()
                };
                let (got, _) = train(
                    &device,
                    |p| adam(config, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_adam(m, p, g, t, config, false),
                    weight_decay,
                    max_norm,
                );
                close(
                    &format!("adam {config:?} {weight_decay} {max_norm:?}"),
                    &got,
                    &want,
                );
                let (got, _) = train(
                    &device,
                    |p| adamw(config, groups(p, weight_decay), LR),
                    max_norm,
                );
                let want = host(
                    |m, p, g, t| host_adam(m, p, g, t, config, true),
                    weight_decay,
                    max_norm,
                );
                close(
                    &format!("adamw {config:?} {weight_decay} {max_norm:?}"),
                    &got,
                    &want,
                );
            }
        }
    }
}
