//! Updates of many parameters in a few launches: parameters, gradients and state lie side by side.

use std::sync::Arc;

use wgrad_runtime::{Buffer, Defines, Device, Kernel, Launch};

use super::{AdamConstants, PIECE, SCALARS, Scaling};
use crate::autograd::{no_grad, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Elements of a block. A block belongs to one parameter, or to none.
const BLOCK: usize = 64;
const BLOCK_BYTES: u64 = 4 * BLOCK as u64;
/// Blocks of one workgroup.
const GROUP: usize = 64;
/// Blocks of one launch at most where it reads textures: 16 MiB of each tensor, which bounds what its copies take.
const LAUNCH: usize = 1 << 16;
/// The most bytes packed into one buffer. Drivers allocate a few large buffers well, but huge ones badly.
const GATHERED: u64 = 1 << 30;
/// The table's mark of a block that no update touches.
const SKIPPED: u32 = u32::MAX;

/// Parameters that lie side by side on the device, with room for their gradients and their state, so that
/// one launch updates all of them.
pub struct Flat {
    device: Device,
    /// The buffer that holds the parameters, from byte `first` on.
    parameters: Buffer,
    first: u64,
    gradients: Tensor,
    state: Vec<Tensor>,
    /// The row of scalars of every block.
    table: Tensor,
    rows: Vec<u32>,
    members: Vec<Member>,
}

/// One parameter: its position, in elements from the beginning.
struct Member {
    parameter: Tensor,
    start: usize,
}

impl Flat {
    /// Moves `parameters` side by side, in as few buffers as the device allows, and takes `states` tensors
    /// of zeros for each. Returns every part with the numbers of its parameters.
    ///
    /// Errors: a parameter that is not f32 and contiguous; out of memory.
    pub fn pack(parameters: &[&Tensor], states: usize) -> Result<Vec<(Flat, Vec<usize>)>> {
        same_device("optimizer", parameters)?;
        let mut parts: Vec<(Vec<usize>, Vec<Buffer>, u64)> = Vec::new();
        for (i, parameter) in parameters.iter().enumerate() {
            check_parameter(parameter)?;
            let (outer, _) = parameter.buffer().outermost();
            let limit = parameter.device().max_buffer_bytes().min(GATHERED);
            let known = parts
                .iter()
                .position(|(_, buffers, _)| buffers.iter().any(|b| b.same(&outer)));
            let size = outer.size() + BLOCK_BYTES;
            let open = parts.iter().position(|(.., sum)| sum + size <= limit);
            match (known, open) {
                (Some(at), _) => parts[at].0.push(i),
                (None, Some(at)) => {
                    parts[at].0.push(i);
                    parts[at].1.push(outer);
                    parts[at].2 += size;
                }
                (None, None) => parts.push((vec![i], vec![outer], size)),
            }
        }
        parts
            .into_iter()
            .map(|(numbers, ..)| {
                let members: Vec<&Tensor> = numbers.iter().map(|i| parameters[*i]).collect();
                Ok((Flat::new(&members, states)?, numbers))
            })
            .collect()
    }

    fn new(parameters: &[&Tensor], states: usize) -> Result<Flat> {
        let device = parameters[0].device().clone();
        let buffers: Vec<&Buffer> = parameters.iter().map(|p| p.buffer()).collect();
        let outer = device.pack(&buffers)?;
        let place = |p: &Tensor| p.buffer().outermost().1 + 4 * p.offset() as u64;
        let first =
            parameters.iter().map(|p| place(p)).min().unwrap_or(0) / BLOCK_BYTES * BLOCK_BYTES;
        let members: Vec<Member> = parameters
            .iter()
            .map(|p| Member {
                parameter: (*p).clone(),
                start: ((place(p) - first) / 4) as usize,
            })
            .collect();
        let end = members.iter().map(|m| m.start + m.parameter.numel()).max();
        let n = end.unwrap_or(0).max(1).next_multiple_of(BLOCK);
        let zeros = || Tensor::zeros(&device, &[n], DType::F32);
        let rows = vec![SKIPPED; n / BLOCK];
        Ok(Flat {
            parameters: outer,
            first,
            gradients: zeros()?,
            state: (0..states).map(|_| zeros()).collect::<Result<_>>()?,
            table: Tensor::from_slice(&device, &rows, &[rows.len()])?,
            rows,
            members,
            device,
        })
    }

    /// State tensor `i` of member `member`, in the parameter's shape: a view.
    pub fn state(&self, i: usize, member: usize) -> Result<Tensor> {
        let Member { parameter, start } = &self.members[member];
        no_grad(|| {
            self.state[i]
                .narrow(0, *start, parameter.numel())?
                .reshape(parameter.shape())
        })
    }

    /// Takes the gradients of the next update: for every member its gradient and the row of scalars to
    /// use, or `None` to leave it as it is.
    ///
    /// Errors: a gradient that is not f32 and of its parameter's shape.
    pub fn load(&mut self, gradients: &[Option<(&Tensor, usize)>]) -> Result<()> {
        let mut rows = vec![SKIPPED; self.rows.len()];
        for (member, gradient) in self.members.iter().zip(gradients) {
            let Some((gradient, row)) = gradient else {
                continue;
            };
            same_device("optimizer", &[&member.parameter, gradient])?;
            if gradient.dtype() != DType::F32 || gradient.shape() != member.parameter.shape() {
                return Err(Error::op(
                    "optimizer",
                    format!(
                        "the gradient {gradient:?} does not fit the parameter {:?}",
                        member.parameter
                    ),
                ));
            }
            let blocks = member.start / BLOCK..(member.start + gradient.numel()).div_ceil(BLOCK);
            rows[blocks].fill(*row as u32);
        }
        if rows != self.rows {
            // Gradients loaded for other members in an earlier step must not count in the norm any more.
            self.device.zero(self.gradients.buffer())?;
            self.table.copy_from_slice(&rows)?;
            self.rows = rows;
        }
        for (member, gradient) in self.members.iter().zip(gradients) {
            let Some((gradient, _)) = gradient else {
                continue;
            };
            if gradient.numel() == 0 {
                continue;
            }
            let packed = no_grad(|| gradient.contiguous())?;
            self.device.copy(
                packed.buffer(),
                4 * packed.offset() as u64,
                self.gradients.buffer(),
                4 * member.start as u64,
                4 * packed.numel() as u64,
            )?;
        }
        Ok(())
    }

    /// One step of AdamW, or with a fourth scalar of Adam, on the members loaded last. `scalars` f32
    /// `[P, 4]` holds rows of [`super::adamw_scalars`]; `clip` is what [`norm`] returned. The state
    /// tensors are `exp_avg` and `exp_avg_sq`.
    pub fn adamw(&self, scalars: &Tensor, clip: &Tensor, constants: AdamConstants) -> Result<()> {
        let [m, v] = self.state.as_slice() else {
            return Err(Error::op("adamw", "two state tensors are needed"));
        };
        let textures = self.in_textures();
        let kernel = self.device.kernel("adamw_flat", &variant(textures))?;
        let (beta1, beta2) = constants.betas;
        self.launches(&kernel, scalars, clip, |launch, at, blocks| {
            let launch = launch
                .f32("one_minus_beta1", (1.0 - beta1) as f32)
                .f32("beta2", beta2 as f32)
                .f32("one_minus_beta2", (1.0 - beta2) as f32)
                .f32("eps", constants.eps as f32);
            let launch = self.parameters_of(launch, at, blocks);
            let launch = part(launch, m, at, blocks);
            let launch = part(launch, v, at, blocks);
            let launch = part(launch, &self.gradients, at, blocks);
            if !textures {
                return launch.groups(blocks.div_ceil(GROUP) as u64);
            }
            let launch = self.parameters_of(launch, at, blocks);
            let launch = part(launch, m, at, blocks);
            part(launch, v, at, blocks).groups(blocks.div_ceil(GROUP) as u64)
        })
    }

    /// One step of SGD on the members loaded last. `scalars` f32 `[P, 4]` holds rows of
    /// [`super::sgd_scalars`]; a state tensor is the momentum buffer.
    pub fn sgd(
        &self,
        scalars: &Tensor,
        clip: &Tensor,
        momentum: f64,
        nesterov: bool,
    ) -> Result<()> {
        let textures = self.in_textures();
        let buffer = self.state.first();
        let defines = variant(textures)
            .flag_if(buffer.is_some(), "MOMENTUM")
            .flag_if(nesterov, "NESTEROV");
        let kernel = self.device.kernel("sgd_flat", &defines)?;
        self.launches(&kernel, scalars, clip, |launch, at, blocks| {
            let launch = launch.f32("momentum", momentum as f32);
            let mut launch = self.parameters_of(launch, at, blocks);
            if let Some(buffer) = buffer {
                launch = part(launch, buffer, at, blocks);
            }
            launch = part(launch, &self.gradients, at, blocks);
            if textures {
                launch = self.parameters_of(launch, at, blocks);
                if let Some(buffer) = buffer {
                    launch = part(launch, buffer, at, blocks);
                }
            }
            launch.groups(blocks.div_ceil(GROUP) as u64)
        })
    }

    /// Whether textures are used: on the software adapter, but not with WebGPU's default limits, so that checks with those
    /// limits run the kernels of GPUs.
    fn in_textures(&self) -> bool {
        self.device.adapter().is_software() && self.device.subgroup_size().is_some()
    }

    /// Blocks of one launch at most: as many as a binding reaches, and whole pieces of the norm.
    fn launch_blocks(&self) -> usize {
        let most = match self.in_textures() {
            true => LAUNCH,
            false => (self.device.max_binding_bytes() / BLOCK_BYTES) as usize,
        };
        let piece = PIECE / BLOCK;
        (most / piece * piece).max(piece)
    }

    /// Calls `finish` with every launch of `kernel`, its first block and the number of its blocks; the table,
    /// `scalars` and `clip` are bound.
    fn launches<'a>(
        &'a self,
        kernel: &Arc<Kernel>,
        scalars: &'a Tensor,
        clip: &'a Tensor,
        finish: impl Fn(Launch<'a>, usize, usize) -> wgrad_runtime::Result<()>,
    ) -> Result<()> {
        let last = self.rows.iter().filter(|r| **r != SKIPPED).max();
        let fits = scalars.rank() == 2 && scalars.shape()[1] == SCALARS;
        if !fits || last.is_some_and(|row| *row as usize >= scalars.shape()[0]) {
            return Err(Error::op(
                "optimizer",
                format!("scalars {scalars:?} do not hold row {last:?}; [P, {SCALARS}] is needed"),
            ));
        }
        let most = self.launch_blocks();
        for at in (0..self.rows.len()).step_by(most) {
            let blocks = most.min(self.rows.len() - at);
            // A stretch of frozen parameters between trained ones.
            if self.rows[at..at + blocks].iter().all(|row| *row == SKIPPED) {
                continue;
            }
            // A launch skips parameters without a gradient, so the caller marks the ones that were written.
            let launch = self
                .device
                .launch(kernel)
                .without_marks()
                .u32("blocks", blocks)
                .u32("first", at)
                .bind(self.table.buffer())
                .bind(scalars.buffer())
                .bind(clip.buffer());
            finish(launch, at, blocks)?;
        }
        Ok(())
    }

    fn parameters_of<'a>(&'a self, launch: Launch<'a>, at: usize, blocks: usize) -> Launch<'a> {
        let start = self.first + at as u64 * BLOCK_BYTES;
        launch.window(&self.parameters, start, blocks as u64 * BLOCK_BYTES)
    }
}

/// Whether updates in place can reach a parameter: f32, contiguous, and no other tensor's elements in its
/// blocks of 64.
pub fn check_parameter(parameter: &Tensor) -> Result<()> {
    let refuse = |why: &str| Err(Error::op("optimizer", format!("{parameter:?} {why}")));
    if parameter.dtype() != DType::F32 || !parameter.is_contiguous() {
        return refuse("is not a contiguous f32 tensor; cast it and train that copy");
    }
    let (start, end) = (parameter.offset(), parameter.offset() + parameter.numel());
    let whole = start == 0 && 4 * end.max(1) as u64 == parameter.buffer().size();
    let aligned = start.is_multiple_of(BLOCK) && end.is_multiple_of(BLOCK);
    if !(whole || aligned) {
        return refuse("is a part of another tensor; train that tensor, or a copy of the part");
    }
    Ok(())
}

fn part<'a>(launch: Launch<'a>, tensor: &'a Tensor, at: usize, blocks: usize) -> Launch<'a> {
    launch.window(
        tensor.buffer(),
        at as u64 * BLOCK_BYTES,
        blocks as u64 * BLOCK_BYTES,
    )
}

fn variant(textures: bool) -> Defines {
    Defines::new().flag_if(textures, "TEXTURE")
}

/// The stretches of blocks that the norm reads in one launch each: the part, the first block, their number.
fn stretches(flats: &[&Flat]) -> Vec<(usize, usize, usize)> {
    let mut all = Vec::new();
    for (i, flat) in flats.iter().enumerate() {
        let most = flat.launch_blocks();
        for at in (0..flat.rows.len()).step_by(most) {
            let blocks = most.min(flat.rows.len() - at);
            if flat.rows[at..at + blocks].iter().any(|r| *r != SKIPPED) {
                all.push((i, at, blocks));
            }
        }
    }
    all
}

/// Partial sums of a stretch.
fn pieces(blocks: usize) -> usize {
    (blocks * BLOCK).div_ceil(PIECE)
}

/// The global norm of the gradients that `flats` have loaded, and the factor that clips them, as
/// [`super::grad_norm`]. With `scaling` they are gradients of a scaled loss: the factor takes the scale out
/// too, and is 0, for which updates do nothing, where one of them is not finite; then the scale moves on.
pub fn norm(flats: &[&Flat], max_norm: Option<f64>, scaling: Option<&Scaling>) -> Result<Tensor> {
    let Some(first) = flats.first() else {
        return Err(Error::op("grad_norm", "no gradient was given"));
    };
    let device = &first.device;
    let textures = first.in_textures();
    let launches = stretches(flats);
    let count: usize = launches.iter().map(|(.., blocks)| pieces(*blocks)).sum();
    let partials = Tensor::empty(device, &[count.max(1)], DType::F32)?;
    let defines = variant(textures).flag_if(!textures, "VECTORS");
    let kernel = device.kernel("sum_squares", &defines)?;
    let mut done = 0;
    for (i, at, blocks) in launches {
        let launch = device
            .launch(&kernel)
            .u32("n", blocks * BLOCK)
            .u32("x_offset", 0)
            .u32("at", done);
        part(launch, &flats[i].gradients, at, blocks)
            .bind(partials.buffer())
            .groups(pieces(blocks) as u64)?;
        done += pieces(blocks);
    }
    super::finish_norm(&partials, count, max_norm, scaling)
}

/// The part and the member that partial sum `partial` of [`norm`] belongs to: the last one in it that has a
/// gradient.
pub fn member_of(flats: &[&Flat], partial: usize) -> Option<(usize, usize)> {
    let mut first = 0;
    for (i, at, blocks) in stretches(flats) {
        let count = pieces(blocks);
        if partial >= first + count {
            first += count;
            continue;
        }
        let flat = flats[i];
        let start = at * BLOCK + (partial - first) * PIECE;
        let member = flat.members.iter().enumerate().filter(|(_, m)| {
            let end = m.start + m.parameter.numel();
            m.start < start + PIECE && end > start && flat.rows[m.start / BLOCK] != SKIPPED
        });
        return member.max_by_key(|(_, m)| m.start).map(|(k, _)| (i, k));
    }
    None
}
