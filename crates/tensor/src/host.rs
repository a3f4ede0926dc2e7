//! Tensors from values on the host, and back.

use half::f16;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::numel;
use crate::tensor::Tensor;
use wgrad_runtime::Device;

/// Host types that tensors are made from.
pub trait Element: bytemuck::Pod {
    /// The tensor type of these values.
    const DTYPE: DType;
}
impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

/// The whole words of a buffer that a contiguous tensor lies in.
struct Words {
    /// The byte of the buffer where they begin.
    from: u64,
    /// Bytes of the first word that lie before the tensor.
    lead: usize,
    /// Bytes of all of them.
    bytes: usize,
}

impl Words {
    fn of(tensor: &Tensor) -> Self {
        let size = tensor.dtype().size();
        let start = tensor.offset() * size;
        let lead = start & 3;
        Self {
            from: (start - lead) as u64,
            lead,
            bytes: (lead + tensor.numel() * size).next_multiple_of(4),
        }
    }

    /// `n` values out of the bytes of the words.
    fn values<T: Element>(&self, bytes: &[u8], n: usize) -> Vec<T> {
        bytemuck::pod_collect_to_vec(&bytes[self.lead..self.lead + n * size_of::<T>()])
    }
}

fn check_type<T: Element>(tensor: &Tensor) -> Result<()> {
    if T::DTYPE == tensor.dtype() {
        return Ok(());
    }
    Err(Error::op(
        "to_vec",
        format!(
            "the tensor holds {}, {} was asked for",
            tensor.dtype(),
            T::DTYPE
        ),
    ))
}

impl Tensor {
    /// Uploads `values`, row-major, as a tensor of `shape`.
    pub fn from_slice<T: Element>(
        device: &Device,
        values: &[T],
        shape: &[usize],
    ) -> Result<Tensor> {
        if values.len() != numel(shape) {
            return Err(Error::op(
                "from_slice",
                format!("{} values were given for shape {shape:?}", values.len()),
            ));
        }
        let out = Tensor::empty(device, shape, T::DTYPE)?;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.len().is_multiple_of(4) {
            device.upload(out.buffer(), 0, bytes)?;
        } else {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len().next_multiple_of(4), 0);
            device.upload(out.buffer(), 0, &padded)?;
        }
        Ok(out)
    }

    /// One f32 value of shape `[]`.
    pub fn scalar(device: &Device, value: f32) -> Result<Tensor> {
        Tensor::from_slice(device, &[value], &[])
    }

    /// Reads the values, row-major. Submits and waits.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        check_type::<T>(self)?;
        if self.numel() == 0 {
            return Ok(Vec::new());
        }
        let packed = crate::no_grad(|| self.contiguous())?;
        let words = Words::of(&packed);
        if words.lead == 0 && words.bytes == packed.numel() * size_of::<T>() {
            // Straight to where the values belong: a large tensor is held once.
            let mut values = vec![T::zeroed(); packed.numel()];
            let bytes = bytemuck::cast_slice_mut(&mut values);
            self.device()
                .read_into(packed.buffer(), words.from, bytes)?;
            return Ok(values);
        }
        let mut bytes = vec![0; words.bytes];
        self.device()
            .read_into(packed.buffer(), words.from, &mut bytes)?;
        Ok(words.values(&bytes, packed.numel()))
    }

    /// [`Tensor::to_vec`] for callers that must not block their thread: it gives other tasks the thread while the device
    /// works.
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        check_type::<T>(self)?;
        if self.numel() == 0 {
            return Ok(Vec::new());
        }
        let packed = crate::no_grad(|| self.contiguous())?;
        let words = Words::of(&packed);
        let mut bytes = vec![0; words.bytes];
        let device = self.device();
        let read = device.read_async(packed.buffer(), words.from, &mut bytes);
        read.await?;
        Ok(words.values(&bytes, packed.numel()))
    }

    /// The one value of a one-element f32 tensor. Submits and waits.
    pub fn item(&self) -> Result<f32> {
        if self.numel() != 1 {
            return Err(Error::op(
                "item",
                format!(
                    "shape {:?} has {} elements, not one",
                    self.shape(),
                    self.numel()
                ),
            ));
        }
        Ok(self.to_vec::<f32>()?[0])
    }

    /// Replaces the values in place, on all tensors that share the memory. `self` must be contiguous. A graph that
    /// used the old values refuses to go backward.
    pub fn copy_from_slice<T: Element>(&self, values: &[T]) -> Result<()> {
        if T::DTYPE != self.dtype() || values.len() != self.numel() || !self.is_contiguous() {
            return Err(Error::op(
                "copy_from_slice",
                format!(
                    "{} values of {} do not fit a tensor of {} {:?}",
                    values.len(),
                    T::DTYPE,
                    self.dtype(),
                    self.shape()
                ),
            ));
        }
        self.mark_written();
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let offset = self.offset() * self.dtype().size();
        if bytes.len().is_multiple_of(4) && offset.is_multiple_of(4) {
            return Ok(self.device().upload(self.buffer(), offset as u64, bytes)?);
        }
        // Uploads are whole words, and this begins or ends within one.
        let values = Tensor::from_slice(self.device(), values, self.shape())?;
        values.copy_into(&self.detach())
    }
}
