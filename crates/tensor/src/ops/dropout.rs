//! Dropout (Srivastava et al., JMLR 2014), with masks made from counters.

use wgrad_runtime::{Defines, Launch};

use crate::autograd::record_with;
use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::pieces::pieces;
use crate::random::{Generator, state, word};
use crate::shape::Walk;
use crate::tensor::Tensor;

impl Tensor {
    /// Zeros each element with probability `p` and scales the others by 1 / (1 - p), so that the mean
    /// stays. With `p` 0 the result is `self` and `generator` does not move.
    ///
    /// The mask follows from the generator's seed, step, micro-batch and op count alone; the backward
    /// pass makes it again. Errors unless `p` is in 0..1 and `self` is a float tensor on the
    /// generator's device.
    ///
    /// ```
    /// # use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let generator = Generator::new(&device, 0)?;
    /// let x = Tensor::ones(&device, &[1000], DType::F32)?;
    /// let y = x.dropout(0.5, &generator)?.to_vec::<f32>()?;
    /// assert!(y.iter().all(|v| *v == 0.0 || *v == 2.0));
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn dropout(&self, p: f32, generator: &Generator) -> Result<Tensor> {
        check_p(p)?;
        if !self.dtype().is_float() {
            return Err(Error::op(
                "dropout",
                format!("a float tensor is needed, {self:?} was given; cast it first"),
            ));
        }
        generator.check_device("dropout", self.device())?;
        let Some(drop) = Drop::new(p, generator) else {
            return Ok(self.clone());
        };
        record_with(
            "dropout",
            &[self],
            |ctx| {
                ctx.save(&drop.state);
                Ok((masked(self, &drop)?, drop))
            },
            |drop, _, dy| Ok(vec![Some(masked(dy, drop)?)]),
        )
    }
}

/// One use of dropout: the numbers that fix its mask.
pub(crate) struct Drop {
    p: f32,
    op: u32,
    pub state: Tensor,
}

impl Drop {
    /// The generator's next random op; `None` for `p` 0, which uses no random op.
    pub fn new(p: f32, generator: &Generator) -> Option<Drop> {
        (p > 0.0).then(|| Drop {
            p,
            op: generator.next_op(),
            state: generator.state().clone(),
        })
    }

    /// Sets the parameters `op`, `threshold` and `inv_keep_prob`, with which nothing is dropped if there is no
    /// `drop`.
    pub fn params<'a>(drop: Option<&Drop>, launch: Launch<'a>) -> Launch<'a> {
        let p = drop.map_or(0.0, |d| d.p);
        launch
            .u32("op", drop.map_or(0, |d| d.op as usize))
            .u32("threshold", threshold(p) as usize)
            .f32("inv_keep_prob", (1.0 / (1.0 - f64::from(p))) as f32)
    }
}

/// Refuses a `p` outside of 0..1.
pub(crate) fn check_p(p: f32) -> Result<()> {
    if (0.0..1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::op(
        "dropout",
        format!("p = {p} must be at least 0 and below 1"),
    ))
}

/// Elements with a word below this are zeroed.
pub(crate) fn threshold(p: f32) -> u32 {
    // p is at most 1 - 2^-24, so this stays below 2^32.
    (f64::from(p) * 4_294_967_296.0).round() as u32
}

fn masked(x: &Tensor, drop: &Drop) -> Result<Tensor> {
    let y = Tensor::empty(x.device(), x.shape(), x.dtype())?;
    let x = match x.fits_binding() && y.fits_binding() {
        true => x.detach(),
        // Pieces must be row-major: a mask goes by the number of the element.
        false => x.detach().contiguous()?,
    };
    pieces(&[x, y.detach()], &mut |parts| match parts {
        [x, y] => launch(x, y, drop),
        _ => Ok(()),
    })?;
    Ok(y)
}

/// Of a piece `y` of a row-major result.
fn launch(x: &Tensor, y: &Tensor, drop: &Drop) -> Result<()> {
    let device = x.device();
    let walk = Walk::new("dropout", x.shape(), &[x.strides()])?;
    let (from, to) = (x.binding(), y.binding());
    let defines = elements(x, from.lead).flag_if(x.is_contiguous(), "CONTIGUOUS");
    let kernel = device.kernel("dropout", &defines)?;
    Drop::params(Some(drop), device.launch(&kernel))
        .u32("n", x.numel())
        .u32("offset", from.lead)
        .u32("y_offset", to.lead)
        .u32("first", y.offset() / 4)
        .u32s("shape", &walk.shape)
        .u32s("strides", &walk.strides[0])
        .window(x.buffer(), from.offset, from.bytes)
        .bind(drop.state.buffer())
        .window(y.buffer(), to.offset, to.bytes)
        .invocations(x.numel().div_ceil(4) as u64)?;
    Ok(())
}

/// `VECTORS` where `x` is in whole vectors from `lead` on, and `S`, what lies in memory.
fn elements(x: &Tensor, lead: usize) -> Defines {
    let vectors = x.is_contiguous() && lead.is_multiple_of(4) && x.numel().is_multiple_of(4);
    let name = x.dtype().wgsl();
    let memory = match vectors {
        true => format!("vec4<{name}>"),
        false => name.to_owned(),
    };
    Defines::new()
        .alias("S", &memory)
        .flag_if(vectors, "VECTORS")
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    let more = [
        (vec![1023], Layout::Contiguous),
        (vec![1025], Layout::Contiguous),
        (vec![9, 132], Layout::Contiguous),
        (vec![70, 33], Layout::Transposed),
    ];
    for dtype in [DType::F32, DType::F16] {
        for (shape, layout) in shapes::pointwise().into_iter().chain(more.clone()) {
            for (p, seed, step, micro_batch) in [
                (0.0f32, 1u64, 0u64, 0u32),
                (0.1, 42, 3, 0),
                (0.5, u64::MAX, (1 << 40) + 5, 7),
                (0.999, 0, 0, 1),
            ] {
                let run = move |x: &[Tensor]| {
                    let generator = Generator::new(x[0].device(), seed)?;
                    generator.begin_step(step, micro_batch)?;
                    // The second op of its step.
                    generator.next_op();
                    x[0].dropout(p, &generator)
                };
                let reference = move |x: &[HostArray]| {
                    let words = state(seed, step, micro_batch).unwrap_or_default();
                    let mut y = x[0].clone();
                    for (i, value) in y.data.iter_mut().enumerate() {
                        let kept = p == 0.0 || word(words, 1, i) >= threshold(p);
                        *value *= f64::from(u8::from(kept)) / (1.0 - f64::from(p));
                    }
                    y
                };
                // PyTorch draws other masks.
                out.push(
                    Case::new(
                        "dropout",
                        "",
                        vec![Input::new(&shape, dtype).layout(layout)],
                        run,
                        reference,
                    )
                    .note(format!("p = {p}")),
                );
            }
        }
    }
    for (dtype, p, text) in [
        (DType::F32, 1.0, "below 1"),
        (DType::F32, -0.1, "at least 0"),
        (DType::F32, f32::NAN, "at least 0"),
        (DType::U32, 0.1, "a float tensor is needed"),
    ] {
        out.push(Case::rejects(
            "dropout",
            vec![Input::new(&[5], dtype).range(0.0, 9.0).frozen()],
            move |x| x[0].dropout(p, &Generator::new(x[0].device(), 1)?),
            text,
        ));
    }
}
