//! What optimizers do besides their formulas: groups, frozen parameters, repeatability, saved state,
//! large tensors, error texts.

use wgrad::nn::Parameters;
use wgrad::nn::optim::{AdamConfig, Optimizer, OptimizerState, ParamGroup, SgdConfig};
use wgrad::nn::schedule::{LrScheduler, Schedule};
use wgrad::tensor::{DType, Device, DeviceOptions, Gradients, Tensor};

use super::{
    LR, Made, adam, adamw, close, device, gradient, gradients, groups, parameter, sgd, small,
    values,
};

#[test]
fn groups_have_their_own_rate_and_a_schedule_moves_all() {
    let device = device();
    let params = small(&device);
    let parts = vec![
        ParamGroup::new(params[..1].to_vec()).lr_scale(0.1),
        ParamGroup::new(params[1..].to_vec()),
    ];
    let mut optimizer = sgd(SgdConfig::default(), parts, 0.0).unwrap();
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
    let mut optimizer = adamw(AdamConfig::default(), groups(&params, 0.5), LR).unwrap();
    for t in 0..3 {
        optimizer.step(&gradients(&params, t), None).unwrap();
    }
    assert_eq!(params[2].1.to_vec::<f32>().unwrap(), [3.0; 5000]);
    assert_eq!(params[3].1.to_vec::<f32>().unwrap(), [7.0]);
    let state = optimizer.state_dict().unwrap();
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
    assert_eq!(optimizer.state_dict().unwrap().steps["unused"], 1);
    assert_eq!(optimizer.state_dict().unwrap().steps["weight"], 4);
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
        let mut optimizer = adamw(AdamConfig::default(), groups(&params, 0.01), 1e-3).unwrap();
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
            None => adamw(AdamConfig::default(), groups(params, 0.1), LR).unwrap(),
            Some(momentum) => {
                let config = SgdConfig {
                    momentum,
                    ..Default::default()
                };
                sgd(config, groups(params, 0.1), LR).unwrap()
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
        let path = std::env::temp_dir().join(format!("wgrad-optim-{}", std::process::id()));
        optimizer.state_dict().unwrap().save(&path).unwrap();
        let state = OptimizerState::load(&device, &path).unwrap();
        std::fs::remove_file(path).unwrap();
        resumed.load_state_dict(&state).unwrap().strict().unwrap();
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
    let mut optimizer = sgd(SgdConfig::default(), groups(&params, 0.0), 0.5).unwrap();
    let norm = optimizer.step(&gradients, None).unwrap().item().unwrap();
    assert!((norm - 140f32.sqrt()).abs() < 1e-5, "{norm}");
    let values = p.to_vec::<f32>().unwrap();
    assert!(values.iter().zip(&g).all(|(p, g)| *p == -0.5 * g));
}

#[test]
fn mistakes_are_named() {
    let device = device();
    let params = small(&device);
    let text = |result: Made| match result {
        Ok(_) => panic!("it was accepted"),
        Err(e) => e.to_string(),
    };
    let twice = vec![
        ParamGroup::new(params.clone()),
        ParamGroup::new(params[..1].to_vec()),
    ];
    let error = text(sgd(SgdConfig::default(), twice, LR));
    assert!(error.contains("`weight` is in two groups"), "{error}");
    let tied = [
        params.clone(),
        vec![("tied".to_owned(), params[0].1.clone())],
    ]
    .concat();
    assert!(sgd(SgdConfig::default(), vec![ParamGroup::new(tied)], LR).is_ok());
    let error = text(sgd(SgdConfig::default(), Parameters::new(), LR));
    assert!(error.contains("no parameter was given"), "{error}");
    let error = text(sgd(SgdConfig::default(), groups(&params, 0.0), f64::NAN));
    assert!(error.contains("learning rate NaN"), "{error}");
    let nesterov = SgdConfig {
        nesterov: true,
        ..Default::default()
    };
    let error = text(sgd(nesterov, groups(&params, 0.0), LR));
    assert!(error.contains("nesterov needs a momentum"), "{error}");
    let betas = AdamConfig {
        betas: (1.0, 0.9),
        ..Default::default()
    };
    let error = text(adamw(betas, groups(&params, 0.0), LR));
    assert!(error.contains("betas 1 and 0.9"), "{error}");
    let wide = parameter(&device, &[1.0; 6])
        .detach()
        .reshape(&[2, 3])
        .unwrap()
        .transpose(0, 1)
        .unwrap();
    let error = text(sgd(
        SgdConfig::default(),
        vec![ParamGroup::new(vec![("wide".into(), wide)])],
        LR,
    ));
    assert!(
        error.contains("`wide`") && error.contains("contiguous f32"),
        "{error}"
    );

    let mut optimizer = adam(AdamConfig::default(), groups(&params, 0.0), LR).unwrap();
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
    let good = optimizer.state_dict().unwrap();
    let mut state = good.clone();
    state.steps.insert("other".into(), 3);
    let report = optimizer.load_state_dict(&state).unwrap();
    assert_eq!(report.unexpected, ["other"]);
    let error = report.strict().unwrap_err().to_string();
    assert!(error.contains("unexpected: `other`"), "{error}");
    let mut state = good.clone();
    state.steps.remove("bias");
    state.tensors.truncate(2);
    let report = optimizer.load_state_dict(&state).unwrap();
    assert_eq!(
        (&report.missing[..], report.unexpected.len()),
        (&["bias".to_owned()][..], 0)
    );
    let mut state = good.clone();
    state.tensors.pop();
    refused(&mut *optimizer, &state, "no tensor `bias.exp_avg_sq`");
    let mut state = good.clone();
    state
        .tensors
        .push(("bias.momentum_buffer".into(), params[1].1.clone()));
    let report = optimizer.load_state_dict(&state).unwrap();
    assert_eq!(report.unexpected, ["bias.momentum_buffer"]);
    let mut state = good.clone();
    state.tensors[0].1 = params[1].1.clone();
    refused(&mut *optimizer, &state, "`weight.exp_avg` is");
    optimizer.load_state_dict(&good).unwrap().strict().unwrap();
}

fn refused(optimizer: &mut dyn Optimizer, state: &OptimizerState, text: &str) {
    let error = optimizer.load_state_dict(state).unwrap_err().to_string();
    assert!(error.contains(text), "{error}");
}
