//! Rotary positions (RoFormer, arXiv:2104.09864), and their tables of cosines and sines.

mod cases;

use wgrad_runtime::{Defines, Device};

pub use cases::cases;

use crate::autograd::{record_with, refuse_grad};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::rows::rows_in_texels;
use crate::tensor::Tensor;

const OP: &str = "rope";

/// How [`Tensor::rope`] pairs channels, and which position a row has; the default is channels in halves from
/// position 0 on, of a tensor (B, H, T, D).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rope<'a> {
    /// Channel 2 c is turned with channel 2 c + 1 (GPT-J, Llama's own files). Otherwise channel c is turned with
    /// channel c + R / 2 (GPT-NeoX, Llama in transformers).
    pub interleaved: bool,
    /// The tensor is (B, T, H, D), not (B, H, T, D).
    pub heads_behind: bool,
    /// The position of the first row; with `positions` it is added to each of them.
    pub offset: usize,
    /// The positions, u32 (T) or (B, T), where they are not 0, 1, 2, ... A position beyond the table cannot be seen from
    /// the host; it takes the table's last row.
    pub positions: Option<&'a Tensor>,
}

/// The angle of each pair of channels at position 1: theta^(-2 c / dims) for c below dims / 2. Long-context variants
/// change these numbers before they call [`rope_table`].
pub fn rope_frequencies(dims: usize, theta: f64) -> Vec<f64> {
    (0..dims / 2)
        .map(|c| theta.powf(-2.0 * c as f64 / dims.max(1) as f64))
        .collect()
}

/// The table for [`Tensor::rope`]: for each of `positions` the cosines, then the sines, of the position times each of
/// `frequencies`. Computed in f64 on the host; f32 (positions, 2 * frequencies).
///
/// ```no_run
/// # use wgrad_tensor::{DType, Device, DeviceOptions, Rope, Tensor, rope_frequencies, rope_table};
/// # fn main() -> wgrad_tensor::Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let table = rope_table(&device, 2048, &rope_frequencies(64, 10_000.0))?;
/// let q = Tensor::ones(&device, &[1, 9, 16, 64], DType::F32)?; // (B, H, T, D)
/// let q = q.rope(&table, &Rope { offset: 100, ..Rope::default() })?; // positions 100 to 115
/// # Ok(()) }
/// ```
pub fn rope_table(device: &Device, positions: usize, frequencies: &[f64]) -> Result<Tensor> {
    let row = |t: usize| {
        let angles = frequencies.iter().map(move |f| t as f64 * f);
        let cosines = angles.clone().map(|a| a.cos() as f32);
        cosines.chain(angles.map(|a| a.sin() as f32))
    };
    let values: Vec<f32> = (0..positions).flat_map(row).collect();
    Tensor::from_slice(device, &values, &[positions, 2 * frequencies.len()])
}

impl Tensor {
    /// Turns pairs of channels by angles that grow with the position. `self` is a float tensor (B, H, T, D) in any layout,
    /// or (B, T, H, D) with `heads_behind`; the result has its shape and, if its rows lie together, its order in memory.
    /// `table` comes from [`rope_table`]; it covers R channels, and those behind stay as they are.
    ///
    /// One launch, and one in the backward pass. Queries and keys side by side in one tensor take one launch together.
    ///
    /// Errors name what does not fit: ranks, types, an R that is larger than D, positions beyond the table.
    pub fn rope(&self, table: &Tensor, options: &Rope) -> Result<Tensor> {
        let plan = Plan::new(self, table, options)?;
        record_with(
            OP,
            &[self],
            |ctx| {
                ctx.save(&plan.table);
                if let Some(positions) = &plan.positions {
                    ctx.save(positions);
                }
                Ok((plan.run(self, 1.0)?, plan))
            },
            |plan, _, dy| Ok(vec![Some(plan.run(dy, -1.0)?)]),
        )
    }
}

/// What forward and backward share.
struct Plan {
    interleaved: bool,
    heads_behind: bool,
    offset: usize,
    positions: Option<Tensor>,
    table: Tensor,
}

impl Plan {
    fn new(x: &Tensor, table: &Tensor, options: &Rope) -> Result<Plan> {
        let refuse = |message: String| Err(Error::op(OP, message));
        let heads_behind = options.heads_behind;
        let (batch, length, channels) = match *x.shape() {
            [b, t, _, d] if heads_behind => (b, t, d),
            [b, _, t, d] if !heads_behind => (b, t, d),
            _ => {
                return refuse(format!(
                    "a tensor of shape (B, H, T, D), or (B, T, H, D) with heads_behind, is needed, {x:?} was given"
                ));
            }
        };
        if !x.dtype().is_float() {
            return refuse(format!(
                "a float tensor is needed, {x:?} was given; cast it first"
            ));
        }
        refuse_grad(OP, &[table])?;
        let (rows, turned) = match *table.shape() {
            [rows, turned] if turned % 2 == 0 && table.dtype() == DType::F32 => (rows, turned),
            _ => {
                return refuse(format!(
                    "the table is f32 (positions, R) with an even R, as rope_table makes it, {table:?} was given"
                ));
            }
        };
        if turned > channels {
            return refuse(format!(
                "the table turns {turned} channels, but {x:?} has {channels}"
            ));
        }
        if let Some(positions) = options.positions {
            let fits = positions.shape() == [length] || positions.shape() == [batch, length];
            if !fits || positions.dtype() != DType::U32 {
                return refuse(format!(
                    "the positions are u32 [{length}] or [{batch}, {length}], {positions:?} was given"
                ));
            }
            if rows == 0 && x.numel() > 0 {
                return refuse("the table has no positions".into());
            }
        } else if options.offset + length > rows {
            return refuse(format!(
                "positions {} to {} are beyond a table of {rows}; make a longer table",
                options.offset,
                options.offset + length
            ));
        }
        Ok(Plan {
            interleaved: options.interleaved,
            heads_behind,
            offset: options.offset,
            positions: options.positions.map(Tensor::detach),
            table: table.detach().contiguous()?,
        })
    }

    /// `sign` 1 turns, -1 turns back.
    fn run(&self, x: &Tensor, sign: f32) -> Result<Tensor> {
        let device = x.device();
        let x = &match x.strides()[3] {
            1 => x.detach(),
            _ => x.detach().contiguous()?,
        };
        let y = like(x)?;
        let [b, h, t, d] = match *x.shape() {
            [b, t, h, d] if self.heads_behind => [b, h, t, d],
            [b, h, t, d] => [b, h, t, d],
            _ => [0; 4],
        };
        if x.numel() == 0 {
            return Ok(y);
        }
        let turned = self.table.shape()[1];
        let (x_steps, y_steps) = (self.steps(x), self.steps(&y));
        let table = &self.table;
        let whole = |steps: &[u32; 4]| steps.iter().all(|s| s.is_multiple_of(4));
        let vectors = turned.is_multiple_of(8)
            && d.is_multiple_of(4)
            && whole(&x_steps)
            && whole(&y_steps)
            && table.offset().is_multiple_of(4);
        let texels =
            vectors && turned > 0 && rows_in_texels(x) && device.fits_texture(table.buffer());
        // A texture takes a copy of what is bound: the rows that are needed, if they are known, from a place where a
        // binding may begin.
        let row = |t: usize| 4 * (table.offset() + t * turned) as u64;
        let (window, table_offset, first, rows) = match texels && self.positions.is_none() {
            true => {
                let start = row(self.offset) & !255;
                let lead = (row(self.offset) - start) as usize / 4;
                (start..row(self.offset + t), lead, 0, t)
            }
            false => {
                let all = 0..table.buffer().size();
                (all, table.offset(), self.offset, table.shape()[0])
            }
        };
        let lanes = if vectors { 4 } else { 1 };
        let name = x.dtype().wgsl();
        let (memory, value) = match vectors {
            true => (format!("vec4<{name}>"), "vec4<f32>"),
            false => (name.to_owned(), "f32"),
        };
        let defines = Defines::new()
            .constant("LANES", lanes)
            .alias("S", &memory)
            .alias("E", value)
            .flag_if(texels, "TEXELS")
            .flag_if(self.interleaved, "INTERLEAVED")
            .flag_if(self.interleaved && vectors, "CROSSED")
            .flag_if(self.positions.is_some(), "POSITIONS");
        let kernel = device.kernel(OP, &defines)?;
        let lanes = lanes as usize;
        let units = d.div_ceil(2 * lanes);
        let mut positions = [0; 4];
        if let Some(ids) = &self.positions {
            let strides = ids.strides();
            let batch = if ids.rank() == 2 { strides[0] } else { 0 };
            positions = [batch as u32, strides[ids.rank() - 1] as u32, 0, 0];
        }
        let offset = self.positions.as_ref().map_or(0, Tensor::offset);
        let launch = device
            .launch(&kernel)
            .u32("n", b * h * t * units)
            .u32("units", units)
            .u32("heads", h)
            .u32("length", t)
            .u32("turned", turned / (2 * lanes))
            .u32("width", d / lanes)
            .u32("rows", rows)
            .u32("first", first)
            .f32("sign", sign)
            .u32("table_offset", table_offset)
            .u32("positions_offset", offset)
            .u32s("x", &x_steps)
            .u32s("y", &y_steps)
            .u32s("positions", &positions)
            .bind(x.buffer())
            .window(table.buffer(), window.start, window.end - window.start)
            .bind(y.buffer());
        let launch = match &self.positions {
            Some(ids) => launch.bind(ids.buffer()),
            None => launch,
        };
        launch.invocations((b * h * t * units) as u64)?;
        Ok(y)
    }

    /// Offset; steps of batch, head and position.
    fn steps(&self, x: &Tensor) -> [u32; 4] {
        let strides = x.strides();
        let (head, position) = match self.heads_behind {
            true => (strides[2], strides[1]),
            false => (strides[1], strides[2]),
        };
        [x.offset(), strides[0], head, position].map(|s| s as u32)
    }
}

/// Memory for a result of the shape of `x` with its dimensions in the order in which they lie in `x`.
fn like(x: &Tensor) -> Result<Tensor> {
    let mut order = [0, 1, 2];
    order.sort_by_key(|d| std::cmp::Reverse(x.strides()[*d]));
    let mut sides: Vec<usize> = order.iter().map(|d| x.shape()[*d]).collect();
    sides.push(x.shape()[3]);
    let mut back = [0isize, 0, 0, 3];
    for (at, d) in order.iter().enumerate() {
        back[*d] = at as isize;
    }
    Tensor::empty(x.device(), &sides, x.dtype())?.permute(&back)
}
