//! The tape: ops that users put into the graph, saved tensors and their checks, refusals.

mod checkpoints;
mod own_op;
mod refused;

use wgrad::tensor::autograd::{NoGradGuard, enable_grad, is_grad_enabled, no_grad, record};
use wgrad::tensor::ops::cross_entropy::CrossEntropy;
use wgrad::tensor::ops::embedding::embedding;
use wgrad::tensor::scaled_dot_product_attention;
use wgrad::tensor::{Attention, DType, Device, DeviceOptions, Generator, Result, Tensor};

pub(crate) fn device() -> Device {
    Device::open(DeviceOptions::default()).expect("an adapter; `cargo xtask test` installs one")
}

/// A tensor of `shape` with values that differ from each other.
pub(crate) fn values(device: &Device, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7 + 0.3).sin()).collect();
    Tensor::from_slice(device, &values, shape).unwrap()
}

/// The same as a leaf that requires a gradient.
pub(crate) fn leaf(device: &Device, shape: &[usize]) -> Tensor {
    let leaf = values(device, shape);
    leaf.set_requires_grad(true).unwrap();
    leaf
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

/// x³ + w, where w is only added.
fn cube_plus(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    record(
        "cube_plus",
        &[x, w],
        |ctx| {
            if ctx.needs(0) {
                ctx.save(x);
            }
            x.mul(x)?.mul(x)?.add(w)
        },
        |ctx, dy| {
            let dx = match ctx.needs(0) {
                true => {
                    let x = ctx.saved(0)?;
                    Some(dy.mul(&x.mul(x)?.mul_scalar(3.0)?)?)
                }
                false => None,
            };
            Ok(vec![dx, Some(dy.clone())])
        },
    )
}

#[test]
fn a_recorded_op_has_the_gradient_of_its_rule() {
    let device = device();
    let (x, w) = (leaf(&device, &[5]), leaf(&device, &[5]));
    let gradients = cube_plus(&x, &w)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let dx = gradients.get(&x).unwrap().to_vec::<f32>().unwrap();
    for (x, dx) in x.to_vec::<f32>().unwrap().iter().zip(dx) {
        assert!((dx - 3.0 * x * x).abs() < 1e-5);
    }
    assert_eq!(
        gradients.get(&w).unwrap().to_vec::<f32>().unwrap(),
        [1.0; 5]
    );
    // Nothing is saved for a frozen x, so nothing is checked.
    x.set_requires_grad(false).unwrap();
    let y = cube_plus(&x, &w).unwrap();
    x.copy_from_slice(&[0f32; 5]).unwrap();
    assert_eq!(y.sum_all().unwrap().backward().unwrap().len(), 1);
    // No input requires a gradient: no graph.
    w.set_requires_grad(false).unwrap();
    assert!(!cube_plus(&x, &w).unwrap().requires_grad());
}

#[test]
fn a_rule_that_does_not_fit_is_refused() {
    let device = device();
    let x = leaf(&device, &[3]);
    let with = |gradients: fn(&Tensor) -> Result<Vec<Option<Tensor>>>| {
        let y = record(
            "mine",
            &[&x],
            |_| x.mul_scalar(2.0),
            move |_, dy| gradients(dy),
        );
        message(y.and_then(|y| y.sum_all()?.backward()))
    };
    assert!(
        with(|_| Ok(vec![])).contains("mine: its backward rule gives 0 gradients for 1 inputs")
    );
    assert!(with(|_| Ok(vec![None])).contains("leaves out the gradient of input 0"));
    assert!(
        with(|dy| Ok(vec![Some(dy.sum_all()?)])).contains("mine: its backward rule gives Tensor")
    );
    let unsaved = record(
        "mine",
        &[&x],
        |_| x.mul_scalar(2.0),
        |ctx, _| Ok(vec![Some(ctx.saved(0)?.clone())]),
    );
    let text = message(unsaved.and_then(|y| y.sum_all()?.backward()));
    assert!(
        text.contains("mine: its backward rule asks for saved tensor 0, 0 were saved"),
        "{text}"
    );
}

#[test]
fn guards_and_closures_set_the_mode_and_put_it_back() {
    let device = device();
    let x = leaf(&device, &[2]);
    let recorded = || x.exp().unwrap().requires_grad();
    assert!(recorded());
    {
        let _guard = NoGradGuard::new();
        assert!(!recorded() && !is_grad_enabled());
        assert!(enable_grad(recorded));
        assert!(!recorded());
    }
    assert!(recorded());
    let panicked = std::panic::catch_unwind(|| no_grad(|| std::panic::resume_unwind(Box::new(()))));
    assert!(panicked.is_err() && recorded());
    // Another thread has its own mode.
    no_grad(|| std::thread::scope(|scope| scope.spawn(|| assert!(is_grad_enabled())).join()))
        .unwrap();
}

/// Calls `loss`, then `rewrite`, and expects that `backward` names `op`.
fn lost(op: &str, loss: impl Fn() -> Result<Tensor>, rewrite: impl Fn() -> Result<()>) {
    assert!(loss().unwrap().backward().is_ok(), "{op}");
    let before = loss().unwrap();
    rewrite().unwrap();
    let text = message(before.backward());
    let named = text.starts_with(&format!("{op}: ")) && text.contains("overwritten in place");
    assert!(named, "{op}: {text}");
    // Computed anew it goes on.
    assert!(loss().unwrap().backward().is_ok(), "{op}");
}

#[test]
fn overwriting_a_saved_tensor_is_refused() {
    let device = &device();
    let u32s = |values: &[u32], shape: &[usize]| Tensor::from_slice(device, values, shape).unwrap();
    let x = &leaf(device, &[4, 6]);
    let ids = &u32s(&[1, 0, 2], &[3]);
    lost(
        "embedding",
        || embedding(x, ids, None)?.sum_all(),
        || ids.copy_from_slice(&[0u32, 0, 0]),
    );
    let index = &u32s(&[1, 0, 2, 3], &[4, 1]);
    lost(
        "gather",
        || x.gather(1, index)?.sum_all(),
        || index.copy_from_slice(&[0u32; 4]),
    );
    let targets = &u32s(&[1, 0, 2, 5], &[4]);
    lost(
        "cross_entropy",
        || x.cross_entropy(targets, &CrossEntropy::default()),
        || targets.copy_from_slice(&[0u32; 4]),
    );
    let cond = &u32s(&[1, 0, 1, 0, 1, 1], &[6]);
    let zero = &Tensor::scalar(device, 0.0).unwrap();
    lost(
        "where_cond",
        || Tensor::where_cond(cond, x, zero)?.sum_all(),
        || cond.copy_from_slice(&[0u32; 6]),
    );
    let factor = &values(device, &[6]);
    lost(
        "mul",
        || x.mul(factor)?.sum_all(),
        || factor.copy_from_slice(&[0f32; 6]),
    );
    // Values, also through another view of the same memory.
    lost(
        "layer_norm",
        || x.layer_norm(Some(factor), None, 1e-5)?.sum_all(),
        || factor.narrow(0, 2, 2)?.copy_from_slice(&[1f32; 2]),
    );
    let part = &x.narrow(0, 1, 2).unwrap().detach();
    part.set_requires_grad(true).unwrap();
    lost(
        "mul",
        || part.mul(part)?.sum_all(),
        || x.copy_from_slice(&[0.5f32; 24]),
    );
    let base = values(device, &[6]);
    let view = &base.narrow(0, 0, 6).unwrap();
    lost(
        "mul",
        || x.mul(view)?.sum_all(),
        || base.copy_from_slice(&[0f32; 6]),
    );
}

#[test]
fn masks_frozen_biases_and_random_state_are_checked_too() {
    let device = &device();
    let [q, k, v] = [0; 3].map(|_| leaf(device, &[1, 2, 5, 4]));
    let mask = &Tensor::from_slice(device, &[1u32, 1, 1, 0, 1], &[1, 5]).unwrap();
    let bias = &values(device, &[5, 5]);
    let attend = |options: Attention| scaled_dot_product_attention(&q, &k, &v, &options)?.sum_all();
    lost(
        "scaled_dot_product_attention",
        || {
            attend(Attention {
                mask: Some(mask),
                ..Attention::default()
            })
        },
        || mask.copy_from_slice(&[1u32; 5]),
    );
    lost(
        "scaled_dot_product_attention",
        || {
            attend(Attention {
                bias: Some(bias),
                ..Attention::default()
            })
        },
        || bias.copy_from_slice(&[0f32; 25]),
    );
    let generator = Generator::new(device, 3).unwrap();
    lost(
        "dropout",
        || q.dropout(0.5, &generator)?.sum_all(),
        || generator.begin_step(1, 0),
    );
}

/// What a rule does not read may be overwritten: an optimizer of one part of a model does so.
#[test]
fn tensors_that_no_rule_reads_may_be_overwritten() {
    let device = &device();
    let (x, frozen) = (leaf(device, &[4, 6]), values(device, &[3, 6]));
    let bias = values(device, &[3]);
    let y = x.linear(&frozen, Some(&bias), None).unwrap();
    let y = y
        .add(&bias)
        .unwrap()
        .sub(&bias)
        .unwrap()
        .mul_scalar(2.0)
        .unwrap();
    let loss = y.sum_all().unwrap();
    // The gradient of x reads only the frozen weight.
    bias.copy_from_slice(&[9f32; 3]).unwrap();
    x.copy_from_slice(&[9f32; 24]).unwrap();
    assert!(loss.backward().is_ok());
    frozen.copy_from_slice(&[9f32; 18]).unwrap();
    assert!(message(loss.backward()).starts_with("linear: "));
}

/// Views of one tensor add up, wherever they lie and whatever else reads the tensor.
#[test]
fn gradients_of_views_add_up() {
    let device = device();
    let x = leaf(&device, &[4, 3]);
    // Also of what is no leaf: its sum begins with another op's gradient.
    let y = x.mul_scalar(2.0).unwrap();
    let part = |x: &Tensor, at: isize, start, length, factor| {
        let part = x.narrow(at, start, length).unwrap();
        part.mul_scalar(factor).unwrap().sum_all().unwrap()
    };
    let terms = [
        part(&x, 0, 0, 2, 1.0),
        part(&x, 0, 1, 2, 10.0),
        part(&x, 1, 2, 1, 100.0),
        part(&y, 0, 3, 1, 1000.0),
        y.sum_all().unwrap(),
        part(&y, -1, 0, 1, 5000.0),
        part(&y, 0, 0, 1, 20000.0),
    ];
    let loss = terms[1..]
        .iter()
        .fold(terms[0].clone(), |sum, term| sum.add(term).unwrap());
    let dx = loss.backward().unwrap();
    let dx = dx.get(&x).unwrap().to_vec::<f32>().unwrap();
    let mut want = vec![0f32; 12];
    for (i, want) in want.iter_mut().enumerate() {
        let (row, column) = (i / 3, i % 3);
        let at = |here: bool, value: f32| if here { value } else { 0.0 };
        *want = at(row < 2, 1.0)
            + at((1..3).contains(&row), 10.0)
            + at(column == 2, 100.0)
            + 2.0 * (at(row == 3, 1000.0) + 1.0 + at(column == 0, 5000.0) + at(row == 0, 20000.0));
    }
    assert_eq!(dx, want);
}

/// T steps that each read their part of one tensor cost T times one step, not T² of it.
#[test]
fn views_of_a_sequence_take_time_and_memory_in_proportion() {
    let device = device();
    let peak = |steps: usize| {
        let x = leaf(&device, &[steps, 4, 256]);
        let mut sum = Tensor::zeros(&device, &[1, 4, 256], x.dtype()).unwrap();
        for t in 0..steps {
            sum = sum.add(&x.narrow(0, t, 1).unwrap()).unwrap();
        }
        let loss = sum.mul(&sum).unwrap().sum_all().unwrap();
        drop(sum);
        device.synchronize().unwrap();
        device.reset_peak();
        let (before, launches) = (device.memory().peak, device.counters().0);
        let gradients = loss.backward().unwrap();
        device.synchronize().unwrap();
        assert!(gradients.get(&x).is_some());
        let memory = device.memory().peak - before;
        (
            memory / steps as u64,
            (device.counters().0 - launches) as usize,
        )
    };
    let (short, long) = (peak(32), peak(128));
    // One gradient of x's size, and what the pass holds besides.
    assert!(long.0 <= 2 * short.0.max(4 << 10), "{short:?} {long:?}");
    assert!(long.1 <= 2 * 128 + 8, "{long:?}");
}

/// Comparisons, indices and integers have no gradient by nature: tensors that want one may be asked.
#[test]
fn what_has_no_gradient_by_nature_is_computed() {
    let device = device();
    let x = Tensor::from_slice(&device, &[-1.5f32, 2.5, 0.5], &[3]).unwrap();
    x.set_requires_grad(true).unwrap();
    let zero = Tensor::zeros(&device, &[3], x.dtype()).unwrap();
    let positive = x.gt(&zero).unwrap();
    assert_eq!(positive.to_vec::<u32>().unwrap(), [0, 1, 1]);
    let index = x.argmax(0, false).unwrap();
    assert_eq!(index.to_vec::<u32>().unwrap(), [1]);
    let whole = x.cast(DType::I32).unwrap();
    assert_eq!(whole.to_vec::<i32>().unwrap(), [-1, 2, 0]);
    assert!(!positive.requires_grad() && !index.requires_grad() && !whole.requires_grad());
    // relu, by hand.
    let y = Tensor::where_cond(&positive, &x, &zero).unwrap();
    let gradients = y.mul(&y).unwrap().sum_all().unwrap().backward().unwrap();
    let dx = gradients.get(&x).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(dx, [0.0, 5.0, 1.0]);
}
