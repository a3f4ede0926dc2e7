//! The gradients of the norms.

use wgrad_runtime::{Defines, Launch};

use crate::dtype::DType;
use crate::error::Result;
use crate::ops::dropout::Drop;
use crate::ops::rows::{RowLayout, RowVariant, numbered, row_texels, tuned};
use crate::tensor::Tensor;

/// The most values of a row that a lane caches, of two tensors each.
const CACHED: usize = 16;
/// Rows that one invocation sums at most for the gradients of weight and bias.
const SERIAL: usize = 1024;
/// Shares of the rows on the software adapter, each with sums of its own for weight and bias.
const GROUPS: usize = 32;

/// The tensors that the forward pass saved.
pub(super) struct Kept {
    pub rms: bool,
    /// The normalised tensor.
    pub total: Tensor,
    pub weight: Option<Tensor>,
    /// The type of weight and bias.
    pub parameters: DType,
    pub with_residual: bool,
    pub has_bias: bool,
    pub dropout: Option<Drop>,
    pub statistics: Tensor,
    pub variant: Option<RowVariant>,
}

/// The gradients of the total, and of the tensor before dropout.
type Inputs = (Option<Tensor>, Option<Tensor>);

impl Kept {
    /// The inputs of the kernels.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let state = self.dropout.as_ref().map(|dropout| &dropout.state);
        let own = [&self.total, &self.statistics];
        own.into_iter().chain(&self.weight).chain(state)
    }

    /// The gradients of the input, the residual, the weight and the bias; `None` for absent ones.
    pub fn backward(&self, dy: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let dy = dy.contiguous()?;
        let first = 1 + usize::from(self.with_residual);
        let input = needs[..first].contains(&true);
        let sums = needs[first..].contains(&true);
        let length = self.sides().1;
        let mut read = vec![&dy, &self.total];
        read.extend(&self.weight);
        let ((dtotal, dx), sums) = match row_texels(self.variant, length, &read) {
            Some(count) => self.together(&dy, count, input, sums)?,
            None => {
                let inputs = match input {
                    true => self.input(&dy, &read)?,
                    false => (None, None),
                };
                (inputs, sums.then(|| self.sums(&dy)).transpose()?)
            }
        };
        let sums = sums
            .map(|sums| sums.sum(&[0], false)?.cast(self.parameters))
            .transpose()?;
        let part = |row: usize| {
            sums.as_ref()
                .map(|sums| sums.narrow(0, row, 1)?.reshape(&[length]))
                .transpose()
        };
        let mut parts = vec![dx.or(dtotal.clone())];
        if self.with_residual {
            parts.push(dtotal);
        }
        if self.weight.is_some() {
            parts.push(part(0)?);
        }
        if self.has_bias {
            parts.push(part(1)?);
        }
        for (part, need) in parts.iter_mut().zip(needs) {
            part.take_if(|_| !need);
        }
        Ok(parts)
    }

    fn sides(&self) -> (usize, usize) {
        let length = self.total.shape().last().copied().unwrap_or(1);
        (self.total.numel() / length, length)
    }

    /// All gradients in one kernel; the sums for weight and bias as partial sums (G, 2, C).
    fn together(
        &self,
        dy: &Tensor,
        count: u32,
        input: bool,
        sums: bool,
    ) -> Result<(Inputs, Option<Tensor>)> {
        let device = dy.device();
        let (rows, length) = self.sides();
        let groups = rows.min(GROUPS);
        let weight = self.weight.as_ref();
        let dropout = self.dropout.as_ref().filter(|_| input);
        let like = || Tensor::empty(device, dy.shape(), DType::F32);
        let dtotal = input.then(like).transpose()?;
        let dx = dropout.map(|_| like()).transpose()?;
        let partials = sums
            .then(|| Tensor::empty(device, &[groups, 2, length], DType::F32))
            .transpose()?;
        let defines = Defines::new()
            .constant("COUNT", count)
            .flag_if(self.rms, "RMS")
            .flag_if(weight.is_some(), "WEIGHT")
            .flag_if(input, "INPUT")
            .flag_if(sums, "PARTIALS")
            .flag_if(dropout.is_some(), "DROPOUT");
        let mut bound = vec![("AT_DY", dy), ("AT_TOTAL", &self.total)];
        bound.extend(weight.map(|w| ("AT_WEIGHT", w)));
        bound.push(("AT_STATISTICS", &self.statistics));
        bound.extend(dtotal.as_ref().map(|t| ("AT_DTOTAL", t)));
        bound.extend(partials.as_ref().map(|t| ("AT_PARTIALS", t)));
        bound.extend(dropout.map(|d| ("AT_STATE", &d.state)));
        bound.extend(dx.as_ref().map(|t| ("AT_DX", t)));
        self.launch("layer_norm_backward_subgroup", defines, dy, dropout, &bound)?
            .grid([groups as u64, 1, 1])?;
        Ok(((dtotal, dx), partials))
    }

    /// The defines and parameters that both kernels for the input's gradient share. `bound` are its tensors in their order.
    fn launch<'a>(
        &self,
        kernel: &str,
        defines: Defines,
        dy: &'a Tensor,
        dropout: Option<&Drop>,
        bound: &[(&str, &'a Tensor)],
    ) -> Result<Launch<'a>> {
        let device = dy.device();
        let (rows, length) = self.sides();
        let kernel = device.kernel(kernel, &numbered(defines, bound))?;
        let launch = device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("dy_offset", dy.binding().lead)
            .u32("offset", self.total.binding().lead)
            .u32(
                "weight_offset",
                self.weight.as_ref().map_or(0, Tensor::offset),
            );
        let launch = Drop::params(dropout, launch);
        Ok(bound.iter().fold(launch, |launch, (_, tensor)| {
            let binding = tensor.binding();
            launch.window(tensor.buffer(), binding.offset, binding.bytes)
        }))
    }

    /// `read` are the tensors that are read row by row.
    fn input(&self, dy: &Tensor, read: &[&Tensor]) -> Result<Inputs> {
        let device = dy.device();
        let (rows, length) = self.sides();
        let dtotal = Tensor::empty(device, dy.shape(), dy.dtype())?;
        let dx = match &self.dropout {
            Some(_) => Some(Tensor::empty(device, dy.shape(), dy.dtype())?),
            None => None,
        };
        let weight = self.weight.as_ref();
        let tuned = tuned("layer_norm_backward", dy, length);
        let defines = RowLayout::new(self.variant, length, CACHED, read)
            .tuned(device, length, tuned.as_ref())
            .defines_with(Some(self.parameters))
            .flag("TWO")
            .flag_if(self.rms, "RMS")
            .flag_if(weight.is_some(), "WEIGHT")
            .flag_if(dx.is_some(), "DROPOUT");
        let mut bound = vec![("AT_DY", dy), ("AT_X", &self.total)];
        bound.extend(weight.map(|w| ("AT_WEIGHT", w)));
        bound.extend([("AT_STATISTICS", &self.statistics), ("AT_DX", &dtotal)]);
        bound.extend(self.dropout.as_ref().map(|d| ("AT_STATE", &d.state)));
        bound.extend(dx.as_ref().map(|t| ("AT_DROPPED", t)));
        let dropout = self.dropout.as_ref();
        self.launch("layer_norm_backward", defines, dy, dropout, &bound)?
            .u32("weight_stride", weight.map_or(0, |w| w.strides()[0]))
            .groups(rows as u64)?;
        Ok((Some(dtotal), dx))
    }

    /// Partial sums (G, 2, C) for weight and bias.
    fn sums(&self, dy: &Tensor) -> Result<Tensor> {
        let device = dy.device();
        let (rows, length) = self.sides();
        // A subgroup of 8 is Mesa's software adapter, which has few lanes to fill.
        let most_chunks = match device.subgroup_size() {
            Some(8) => 1024,
            _ => 65_536,
        };
        let lanes = length.div_ceil(4);
        let chunks = (most_chunks / lanes)
            .min(rows / 16)
            .max(rows.div_ceil(SERIAL))
            .max(1);
        let partials = Tensor::empty(device, &[chunks, 2, length], DType::F32)?;
        let defines = Defines::new().alias("S", dy.dtype().wgsl());
        let kernel = device.kernel("layer_norm_backward_weight", &defines)?;
        let (from_dy, from_total) = (dy.binding(), self.total.binding());
        device
            .launch(&kernel)
            .u32("rows", rows)
            .u32("length", length)
            .u32("chunks", chunks)
            .u32("dy_offset", from_dy.lead)
            .u32("offset", from_total.lead)
            .window(dy.buffer(), from_dy.offset, from_dy.bytes)
            .window(self.total.buffer(), from_total.offset, from_total.bytes)
            .bind(self.statistics.buffer())
            .bind(partials.buffer())
            .invocations((lanes * chunks) as u64)?;
        Ok(partials)
    }
}
