//! The rows of the op matrix for the optimizers. A row copies what is overwritten, runs one step and returns
//! one of the results.

use super::references::{
    BETAS, EPS, Hyper, MAX_NORM, adamw_reference, grad_norm_reference, sgd_reference,
};
use super::{
    AdamConstants, Flat, GradScaler, Momentum, SCALARS, Scaling, StepRule, Update, adamw,
    adamw_scalars, grad_norm, norm, sgd, sgd_scalars,
};
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A copy that may be overwritten, laid out as it is.
fn copied(x: &Tensor) -> Result<Tensor> {
    let copy = Tensor::empty(x.device(), x.shape(), x.dtype())?;
    x.copy_into(&copy)?;
    Ok(copy)
}

const CONSTANTS: AdamConstants = AdamConstants {
    betas: BETAS,
    eps: EPS,
};

/// Which kernels take the step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// One launch a parameter.
    One,
    /// Behind a parameter that is left as it is.
    Flat,
}

/// `parameter` behind one of five elements without a gradient; the gradient of `parameter` loaded with row
/// `row` of scalars, and its state set.
fn flat(parameter: &Tensor, gradient: &Tensor, state: &[&Tensor], row: usize) -> Result<Flat> {
    let other = Tensor::from_slice(parameter.device(), &[7.0f32; 5], &[5])?;
    let mut parts = Flat::pack(&[&other, parameter], state.len())?;
    let (mut flat, _) = parts.pop().ok_or_else(|| Error::op("flat", "no part"))?;
    for (i, values) in state.iter().enumerate() {
        values.copy_into(&flat.state(i, 1)?)?;
    }
    // What another step loaded must be forgotten.
    let stale = Tensor::from_slice(parameter.device(), &[9e9f32; 5], &[5])?;
    flat.load(&[Some((&stale, row)), None])?;
    flat.load(&[None, Some((gradient, row))])?;
    Ok(flat)
}

fn run_adamw(x: &[Tensor], hyper: Hyper, by: By) -> Result<[Tensor; 3]> {
    let device = x[0].device();
    let row = adamw_scalars(hyper.lr, hyper.decay, hyper.l2, BETAS, hyper.t);
    let scalars = Tensor::from_slice(device, &[[9e9; SCALARS], row].concat(), &[2, SCALARS])?;
    let p = copied(&x[0])?;
    if by == By::Flat {
        let flat = flat(&p, &x[1], &[&x[2], &x[3]], 1)?;
        flat.adamw(&scalars, &norm(&[&flat], Some(MAX_NORM), None)?, CONSTANTS)?;
        return Ok([p, flat.state(0, 1)?, flat.state(1, 1)?]);
    }
    let [m, v] = [copied(&x[2])?, copied(&x[3])?];
    let update = Update {
        parameter: &p,
        gradient: &x[1],
        clip: &grad_norm(&x[1..2], Some(MAX_NORM))?,
        scalars: &scalars,
        row: 1,
    };
    adamw(&update, &m, &v, CONSTANTS, hyper.l2)?;
    Ok([p, m, v])
}

fn run_sgd(
    x: &[Tensor],
    hyper: Hyper,
    momentum: bool,
    nesterov: bool,
    by: By,
) -> Result<[Tensor; 2]> {
    let device = x[0].device();
    let row = sgd_scalars(hyper.lr, 0.9, 0.25, hyper.l2, hyper.t);
    let scalars = Tensor::from_slice(device, &row, &[1, SCALARS])?;
    let p = copied(&x[0])?;
    if by == By::Flat {
        let state: &[&Tensor] = if momentum { &[&x[2]] } else { &[] };
        let flat = flat(&p, &x[1], state, 0)?;
        flat.sgd(
            &scalars,
            &norm(&[&flat], Some(MAX_NORM), None)?,
            0.9,
            nesterov,
        )?;
        let buffer = match momentum {
            true => flat.state(0, 1)?,
            false => p.clone(),
        };
        return Ok([p, buffer]);
    }
    let buffer = copied(&x[2])?;
    let update = Update {
        parameter: &p,
        gradient: &x[1],
        clip: &grad_norm(&x[1..2], Some(MAX_NORM))?,
        scalars: &scalars,
        row: 0,
    };
    let momentum = momentum.then_some(Momentum {
        buffer: &buffer,
        momentum: 0.9,
        nesterov,
    });
    sgd(&update, momentum, hyper.l2)?;
    Ok([p, buffer])
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let gradients = [
        (vec![], Contiguous),
        (vec![1], Contiguous),
        (vec![257], Contiguous),
        (vec![4097], Contiguous),
        (vec![16385], Contiguous),
        (vec![33, 17], Sliced),
        (vec![5, 6], Transposed),
        (vec![4, 3, 10], Expanded),
    ];
    let plain = |shape: &[usize]| Input::new(shape, DType::F32).frozen();
    for (shape, layout) in &gradients {
        norm_cases(out, shape, *layout);
        for (t, l2, decay) in [(1, 0.0, 0.1), (7, 0.0, 0.1), (3, 0.2, 0.0)] {
            let hyper = Hyper {
                lr: 0.1,
                decay,
                l2,
                t,
            };
            let g = format!("(x1 * min(1, {MAX_NORM} / (x1.norm().item() + 1e-6)) + {l2} * x0)");
            let m = format!("(x2 + {} * ({g} - x2))", 1.0 - BETAS.0);
            let v = format!("({} * x3 + {} * {g} ** 2)", BETAS.1, 1.0 - BETAS.1);
            let p = format!(
                "x0 * (1 - 0.1 * {decay}) - 0.1 / (1 - {}**{t}) * {m} / ({v}.sqrt() / math.sqrt(1 - {}**{t}) + {EPS})",
                BETAS.0, BETAS.1
            );
            for (i, (what, torch)) in [("p", &p), ("m", &m), ("v", &v)].into_iter().enumerate() {
                for by in [By::One, By::Flat] {
                    let inputs = vec![
                        plain(shape),
                        plain(shape).layout(*layout),
                        plain(shape),
                        plain(shape).range(0.0, 1.0),
                    ];
                    let case = Case::new(
                        "adamw",
                        torch,
                        inputs,
                        move |x| Ok(run_adamw(x, hyper, by)?[i].clone()),
                        move |x: &[HostArray]| adamw_reference(x, hyper)[i].clone(),
                    );
                    out.push(case.note(format!("{what} step {t} l2 {l2} {by:?}")));
                }
            }
        }
        for (t, momentum, nesterov) in [
            (1, false, false),
            (1, true, false),
            (2, true, false),
            (2, true, true),
        ] {
            let hyper = Hyper {
                lr: 0.1,
                decay: 0.0,
                l2: 0.2,
                t,
            };
            let g = format!("(x1 * min(1, {MAX_NORM} / (x1.norm().item() + 1e-6)) + 0.2 * x0)");
            let buffer = if t == 1 {
                g.clone()
            } else {
                format!("(0.9 * x2 + 0.75 * {g})")
            };
            let p = match (momentum, nesterov) {
                (false, _) => format!("x0 - 0.1 * {g}"),
                (true, false) => format!("x0 - 0.1 * {buffer}"),
                (true, true) => format!("x0 - 0.1 * ({g} + 0.9 * {buffer})"),
            };
            let buffer = if momentum { Some(buffer) } else { None };
            for (i, torch) in [Some(p), buffer].into_iter().flatten().enumerate() {
                let what = ["p", "buffer"][i];
                for by in [By::One, By::Flat] {
                    let inputs = vec![plain(shape), plain(shape).layout(*layout), plain(shape)];
                    let case = Case::new(
                        "sgd",
                        &torch,
                        inputs,
                        move |x| Ok(run_sgd(x, hyper, momentum, nesterov, by)?[i].clone()),
                        move |x: &[HostArray]| {
                            sgd_reference(x, hyper, momentum, nesterov)[i].clone()
                        },
                    );
                    out.push(case.note(format!(
                        "{what} step {t} momentum {momentum} nesterov {nesterov} {by:?}"
                    )));
                }
            }
        }
    }
    rejected(out);
    scaled(out);
}

/// Norms of scaled gradients, and scalars where steps were skipped.
fn scaled(out: &mut Vec<Case>) {
    for (max_norm, python) in [(None, "1e30"), (Some(0.5), "0.5")] {
        let n = "(x0.norm() / 1024)";
        let case = Case::new(
            "grad_norm",
            &format!("torch.stack([{n}, ({python} / ({n} + 1e-6)).clamp(max=1) / 1024])"),
            vec![Input::new(&[40_000], DType::F32).frozen()],
            move |x| {
                let rule = GradScaler {
                    init_scale: 1024.0,
                    ..GradScaler::default()
                };
                let scaling = Scaling::new(x[0].device(), rule)?;
                let mut parts = Flat::pack(&[&copied(&x[0])?], 0)?;
                let (mut flat, _) = parts.pop().ok_or_else(|| Error::op("flat", "no part"))?;
                flat.load(&[Some((&x[0], 0))])?;
                norm(&[&flat], max_norm, Some(&scaling))
            },
            move |x: &[HostArray]| {
                let small = x[0].map(|v| v / 1024.0);
                let [norm, coefficient] = grad_norm_reference(&[small], max_norm);
                HostArray {
                    shape: vec![2],
                    data: vec![norm, coefficient / 1024.0],
                }
            },
        );
        out.push(case.note(format!("scaled, max_norm {max_norm:?}")));
    }
    let steps = [1, 2, 3, 17, 100, 600, 1000, 5000, 100_000u64];
    for (sgd, skipped) in [(false, false), (true, false), (false, true)] {
        let case = Case::new(
            "optim_scalars",
            "",
            vec![Input::new(&[1], DType::F32).range(0.1, 1.0).frozen()],
            move |x| {
                let device = x[0].device();
                let lr = x[0].to_vec::<f32>()?[0];
                let scaling = Scaling::new(device, GradScaler::default())?;
                // Every other parameter has no gradient in this step.
                let due = |i: usize| (i % 2) as u64;
                let rows: Vec<f32> = (0..steps.len())
                    .flat_map(|i| [lr, 0.25, 0.75, due(i) as f32])
                    .collect();
                let rows = Tensor::from_slice(device, &rows, &[steps.len(), SCALARS])?;
                let counted = |i: usize| if skipped { 0 } else { due(i) };
                let made: Vec<f32> = (0..steps.len())
                    .map(|i| (steps[i] - counted(i)) as f32)
                    .collect();
                let made = Tensor::from_slice(device, &made, &[steps.len()])?;
                let coefficient = if skipped { 0.0 } else { 0.5 };
                let clip = Tensor::from_slice(device, &[1.0, coefficient], &[2])?;
                let scalars = Tensor::empty(device, &[steps.len(), SCALARS], DType::F32)?;
                let rule = match sgd {
                    true => StepRule::Sgd {
                        momentum: 0.9,
                        dampening: 0.25,
                    },
                    false => StepRule::Adam {
                        betas: (0.9, 0.999),
                    },
                };
                scaling.scalars(&rows, rule, (&clip, &made), &scalars)?;
                Ok(scalars)
            },
            move |x: &[HostArray]| {
                let lr = x[0].data[0];
                let row = |t: u64| match sgd {
                    true => sgd_scalars(lr, 0.9, 0.25, 0.25, t),
                    // The decay of the row is what is left after it.
                    false => adamw_scalars(lr, 0.75 / lr, 0.75, (0.9, 0.999), t),
                };
                let rows = steps.iter().flat_map(|t| row(*t).map(f64::from));
                HostArray {
                    shape: vec![steps.len(), SCALARS],
                    data: rows.collect(),
                }
            },
        );
        // The largest value is 10 in the first row; the sum of a few roundings.
        out.push(
            case.tolerance(1e-6)
                .note(format!("sgd {sgd}, skipped {skipped}")),
        );
    }
}

fn rejected(out: &mut Vec<Case>) {
    let hyper = Hyper {
        lr: 0.1,
        decay: 0.0,
        l2: 0.0,
        t: 1,
    };
    let inputs = |p: &[usize], g: &[usize], state: &[usize], dtype| {
        [p, g, state, state]
            .map(|shape| Input::new(shape, dtype).frozen())
            .to_vec()
    };
    let rows = [
        (
            inputs(&[3], &[4], &[3], DType::F32),
            "does not fit the parameter",
        ),
        (inputs(&[3], &[3], &[4], DType::F32), "the state"),
        (inputs(&[3], &[3], &[3], DType::F16), "is not f32"),
    ];
    for (inputs, text) in rows {
        out.push(Case::rejects(
            "adamw",
            inputs.clone(),
            move |x| Ok(run_adamw(x, hyper, By::One)?[0].clone()),
            text,
        ));
        out.push(Case::rejects(
            "sgd",
            inputs,
            move |x| Ok(run_sgd(x, hyper, true, true, By::One)?[0].clone()),
            text,
        ));
    }
    out.push(Case::rejects(
        "grad_norm",
        vec![Input::new(&[3], DType::F32).frozen()],
        |x| grad_norm(x, Some(-1.0)),
        "is not a positive number",
    ));
}

fn norm_cases(out: &mut Vec<Case>, shape: &[usize], layout: Layout) {
    let plain = |shape: &[usize]| Input::new(shape, DType::F32).frozen();
    for (max_norm, python) in [(None, "1e30"), (Some(0.5), "0.5"), (Some(1e6), "1e6")] {
        let norm = "torch.stack([x0.norm(), x1.norm(), x2.norm()]).norm()";
        let torch = format!("torch.stack([{norm}, ({python} / ({norm} + 1e-6)).clamp(max=1)])");
        let inputs = vec![plain(&[7]), plain(shape).layout(layout), plain(&[300, 120])];
        let case = Case::new(
            "grad_norm",
            &torch,
            inputs,
            move |x| grad_norm(x, max_norm),
            move |x: &[HostArray]| HostArray {
                shape: vec![2],
                data: grad_norm_reference(x, max_norm).to_vec(),
            },
        );
        out.push(case.note(format!("max_norm {max_norm:?}")));
    }
}
