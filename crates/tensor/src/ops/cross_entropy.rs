//! Cross-entropy of logits and target classes.

use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tape::{record, refuse_grad};
use crate::tensor::Tensor;

pub use super::losses::Reduction;
use super::rows::Rows;

/// How [`Tensor::cross_entropy`] computes its loss; the default is PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CrossEntropy {
    /// Rows with this target have no loss and no gradient, and do not count in the mean.
    pub ignore_index: Option<u32>,
    /// The part of the target, in 0..=1, that is spread evenly over all classes (arXiv:1512.00567).
    pub label_smoothing: f32,
    /// What becomes of the losses of the rows.
    pub reduction: Reduction,
}

impl Tensor {
    /// The cross-entropy of logits `[N, C]` and target classes `[N]` (u32), as PyTorch's: the softmax
    /// is never formed. The loss is f32, also for f16 logits: of shape `[N]` for [`Reduction::None`],
    /// else `[]`.
    ///
    /// Two differences: the mean over rows that are all ignored is 0 instead of NaN, and a target
    /// of C or more, which only the device sees, counts as the last class.
    pub fn cross_entropy(&self, targets: &Tensor, options: &CrossEntropy) -> Result<Tensor> {
        let op = "cross_entropy";
        let &[rows, classes] = self.shape() else {
            return Err(Error::op(
                op,
                format!("logits have shape [N, C], {:?} was given", self.shape()),
            ));
        };
        if rows == 0 || classes == 0 || !self.dtype().is_float() {
            return Err(Error::op(
                op,
                format!("logits are floats of at least one row and class, {self:?} was given"),
            ));
        }
        if targets.shape() != [rows] || targets.dtype() != DType::U32 {
            return Err(Error::op(
                op,
                format!(
                    "for logits {:?} the targets are u32 [{rows}], {targets:?} was given",
                    self.shape()
                ),
            ));
        }
        if !(0.0..=1.0).contains(&options.label_smoothing) {
            return Err(Error::op(
                op,
                format!(
                    "label_smoothing is {}, it must be in 0..=1",
                    options.label_smoothing
                ),
            ));
        }
        refuse_grad(op, &[targets])?;
        let logits = self.contiguous()?;
        forward(&logits, targets.clone(), *options)
    }
}

fn forward(logits: &Tensor, targets: Tensor, options: CrossEntropy) -> Result<Tensor> {
    let device = logits.device();
    let (rows, classes) = (logits.shape()[0], logits.shape()[1]);
    // Only then is the divisor of the mean known on the device alone.
    let counted = options.ignore_index.is_some() && options.reduction == Reduction::Mean;
    let sides: &[usize] = if counted { &[2, rows] } else { &[rows] };
    let losses = Tensor::empty(device, sides, DType::F32)?;
    let statistics = Tensor::empty(device, &[2, rows], DType::F32)?;
    let defines = Rows::new(device, classes, 0, None)
        .defines()
        .alias("S", logits.dtype().wgsl())
        .flag_if(options.label_smoothing > 0.0, "SMOOTH")
        .flag_if(options.ignore_index.is_some(), "IGNORE")
        .flag_if(counted, "COUNT");
    let kernel = device.kernel("cross_entropy", &defines)?;
    device
        .launch(&kernel)
        .u32("rows", rows)
        .u32("length", classes)
        .u32("offset", logits.offset())
        .u32("target_offset", targets.offset())
        .u32("target_stride", targets.strides()[0])
        .u32("ignored", options.ignore_index.unwrap_or(0) as usize)
        .f32("smoothing", options.label_smoothing)
        .bind(logits.buffer())
        .bind(targets.buffer())
        .bind(losses.buffer())
        .bind(statistics.buffer())
        .groups(rows as u64)?;
    let mut count = None;
    let loss = match options.reduction {
        Reduction::None => losses,
        Reduction::Sum => losses.sum_all()?,
        Reduction::Mean if counted => {
            let sums = losses.sum(&[1], false)?;
            let kept = sums.narrow(0, 1, 1)?.clamp(1.0, rows as f32)?;
            let mean = sums.narrow(0, 0, 1)?.div(&kept)?.reshape(&[])?;
            count = Some(kept);
            mean
        }
        Reduction::Mean => losses.mean_all()?,
    };
    let saved = Saved {
        logits: logits.detach(),
        targets,
        statistics,
        count,
        options,
    };
    Ok(record("cross_entropy", loss, &[logits], move |dy, _| {
        Ok(vec![Some(saved.backward(dy)?)])
    }))
}

struct Saved {
    logits: Tensor,
    targets: Tensor,
    statistics: Tensor,
    /// How many rows count, where only the device knows; at least 1.
    count: Option<Tensor>,
    options: CrossEntropy,
}

impl Saved {
    fn backward(&self, dy: &Tensor) -> Result<Tensor> {
        let x = &self.logits;
        let device = x.device();
        let (rows, classes) = (x.shape()[0], x.shape()[1]);
        let dx = Tensor::empty(device, x.shape(), x.dtype())?;
        let scale = match self.options.reduction {
            Reduction::Mean => 1.0 / rows as f32,
            Reduction::Sum | Reduction::None => 1.0,
        };
        let defines = Rows::new(device, classes, 0, None)
            .defines()
            .alias("S", x.dtype().wgsl())
            .flag_if(self.options.ignore_index.is_some(), "IGNORE")
            .flag_if(self.count.is_some(), "COUNT");
        let kernel = device.kernel("cross_entropy_backward", &defines)?;
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", classes)
            .u32("dy_offset", dy.offset())
            .u32("dy_stride", dy.strides().first().copied().unwrap_or(0))
            .u32("offset", x.offset())
            .u32("target_offset", self.targets.offset())
            .u32("target_stride", self.targets.strides()[0])
            .u32("ignored", self.options.ignore_index.unwrap_or(0) as usize)
            .f32("smoothing", self.options.label_smoothing)
            .f32("scale", scale)
            .bind(dy.buffer())
            .bind(x.buffer())
            .bind(self.targets.buffer())
            .bind(self.statistics.buffer())
            .bind(self.count.as_ref().unwrap_or(&self.statistics).buffer())
            .bind(dx.buffer())
            .groups(rows as u64)?;
        Ok(dx)
    }
}

fn reference(x: &[HostArray], options: CrossEntropy) -> HostArray {
    let classes = x[0].shape[1];
    let smoothing = f64::from(options.label_smoothing);
    let mut count = 0.0f64;
    let mut losses = HostArray::zeros(&x[1].shape);
    let rows = x[0].data.chunks_exact(classes).zip(&x[1].data);
    for ((row, target), loss) in rows.zip(&mut losses.data) {
        if options
            .ignore_index
            .is_some_and(|i| f64::from(i) == *target)
        {
            continue;
        }
        count += 1.0;
        let top = row.iter().fold(f64::MIN, |m, v| m.max(*v));
        let lse = top + row.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
        let mean = row.iter().sum::<f64>() / classes as f64;
        let wanted = row[(*target as usize).min(classes - 1)];
        *loss = lse - (1.0 - smoothing) * wanted - smoothing * mean;
    }
    let total: f64 = losses.data.iter().sum();
    let one = |value| HostArray {
        shape: vec![],
        data: vec![value],
    };
    match options.reduction {
        Reduction::None => losses,
        Reduction::Sum => one(total),
        Reduction::Mean => one(total / count.max(1.0)),
    }
}

fn case(logits: Input, targets: Input, options: CrossEntropy) -> Case {
    let ignore = options
        .ignore_index
        .map_or(String::new(), |i| format!(", ignore_index={i}"));
    let torch = format!(
        "F.cross_entropy(x0, x1{ignore}, label_smoothing={}, reduction='{}')",
        options.label_smoothing,
        options.reduction.torch()
    );
    Case::new(
        "cross_entropy",
        &torch,
        vec![logits, targets],
        move |x| x[0].cross_entropy(&x[1], &options),
        move |x: &[HostArray]| reference(x, options),
    )
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    let targets = |rows: usize, classes: u32| Input::new(&[rows], DType::U32).index(classes);
    let plain = CrossEntropy::default();
    for dtype in [DType::F32, DType::F16] {
        for (shape, layout) in [
            ([1, 1], Contiguous),
            ([5, 2], Contiguous),
            ([3, 257], Transposed),
            ([7, 33], Sliced),
            ([4, 10], Expanded),
            ([2, 3001], Contiguous),
        ] {
            for (smoothing, ignore) in [(0.0, None), (0.1, None), (0.0, Some(1)), (0.3, Some(0))] {
                for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
                    let logits = Input::new(&shape, dtype).layout(layout).range(-4.0, 4.0);
                    let wanted = targets(shape[0], shape[1] as u32);
                    let wanted = match layout {
                        Sliced => wanted.layout(Sliced),
                        _ => wanted,
                    };
                    let options = CrossEntropy {
                        ignore_index: ignore,
                        label_smoothing: smoothing,
                        reduction,
                    };
                    let mut row = case(logits, wanted, options);
                    if shape[1] == 1 && ignore == Some(0) && reduction == Reduction::Mean {
                        // Every row is ignored: PyTorch's mean is NaN.
                        row.torch = "(x0 * 0.0).sum()".into();
                    }
                    out.push(row);
                }
            }
        }
    }
    let far = Input::new(&[6, 50], DType::F32).range(900.0, 910.0);
    let smooth = CrossEntropy {
        label_smoothing: 0.1,
        ..plain
    };
    out.push(case(far, targets(6, 50), smooth).note("far from 0"));
    let many = Input::new(&[70_000, 3], DType::F32);
    out.push(case(many, targets(70_000, 3), plain));
    let small = || Input::new(&[4, 5], DType::F32);
    let mut beyond = case(small(), targets(4, 9), plain).note("targets beyond the classes");
    beyond.torch = "F.cross_entropy(x0, x1.clamp(max=4))".into();
    out.push(beyond);
    for (inputs, smoothing, text) in [
        (
            vec![Input::new(&[4], DType::F32), targets(4, 5)],
            0.0,
            "logits have shape [N, C]",
        ),
        (
            vec![Input::new(&[0, 5], DType::F32), targets(0, 5)],
            0.0,
            "at least one row and class",
        ),
        (vec![small(), targets(3, 5)], 0.0, "the targets are u32 [4]"),
        (
            vec![small(), Input::new(&[4], DType::F32)],
            0.0,
            "the targets are u32 [4]",
        ),
        (vec![small(), targets(4, 5)], 1.5, "must be in 0..=1"),
    ] {
        let options = CrossEntropy {
            label_smoothing: smoothing,
            ..plain
        };
        out.push(Case::rejects(
            "cross_entropy",
            inputs,
            move |x| x[0].cross_entropy(&x[1], &options),
            text,
        ));
    }
}
