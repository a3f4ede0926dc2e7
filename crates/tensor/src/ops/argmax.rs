//! Where the largest or smallest element along a dimension lies.

use wgrad_runtime::Defines;

use crate::cases::{Case, HostArray, Input, Layout, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::{Walk, dim};
use crate::tensor::Tensor;

/// Elements one invocation looks at in a pass at most.
const SERIAL: usize = 1024;

impl Tensor {
    /// The index (u32) of the largest element along dimension `at`, which is left out of the shape or
    /// kept as 1; the first one where several are equal, and the first NaN if there is one. Has no gradient.
    ///
    /// ```
    /// # use wgrad_tensor::{Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.0f32, 9.0, 3.0, 4.0, 2.0, 6.0], &[2, 3])?;
    /// assert_eq!(x.argmax(-1, false)?.to_vec::<u32>()?, [1, 2]);
    /// assert_eq!(x.argmin(-1, false)?.to_vec::<u32>()?, [0, 1]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn argmax(&self, at: isize, keepdim: bool) -> Result<Tensor> {
        best("argmax", "a > b", self, at, keepdim)
    }

    /// The index of the smallest element, as [`Tensor::argmax`].
    pub fn argmin(&self, at: isize, keepdim: bool) -> Result<Tensor> {
        best("argmin", "a < b", self, at, keepdim)
    }
}

fn best(op: &'static str, better: &str, x: &Tensor, at: isize, keepdim: bool) -> Result<Tensor> {
    // Indices have no gradient by nature.
    let x = &x.detach();
    let at = dim(op, at, x.rank())?;
    let side = x.shape().get(at).copied().unwrap_or(1);
    let stride = x.strides().get(at).copied().unwrap_or(1);
    if side == 0 {
        return Err(Error::op(
            op,
            format!("dimension {at} of {:?} has no elements", x.shape()),
        ));
    }
    let (mut kept_shape, mut kept_strides) = (x.shape().to_vec(), x.strides().to_vec());
    let mut shape = x.shape().to_vec();
    if x.rank() > 0 {
        kept_shape.remove(at);
        kept_strides.remove(at);
        shape[at] = 1;
    }
    if !keepdim {
        shape.clone_from(&kept_shape);
    }
    let kept = Walk::new(op, &kept_shape, &[&kept_strides])?;
    let outputs = x.numel() / side;
    let x = &x.bindable()?;
    let device = x.device();
    let columns = kept.rank > 0 && (kept.strides[0][7] as usize) < stride;
    let compute = if x.dtype().is_float() {
        DType::F32
    } else {
        x.dtype()
    };
    let c = compute.wgsl();
    let nan = match compute {
        DType::F32 => "(is_nan(a) && !is_nan(b)) || ",
        _ => "",
    };
    let line = format!("fn better(a: {c}, b: {c}) -> bool {{ return {nan}{better}; }}");
    let defines = Defines::new()
        .alias("S", x.dtype().wgsl())
        .alias("COMPUTE", c)
        .code("better", &line)
        .flag_if(columns, "COLUMNS");
    let mut candidates: Option<Tensor> = None;
    let mut length = side;
    loop {
        let chunks = (16_384 / outputs.max(1))
            .min(length / 16)
            .max(length.div_ceil(SERIAL))
            .max(1);
        let y = match chunks {
            1 => Tensor::empty(device, &shape, DType::U32)?,
            _ => Tensor::empty(device, &[outputs * chunks], DType::U32)?,
        };
        let defines = defines.clone().flag_if(candidates.is_some(), "CANDIDATES");
        let kernel = device.kernel("argmax", &defines)?;
        device
            .launch(&kernel)
            .u32("outputs", outputs)
            .u32("chunks", chunks)
            .u32("length", length)
            .u32("offset", x.offset())
            .u32("stride", stride)
            .u32s("kept_shape", &kept.shape)
            .u32s("kept_strides", &kept.strides[0])
            .bind(x.buffer())
            .bind(candidates.as_ref().unwrap_or(x).buffer())
            .bind(y.buffer())
            .invocations((outputs * chunks) as u64)?;
        if chunks == 1 {
            return Ok(y);
        }
        length = chunks;
        candidates = Some(y);
    }
}

struct Row {
    name: &'static str,
    run: fn(&Tensor, isize, bool) -> Result<Tensor>,
    better: fn(f64, f64) -> bool,
}

const ROWS: [Row; 2] = [
    Row {
        name: "argmax",
        run: Tensor::argmax,
        better: |a, b| a > b,
    },
    Row {
        name: "argmin",
        run: Tensor::argmin,
        better: |a, b| a < b,
    },
];

fn case(row: &'static Row, input: Input, at: isize, keepdim: bool) -> Case {
    let input = if input.dtype.is_float() {
        input.frozen()
    } else {
        input
    };
    let keep = if keepdim { ", keepdim=True" } else { "" };
    let torch = format!("torch.{}(x0, dim={at}{keep})", row.name);
    Case::new(
        row.name,
        &torch,
        vec![input],
        move |x| (row.run)(&x[0], at, keepdim),
        move |x: &[HostArray]| {
            let rank = x[0].shape.len();
            let at = if at < 0 { rank as isize + at } else { at } as usize;
            let mut y = x[0].along(at, |values| {
                let mut best = 0;
                for (i, v) in values.iter().enumerate() {
                    if (row.better)(*v, values[best]) {
                        best = i;
                    }
                }
                vec![best as f64]
            });
            if !keepdim {
                y.shape.remove(at);
            }
            y
        },
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    for row in &ROWS {
        for dtype in [DType::F32, DType::F16] {
            for (shape, layout) in shapes::rows() {
                let input = Input::new(&shape, dtype).layout(layout);
                out.push(case(row, input.clone(), -1, false));
                out.push(case(row, input.clone(), 0, true));
                // Equal elements: the first one counts.
                out.push(case(row, input.steps(2), -1, true).note("ties"));
            }
        }
        for dtype in [DType::U32, DType::I32] {
            for (shape, layout) in [(vec![5, 33], Sliced), (vec![4, 6, 5], Transposed)] {
                let input = Input::new(&shape, dtype).layout(layout).index(9);
                out.push(case(row, input, 1, false));
            }
        }
        for (shape, layout, at) in [
            (vec![1], Contiguous, 0),
            (vec![2, 1025, 3], Contiguous, 1),
            (vec![4, 3, 5, 6], Expanded, 1),
            (vec![30_522], Contiguous, 0),
            (vec![2, 70_000], Contiguous, 1),
            (vec![70_000, 3], Contiguous, 0),
            (vec![70_000, 3], Contiguous, 1),
        ] {
            let input = Input::new(&shape, DType::F32).layout(layout);
            out.push(case(row, input, at, false));
        }
        let run = row.run;
        for (input, at, text) in [
            (
                Input::new(&[2, 3], DType::F32).frozen(),
                2,
                "dim 2 is out of range",
            ),
            (
                Input::new(&[2, 0], DType::F32).frozen(),
                1,
                "has no elements",
            ),
        ] {
            out.push(Case::rejects(
                row.name,
                vec![input],
                move |x| run(&x[0], at, false),
                text,
            ));
        }
    }
}
