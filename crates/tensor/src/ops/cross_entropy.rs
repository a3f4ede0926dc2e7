//! Cross-entropy of logits and target classes.

mod cases;

pub use cases::cases;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::autograd::{Context, record_with, refuse_grad};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::check_indices::check_indices;
use crate::ops::pieces::row_halves;
use crate::tensor::{Observer, Tensor};

pub use super::losses::Reduction;
use super::rows::RowLayout;

/// How [`Tensor::cross_entropy`] computes its loss; the default is PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CrossEntropy {
    /// Rows with this target have no loss and no gradient, and do not count in the mean.
    pub ignore_index: Option<u32>,
    /// The part of the target, in 0..=1, that is spread evenly over all classes (arXiv:1512.00567).
    pub label_smoothing: f32,
    /// How the losses of the rows are reduced.
    pub reduction: Reduction,
    /// The backward pass writes the gradient over the logits, if they are the result of an op and
    /// have no other handle at that time; it can then run only once. Saves the memory of the largest
    /// tensor of a language model.
    pub in_place: bool,
}

impl Tensor {
    /// The cross-entropy of logits `[N, C]` and target classes `[N]` (u32), as PyTorch's: the softmax
    /// is never formed. The loss is f32, also for f16 logits: of shape `[N]` for [`Reduction::None`],
    /// else `[]`.
    ///
    /// Two differences: the mean over rows that are all ignored is 0 instead of NaN, and a target
    /// of C or more, which only the device sees, counts as the last class
    /// (a device with `DeviceOptions::check_indices` refuses it).
    ///
    /// ```
    /// # use wgrad_tensor::{DType, Device, DeviceOptions, Tensor, ops::cross_entropy::CrossEntropy};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let logits = Tensor::zeros(&device, &[2, 4], DType::F32)?;
    /// let classes = Tensor::from_slice(&device, &[3u32, 0], &[2])?;
    /// let loss = logits.cross_entropy(&classes, &CrossEntropy::default())?;
    /// assert!((loss.item()? - 4f32.ln()).abs() < 1e-6);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
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
        check_indices(op, "target", targets, classes, options.ignore_index)?;
        let logits = self.contiguous()?;
        if !logits.fits_binding() && rows > 1 {
            return in_halves(&logits, targets, options);
        }
        record_with(
            op,
            &[&logits],
            |ctx| {
                let (loss, statistics, count) = forward(&logits, targets, *options)?;
                ctx.save(&logits);
                ctx.save(targets);
                ctx.save(&statistics);
                let rule = Rule {
                    observer: logits.observe(),
                    overwritten: AtomicBool::new(false),
                    count: count.map(|count| ctx.save(&count)),
                    options: *options,
                };
                Ok((loss, rule))
            },
            |rule, ctx, dy| Ok(vec![Some(rule.backward(ctx, dy)?)]),
        )
    }
}

/// The loss of logits larger than one binding of the adapter.
fn in_halves(logits: &Tensor, targets: &Tensor, options: &CrossEntropy) -> Result<Tensor> {
    let of_rows = CrossEntropy {
        reduction: Reduction::None,
        in_place: false,
        ..*options
    };
    let losses = row_halves(logits, |part, first| {
        let targets = targets.narrow(0, first, part.shape()[0])?;
        part.cross_entropy(&targets, &of_rows)
    })?;
    match (options.reduction, options.ignore_index) {
        (Reduction::None, _) => Ok(losses),
        (Reduction::Sum, _) => losses.sum_all(),
        (Reduction::Mean, None) => losses.mean_all(),
        (Reduction::Mean, Some(ignored)) => {
            let ignored = Tensor::from_slice(targets.device(), &[ignored], &[1])?;
            let counted = targets.ne(&ignored)?.cast(DType::F32)?.sum_all()?;
            losses.sum_all()?.div(&counted.clamp(1.0, f32::MAX)?)
        }
    }
}

/// The loss, the statistics of each row, and the number of rows that count (at least 1) if only the device knows it.
fn forward(
    logits: &Tensor,
    targets: &Tensor,
    options: CrossEntropy,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let device = logits.device();
    let (rows, classes) = (logits.shape()[0], logits.shape()[1]);
    // Only then is the divisor of the mean known on the device alone.
    let counted = options.ignore_index.is_some() && options.reduction == Reduction::Mean;
    let sides: &[usize] = if counted { &[2, rows] } else { &[rows] };
    let losses = Tensor::empty(device, sides, DType::F32)?;
    let statistics = Tensor::empty(device, &[2, rows], DType::F32)?;
    let defines = RowLayout::new(None, classes, 0, &[logits])
        .defines()
        .flag_if(options.label_smoothing > 0.0, "SMOOTH")
        .flag_if(options.ignore_index.is_some(), "IGNORE")
        .flag_if(counted, "COUNT");
    let kernel = device.kernel("cross_entropy", &defines)?;
    let bound = logits.bindable()?;
    device
        .launch(&kernel)
        .u32("rows", rows)
        .u32("length", classes)
        .u32("offset", bound.offset())
        .u32("target_offset", targets.offset())
        .u32("target_stride", targets.strides()[0])
        .u32("ignored", options.ignore_index.unwrap_or(0) as usize)
        .f32("smoothing", options.label_smoothing)
        .bind(bound.buffer())
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
    Ok((loss, statistics, count))
}

/// The backward rule. Saved are logits, targets and statistics, in this order.
struct Rule {
    /// Of the logits in the graph.
    observer: Observer,
    overwritten: AtomicBool,
    /// The number of the saved count of rows.
    count: Option<usize>,
    options: CrossEntropy,
}

impl Rule {
    fn backward(&self, ctx: &Context, dy: &Tensor) -> Result<Tensor> {
        let (x, targets, statistics) = (ctx.saved(0)?, ctx.saved(1)?, ctx.saved(2)?);
        let count = self.count.map(|count| ctx.saved(count)).transpose()?;
        let device = x.device();
        let (rows, classes) = (x.shape()[0], x.shape()[1]);
        if self.overwritten.load(Ordering::Relaxed) {
            return Err(Error::op(
                "cross_entropy",
                "the first backward pass wrote over the logits, as in_place asks; a second one needs in_place: false",
            ));
        }
        let in_place = self.options.in_place && self.observer.is_last_use(1);
        self.overwritten.store(in_place, Ordering::Relaxed);
        let dx = match in_place {
            true => x.detach(),
            false => Tensor::empty(device, x.shape(), x.dtype())?,
        };
        let bound = x.bindable()?;
        let scale = match self.options.reduction {
            Reduction::Mean => 1.0 / rows as f32,
            Reduction::Sum | Reduction::None => 1.0,
        };
        let defines = RowLayout::new(None, classes, 0, &[x])
            .defines()
            .flag_if(in_place, "IN_PLACE")
            .flag_if(self.options.ignore_index.is_some(), "IGNORE")
            .flag_if(count.is_some(), "COUNT");
        let kernel = device.kernel("cross_entropy_backward", &defines)?;
        let launch = device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", classes)
            .u32("dy_offset", dy.offset())
            .u32("dy_stride", dy.strides().first().copied().unwrap_or(0))
            .u32("offset", bound.offset())
            .u32("target_offset", targets.offset())
            .u32("target_stride", targets.strides()[0])
            .u32("ignored", self.options.ignore_index.unwrap_or(0) as usize)
            .f32("smoothing", self.options.label_smoothing)
            .f32("scale", scale)
            .bind(dy.buffer())
            .bind(bound.buffer())
            .bind(targets.buffer())
            .bind(statistics.buffer())
            .bind(count.unwrap_or(statistics).buffer());
        let launch = match in_place {
            // `overwritten` reports this with its own message.
            true => launch.without_marks(),
            false => launch.bind(dx.buffer()),
        };
        launch.groups(rows as u64)?;
        Ok(dx)
    }
}
