//! A user's op: mish with its own kernels, checked like the library's ops.

use std::sync::Arc;

use super::{device, leaf};
use wgrad::runtime::Kernel;
use wgrad::tensor::autograd::record;
use wgrad::tensor::testing::{Case, HostArray, Input, Layout, check, shapes};
use wgrad::tensor::{DType, Device, Error, Result, Tensor};

const FORWARD: &str = "
struct Params { n: u32, offset: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
fn softplus(v: f32) -> f32 { return max(v, 0.0) + log(1.0 + exp(-abs(v))); }
@compute @workgroup_size(64)
fn mish(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) {
        let v = x[params.offset + id.x];
        y[id.x] = v * tanh(softplus(v));
    }
}";

const BACKWARD: &str = "
struct Params { n: u32, offset: u32, dy_offset: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
fn softplus(v: f32) -> f32 { return max(v, 0.0) + log(1.0 + exp(-abs(v))); }
@compute @workgroup_size(64)
fn mish_backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) {
        let v = x[params.offset + id.x];
        let t = tanh(softplus(v));
        let s = 1.0 / (1.0 + exp(-v));
        dx[id.x] = dy[params.dy_offset + id.x] * (t + v * (1.0 - t * t) * s);
    }
}";

#[derive(Clone)]
struct Mish {
    forward: Arc<Kernel>,
    backward: Arc<Kernel>,
}

impl Mish {
    fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            forward: Arc::new(device.compile("mish", FORWARD)?),
            backward: Arc::new(device.compile("mish_backward", BACKWARD)?),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dtype() != DType::F32 {
            return Err(Error::op("mish", format!("f32 is needed, {x:?} was given")));
        }
        let x = x.contiguous()?;
        let kernel = self.backward.clone();
        record(
            "mish",
            &[&x],
            |ctx| {
                ctx.save(&x);
                let y = Tensor::empty(x.device(), x.shape(), DType::F32)?;
                x.device()
                    .launch(&self.forward)
                    .u32("n", x.numel())
                    .u32("offset", x.offset())
                    .bind(x.buffer())
                    .bind(y.buffer())
                    .invocations(x.numel() as u64)?;
                Ok(y)
            },
            move |ctx, dy| {
                let (x, dy) = (ctx.saved(0)?, dy.contiguous()?);
                let dx = Tensor::empty(x.device(), x.shape(), DType::F32)?;
                x.device()
                    .launch(&kernel)
                    .u32("n", x.numel())
                    .u32("offset", x.offset())
                    .u32("dy_offset", dy.offset())
                    .bind(x.buffer())
                    .bind(dy.buffer())
                    .bind(dx.buffer())
                    .invocations(x.numel() as u64)?;
                Ok(vec![Some(dx)])
            },
        )
    }
}

fn run(x: &[Tensor]) -> Result<Tensor> {
    Mish::new(x[0].device())?.forward(&x[0])
}

fn reference(x: &[HostArray]) -> HostArray {
    x[0].map(|v| v * (v.max(0.0) + (-v.abs()).exp().ln_1p()).tanh())
}

fn case(shape: &[usize], layout: Layout) -> Case {
    let input = Input::new(shape, DType::F32)
        .layout(layout)
        .range(-4.0, 4.0);
    Case::new("mish", "F.mish(x0)", vec![input], run, reference)
}

#[test]
fn a_users_op_passes_the_librarys_checks() {
    let mut cases: Vec<Case> = shapes::pointwise()
        .iter()
        .map(|(shape, layout)| case(shape, *layout))
        .collect();
    let half = vec![Input::new(&[3], DType::F16).frozen()];
    cases.push(Case::rejects("mish", half, run, "f32 is needed"));
    check(&cases).unwrap();
}

#[test]
fn a_wrong_gradient_and_a_stray_write_are_found() {
    let wrong = |x: &[Tensor]| {
        record(
            "wrong",
            &[&x[0]],
            |_| x[0].mul_scalar(2.0),
            |_, dy| Ok(vec![Some(dy.clone())]),
        )
    };
    let input = || vec![Input::new(&[5], DType::F32)];
    let doubled = |x: &[HostArray]| x[0].map(|v| 2.0 * v);
    let case = Case::new("wrong", "", input(), wrong, doubled);
    let found = check(&[case]).unwrap_err().to_string();
    assert!(
        found.contains("guard bytes: wrong") && found.contains("gradient 0"),
        "{found}"
    );
    let cut = |x: &[Tensor]| x[0].detach().mul_scalar(2.0);
    let case = Case::new("cut", "", input(), cut, doubled);
    let found = check(&[case]).unwrap_err().to_string();
    assert!(found.contains("no gradient can flow from here"), "{found}");
}

/// In a graph between ops of the library.
#[test]
fn gradients_flow_through_a_users_op() {
    let device = device();
    let mish = Mish::new(&device).unwrap();
    let (x, w) = (leaf(&device, &[4, 8]), leaf(&device, &[8, 3]));
    let gradients = |own: bool| {
        let h = x.matmul(&w).unwrap();
        let y = match own {
            true => mish.forward(&h).unwrap(),
            false => h.mul(&h.softplus().unwrap().tanh().unwrap()).unwrap(),
        };
        let loss = y.mul(&y).unwrap().mean_all().unwrap();
        let gradients = loss.backward().unwrap();
        let read = |t: &Tensor| gradients.get(t).unwrap().to_vec::<f32>().unwrap();
        [read(&x), read(&w)].concat()
    };
    for (own, composed) in gradients(true).iter().zip(gradients(false)) {
        assert!((own - composed).abs() < 1e-5, "{own} {composed}");
    }
}
