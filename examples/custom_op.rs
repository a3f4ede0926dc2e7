//! An op of your own: a WGSL kernel, its backward kernel, and the checks that wgrad's own ops pass.
//!
//! The op is squareplus, a smooth ReLU (Barron, arXiv:2112.11687): y = (x + sqrt(x² + b)) / 2.
//!
//! Run: cargo run --release --example custom_op

use std::sync::Arc;

use wgrad::prelude::*;
use wgrad::runtime::Kernel;
use wgrad::tensor::Result;
use wgrad::tensor::autograd::record;
use wgrad::tensor::testing::{Case, HostArray, Input, Layout, check};

const FORWARD: &str = "
struct Params { n: u32, offset: u32, b: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn squareplus(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) {
        let v = x[params.offset + id.x];
        y[id.x] = 0.5 * (v + sqrt(v * v + params.b));
    }
}
";

const BACKWARD: &str = "
struct Params { n: u32, offset: u32, dy_offset: u32, b: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn squareplus_backward(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) {
        let v = x[params.offset + id.x];
        dx[id.x] = dy[params.dy_offset + id.x] * 0.5 * (1.0 + v / sqrt(v * v + params.b));
    }
}
";

/// The compiled kernels. Compile them once, not in every call.
struct Squareplus {
    forward: Arc<Kernel>,
    backward: Arc<Kernel>,
}

impl Squareplus {
    fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            forward: Arc::new(device.compile("squareplus", FORWARD)?),
            backward: Arc::new(device.compile("squareplus_backward", BACKWARD)?),
        })
    }

    /// `x` is f32 of any shape, as is the result.
    fn apply(&self, x: &Tensor, b: f32) -> Result<Tensor> {
        // The kernel reads one value after the other; a view (a transpose, a slice) is copied first.
        let x = x.contiguous()?;
        let backward = self.backward.clone();
        record(
            "squareplus",
            &[&x],
            |ctx| {
                // The backward rule reads x. A saved tensor may not be overwritten in between.
                ctx.save(&x);
                let y = Tensor::empty(x.device(), x.shape(), x.dtype())?;
                x.device()
                    .launch(&self.forward)
                    .u32("n", x.numel())
                    .u32("offset", x.offset())
                    .f32("b", b)
                    .bind(x.buffer())
                    .bind(y.buffer())
                    .invocations(x.numel() as u64)?;
                Ok(y)
            },
            move |ctx, dy| {
                let (x, dy) = (ctx.saved(0)?, dy.contiguous()?);
                let dx = Tensor::empty(x.device(), x.shape(), x.dtype())?;
                x.device()
                    .launch(&backward)
                    .u32("n", x.numel())
                    .u32("offset", x.offset())
                    .u32("dy_offset", dy.offset())
                    .f32("b", b)
                    .bind(x.buffer())
                    .bind(dy.buffer())
                    .bind(dx.buffer())
                    .invocations(x.numel() as u64)?;
                Ok(vec![Some(dx)])
            },
        )
    }
}

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    let op = Squareplus::new(&device)?;

    let x = Tensor::from_slice(&device, &[-2.0f32, 0.0, 1.5], &[3])?;
    x.set_requires_grad(true)?;
    let y = op.apply(&x, 4.0)?;
    let gradients = y.sum_all()?.backward()?;
    let dx = gradients
        .get(&x)
        .ok_or_else(|| anyhow::anyhow!("no gradient"))?;
    println!("squareplus(x) = {:?}", y.to_vec::<f32>()?);
    println!("its slope     = {:?}", dx.to_vec::<f32>()?);

    // The checks of wgrad's own ops: values against float64 on the host, gradients against finite
    // differences, stray writes, views as inputs, sizes that do not fill a workgroup.
    let mut cases = Vec::new();
    for (shape, layout) in [
        (vec![1], Layout::Contiguous),
        (vec![65], Layout::Contiguous),
        (vec![3, 50], Layout::Transposed),
        (vec![4, 5], Layout::Sliced),
    ] {
        cases.push(Case::new(
            "squareplus",
            "(x0 + (x0 * x0 + 4).sqrt()) / 2",
            vec![Input::new(&shape, DType::F32).layout(layout)],
            |x| Squareplus::new(x[0].device())?.apply(&x[0], 4.0),
            |x: &[HostArray]| x[0].map(|v| 0.5 * (v + (v * v + 4.0).sqrt())),
        ));
    }
    check(&cases)?;
    println!("values and gradients are right in every mode");
    Ok(())
}
