//! Copies between layouts and types, and constant tensors.

use wgrad_runtime::{Defines, Device};

use crate::autograd::{record, refuse_grad};
use crate::cases::{Case, HostArray, Input, shapes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::elementwise::Elementwise;
use crate::ops::pieces::pieces;
use crate::tensor::Tensor;

impl Tensor {
    /// Itself if its elements lie row-major without gaps, else a copy that does.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() {
            return Ok(self.clone());
        }
        record(
            "contiguous",
            &[self],
            |_| self.copied(self.dtype()),
            |_, dy| Ok(vec![Some(dy.clone())]),
        )
    }

    /// Writes the values of `self` into the memory that `target` views, converting the type. No
    /// gradient is recorded: both must be outside the graph.
    pub fn copy_into(&self, target: &Tensor) -> Result<()> {
        refuse_grad("copy_into", &[self, target])?;
        if self.shape() != target.shape() {
            return Err(Error::op(
                "copy_into",
                format!("{:?} does not fit {:?}", self.shape(), target.shape()),
            ));
        }
        target.mark_written();
        let (from, to) = (self.dtype(), target.dtype());
        let bytes = self.numel() * from.size();
        let (from_byte, to_byte) = (self.offset() * from.size(), target.offset() * to.size());
        let device = self.device();
        if from == to
            && self.is_contiguous()
            && target.is_contiguous()
            && [bytes, from_byte, to_byte]
                .iter()
                .all(|n| n.is_multiple_of(4))
            && !self.shares_memory(target)
        {
            device.copy(
                self.buffer(),
                from_byte as u64,
                target.buffer(),
                to_byte as u64,
                bytes as u64,
            )?;
            return Ok(());
        }
        if self.shares_memory(target) {
            let y = Tensor::empty(device, self.shape(), from)?;
            self.copy_into(&y)?;
            return y.copy_into(target);
        }
        Elementwise {
            op: "copy",
            kernel: "copy",
            variant: None,
            inputs: &[("x", self)],
            output: ("y", target),
            defines: Defines::new(),
            floats: &[],
        }
        .run()
    }

    /// The values as another type. Floats to integers truncate and have no gradient.
    ///
    /// ```
    /// # use wgrad_tensor::{DType, Device, DeviceOptions, Tensor};
    /// # let device = Device::open(DeviceOptions::default())?;
    /// let x = Tensor::from_slice(&device, &[1.5f32, -2.0], &[2])?;
    /// let y = x.cast(DType::I32)?;
    /// assert_eq!(y.to_vec::<i32>()?, [1, -2]);
    /// # Ok::<(), wgrad_tensor::Error>(())
    /// ```
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        if !dtype.is_float() {
            // Integers have no gradient by nature.
            return self.detach().copied(dtype);
        }
        let from = self.dtype();
        record(
            "cast",
            &[self],
            |_| self.copied(dtype),
            move |_, dy| Ok(vec![Some(dy.cast(from)?)]),
        )
    }

    /// A contiguous copy as `dtype`.
    fn copied(&self, dtype: DType) -> Result<Tensor> {
        let y = Tensor::empty(self.device(), self.shape(), dtype)?;
        self.copy_into(&y)?;
        Ok(y)
    }

    /// `value` everywhere.
    pub fn full(device: &Device, shape: &[usize], value: f32, dtype: DType) -> Result<Tensor> {
        let y = Tensor::empty(device, shape, dtype)?;
        let kernel = device.kernel("fill", &Defines::new().alias("T", dtype.wgsl()))?;
        pieces(&[y.detach()], &mut |parts| {
            for y in parts {
                let binding = y.binding();
                device
                    .launch(&kernel)
                    .u32("n", y.numel())
                    .u32("y_offset", binding.lead)
                    .f32("value", value)
                    .window(y.buffer(), binding.offset, binding.bytes)
                    .invocations(y.numel() as u64)?;
            }
            Ok(())
        })?;
        Ok(y)
    }

    /// Ones.
    pub fn ones(device: &Device, shape: &[usize], dtype: DType) -> Result<Tensor> {
        Tensor::full(device, shape, 1.0, dtype)
    }
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    let types = [DType::F32, DType::F16, DType::U32, DType::I32];
    for from in types {
        for to in types.into_iter().filter(|to| *to != from) {
            let torch = match to {
                DType::F32 | DType::F16 => "x0.double()",
                DType::U32 | DType::I32 => "x0.trunc()",
            };
            for (shape, layout) in shapes::pointwise() {
                let input = Input::new(&shape, from).layout(layout);
                let input = match (from.is_float(), to.is_float()) {
                    (true, true) => input.range(-2.0, 2.0),
                    (true, false) => input.range(0.0, 90.0).frozen(),
                    _ => input.index(90),
                };
                let case = Case::new(
                    "cast",
                    torch,
                    vec![input],
                    move |x| x[0].cast(to),
                    move |x: &[HostArray]| x[0].map(|v| if to.is_float() { v } else { v.trunc() }),
                );
                // The reference does not round: f16 keeps 11 bits of a value below 2.
                let tolerance = if to == DType::F16 {
                    1e-3
                } else {
                    case.tolerance
                };
                out.push(case.tolerance(tolerance).note(format!("to {to}")));
            }
        }
    }
    for dtype in [DType::F32, DType::F16] {
        for (shape, layout) in shapes::pointwise() {
            out.push(Case::new(
                "contiguous",
                "x0.contiguous()",
                vec![Input::new(&shape, dtype).layout(layout)],
                |x| x[0].contiguous(),
                |x: &[HostArray]| x[0].clone(),
            ));
        }
    }
}
