//! What would cut a gradient, spoil a recording or mix devices is refused, with a text that says what to do.

use std::sync::Arc;

use super::{device, leaf, message, values};
use wgrad::runtime::{Buffer, Kernel};
use wgrad::tensor::autograd::{no_grad, record};
use wgrad::tensor::ops::embedding::embedding;
use wgrad::tensor::{DType, Device, Result, Tensor};

const SHIFT: &str = "
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn shift(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) { y[id.x] = x[id.x] + 1.0; }
}";

fn shift(device: &Device) -> Arc<Kernel> {
    Arc::new(device.compile("shift", SHIFT).unwrap())
}

fn launch(kernel: &Arc<Kernel>, x: &Buffer, y: &Tensor) -> Result<()> {
    let launch = y.device().launch(kernel).u32("n", y.numel());
    let launch = launch.bind(x).bind(y.buffer());
    Ok(launch.invocations(y.numel() as u64)?)
}

fn empty(like: &Tensor) -> Tensor {
    Tensor::empty(like.device(), like.shape(), DType::F32).unwrap()
}

#[test]
fn a_launch_outside_of_the_graph_is_refused() {
    let device = device();
    let kernel = shift(&device);
    let x = leaf(&device, &[8]);
    let y = empty(&x);
    let result = x.mul_scalar(2.0).unwrap();
    for wants in [&x, &result] {
        let text = message(launch(&kernel, wants.buffer(), &y));
        for part in [
            "kernel `shift`: `x` wants a gradient",
            "record",
            "no_grad",
            "detach()",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // Handles made of it are watched too.
        let buffer = wants.buffer().clone();
        assert!(launch(&kernel, &buffer.part(0, 32).unwrap(), &y).is_err());
        assert!(device.copy(&buffer, 0, y.buffer(), 0, 32).is_err());
        assert!(device.zero(&buffer).is_err());
        launch(&kernel, wants.detach().buffer(), &y).unwrap();
        no_grad(|| launch(&kernel, &buffer, &y)).unwrap();
    }
    let shifted = |captured: &Tensor| {
        record(
            "shifted",
            &[&x],
            |_| {
                let y = empty(&x);
                launch(&kernel, captured.buffer(), &y)?;
                Ok(y)
            },
            |_, dy| Ok(vec![Some(dy.clone())]),
        )
    };
    let gradients = shifted(&x).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(
        gradients.get(&x).unwrap().to_vec::<f32>().unwrap(),
        [1.0; 8]
    );
    // A tensor that the op does not name among its inputs would lose its gradient.
    let text = message(shifted(&leaf(&device, &[8])));
    assert!(
        text.contains("is no input of the op being recorded"),
        "{text}"
    );
    // Frozen again, it is anybody's.
    x.set_requires_grad(false).unwrap();
    launch(&kernel, x.buffer(), &y).unwrap();
}

#[test]
fn a_launch_that_reads_what_it_writes_is_refused_and_nothing_else_is_lost() {
    let device = device();
    let kernel = shift(&device);
    let x = Tensor::from_slice(&device, &[1f32; 4], &[4]).unwrap();
    let before = x.mul_scalar(10.0).unwrap();
    let text = message(launch(&kernel, x.buffer(), &x));
    assert!(
        text.contains("`x` and `y` lie in the same memory"),
        "{text}"
    );
    // A part of the same memory.
    let part = x.buffer().part(0, 8).unwrap();
    assert!(launch(&kernel, &part, &x).is_err());
    let after = before.add_scalar(1.0).unwrap();
    assert_eq!(before.to_vec::<f32>().unwrap(), [10.0; 4]);
    assert_eq!(after.to_vec::<f32>().unwrap(), [11.0; 4]);
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0; 4]);
    // A binding that begins where the adapter allows none.
    let y = empty(&x);
    let launch = device.launch(&kernel).u32("n", 1);
    let launch = launch.window(x.buffer(), 4, 4).bind(y.buffer());
    let text = launch.groups(1).unwrap_err().to_string();
    assert!(text.contains("must begin at a multiple of"), "{text}");
    assert_eq!(after.to_vec::<f32>().unwrap(), [11.0; 4]);
}

#[test]
fn copies_within_one_memory_are_right() {
    let device = device();
    let base = Tensor::from_slice(&device, &[1f32, 2.0, 3.0, 4.0], &[4]).unwrap();
    let (from, to) = (base.narrow(0, 0, 3).unwrap(), base.narrow(0, 1, 3).unwrap());
    from.copy_into(&to).unwrap();
    assert_eq!(base.to_vec::<f32>().unwrap(), [1.0, 1.0, 2.0, 3.0]);
    device.copy(base.buffer(), 4, base.buffer(), 0, 12).unwrap();
    assert_eq!(base.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 3.0]);
}

/// A kernel that writes over a saved tensor counts as a write, without being told.
#[test]
fn launches_count_what_they_write() {
    let device = device();
    let kernel = shift(&device);
    let (x, factor) = (leaf(&device, &[4]), values(&device, &[4]));
    let loss = || x.mul(&factor).unwrap().sum_all().unwrap();
    let before = loss();
    launch(&kernel, values(&device, &[4]).buffer(), &factor).unwrap();
    assert!(message(before.backward()).starts_with("mul: "));
    // Through a part of its memory, and through the buffer that it was packed into.
    let before = loss();
    let part = factor.buffer().part(0, 4).unwrap();
    device.upload(&part, 0, &[0; 4]).unwrap();
    assert!(message(before.backward()).starts_with("mul: "));
    let other = values(&device, &[4]);
    Tensor::pack(&[&factor, &other]).unwrap();
    let before = loss();
    other.copy_from_slice(&[1f32; 4]).unwrap();
    before.backward().unwrap();
    let (whole, at) = factor.buffer().outermost();
    device.upload(&whole, at, &[0; 4]).unwrap();
    assert!(message(before.backward()).starts_with("mul: "));
}

#[test]
fn tensors_of_two_devices_are_refused_by_name() {
    let (here, there) = (device(), device());
    let names = [format!("{here:?}"), format!("{there:?}")];
    assert_ne!(names[0], names[1]);
    let refused = |op: &str, result: Result<()>| {
        let text = message(result);
        let named = text.starts_with(&format!("{op}: ")) && names.iter().all(|n| text.contains(n));
        assert!(named, "{op}: {text}");
    };
    let (a, b) = (leaf(&here, &[2, 2]), values(&there, &[2, 2]));
    let ids = Tensor::from_slice(&there, &[0u32, 1], &[2]).unwrap();
    refused("add", a.add(&b).map(drop));
    refused("matmul", a.matmul(&b).map(drop));
    refused("eq", a.detach().eq(&b).map(drop));
    refused("concat", Tensor::concat(&[&a, &b], 0).map(drop));
    refused("embedding", embedding(&a, &ids, None).map(drop));
    refused(
        "gather",
        a.gather(0, &ids.reshape(&[1, 2]).unwrap()).map(drop),
    );
    refused("where_cond", Tensor::where_cond(&ids, &a, &a).map(drop));
    refused("copy_into", b.copy_into(&a.detach()));
    refused("pack", Tensor::pack(&[&a, &b]));
    for (text, part) in [
        (here.copy(b.buffer(), 0, a.detach().buffer(), 0, 4), "copy"),
        (here.upload(b.buffer(), 0, &[0; 4]), "upload"),
        (here.zero(b.buffer()), "zero"),
        (here.read(b.buffer(), 0, 4).map(drop), "read"),
    ] {
        let text = text.unwrap_err().to_string();
        assert!(
            text.starts_with(part) && names.iter().all(|n| text.contains(n)),
            "{text}"
        );
    }
    assert_eq!(
        b.to_vec::<f32>().unwrap(),
        values(&here, &[2, 2]).to_vec::<f32>().unwrap()
    );
}

#[test]
fn a_gradient_of_a_gradient_is_refused() {
    let device = device();
    let x = leaf(&device, &[3]);
    let loss = x.mul(&x).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let dx = gradients.get(&x).unwrap();
    // A penalty on the gradient, added to the loss.
    let penalty = dx.mul(dx).unwrap().sum_all().unwrap();
    let text = message(loss.add(&penalty));
    assert!(
        text.contains("add: ") && text.contains("detach()"),
        "{text}"
    );
    assert!(message(x.sub(&dx.narrow(0, 0, 1).unwrap())).contains("sub: "));
    assert!(penalty.set_requires_grad(true).is_err());
    // As a constant, and where no graph is built, it is a tensor like any other.
    loss.add(&penalty.detach()).unwrap().backward().unwrap();
    no_grad(|| x.sub(&dx.mul_scalar(0.1)?)).unwrap();
    let mut sum = gradients.clone();
    sum.accumulate(gradients.clone()).unwrap();
    let twice: Vec<f32> = dx
        .to_vec::<f32>()
        .unwrap()
        .iter()
        .map(|v| 2.0 * v)
        .collect();
    assert_eq!(sum.get(&x).unwrap().to_vec::<f32>().unwrap(), twice);
}
