//! Rows of a table by id.
//!
//! The backward pass is in `ops/scatter.rs`.
//!
//! Tables larger than one binding of the adapter are bound as windows of whole rows, one launch each.

use wgrad_runtime::{Defines, Error as RuntimeError};

use crate::autograd::record;
use crate::cases::{Case, HostArray, Input, Layout};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::check_indices::check_indices;
use crate::ops::scatter::scatter_add;
use crate::tensor::Tensor;

/// The rows of `weight` (V, C) that `ids` (u32, any shape) name: the shape of `ids` with C behind it.
/// The row `padding_idx` is read like any other but gets no gradient, as in PyTorch.
///
/// Ids beyond the table read the last row, and their gradient goes there: the host cannot check them without
/// waiting for the device. A device with `DeviceOptions::check_indices` waits, and refuses them.
///
/// Errors name what does not fit: types, ranks, an empty table, a `padding_idx` beyond it.
///
/// ```
/// # use wgrad_tensor::{Device, DeviceOptions, Tensor, ops::embedding::embedding};
/// # let device = Device::open(DeviceOptions::default())?;
/// let table = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// let ids = Tensor::from_slice(&device, &[1u32, 0, 1], &[3])?;
/// let rows = embedding(&table, &ids, None)?;
/// assert_eq!(rows.to_vec::<f32>()?, [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), wgrad_tensor::Error>(())
/// ```
pub fn embedding(weight: &Tensor, ids: &Tensor, padding_idx: Option<usize>) -> Result<Tensor> {
    let most = weight.device().max_binding_bytes();
    embedding_within(weight, ids, padding_idx, most)
}

/// [`embedding`] with at most `max_bytes` of the table in a binding.
fn embedding_within(
    weight: &Tensor,
    ids: &Tensor,
    padding_idx: Option<usize>,
    max_bytes: u64,
) -> Result<Tensor> {
    let refuse = |message: String| Err(Error::op("embedding", message));
    let [rows, channels] = *weight.shape() else {
        return refuse(format!(
            "a table of shape [V, C] is needed, {:?} was given",
            weight.shape()
        ));
    };
    if ids.dtype() != DType::U32 {
        return refuse(format!("the ids are {ids:?}, u32 is needed; cast them"));
    }
    if rows == 0 && ids.numel() > 0 {
        return refuse(format!("a table of shape {:?} has no rows", weight.shape()));
    }
    if let Some(row) = padding_idx.filter(|row| *row >= rows) {
        return refuse(format!(
            "padding_idx {row} is beyond a table of {rows} rows"
        ));
    }
    check_indices("embedding", "id", ids, rows, None)?;
    let table = weight.contiguous()?;
    let ids = ids.contiguous()?;
    record(
        "embedding",
        &[&table],
        |ctx| {
            ctx.save(&ids);
            forward(&table, &ids, max_bytes)
        },
        move |ctx, dy| {
            let dw = Tensor::zeros(dy.device(), &[rows, channels], dy.dtype())?;
            scatter_add(dy, ctx.saved(0)?, padding_idx, &dw, max_bytes)?;
            Ok(vec![Some(dw)])
        },
    )
}

/// A window: whole rows of a table that fit one binding.
pub(crate) struct Window {
    pub first: usize,
    pub count: usize,
    /// The binding, in bytes, and the first row's place in it, in elements.
    pub offset: u64,
    pub bytes: u64,
    pub lead: usize,
}

/// Windows over all rows of a contiguous table.
pub(crate) fn windows(table: &Tensor, max_bytes: u64) -> Result<Vec<Window>> {
    let (rows, channels) = (table.shape()[0], table.shape()[1]);
    let whole = table.buffer().size();
    if whole <= max_bytes {
        return Ok(vec![Window {
            first: 0,
            count: rows,
            offset: 0,
            bytes: whole,
            lead: table.offset(),
        }]);
    }
    let size = table.dtype().size();
    let row_bytes = (channels * size) as u64;
    let mut out = Vec::new();
    let mut first = 0;
    while first < rows {
        let start = (table.offset() * size) as u64 + first as u64 * row_bytes;
        // Bindings begin at multiples of 256 bytes.
        let offset = start & !255;
        let count =
            (max_bytes.saturating_sub(start - offset) / row_bytes).min((rows - first) as u64);
        if count == 0 {
            return Err(RuntimeError::Limit {
                what: "embedding: one row of the table".into(),
                bytes: row_bytes,
                limit: max_bytes,
                fix: "split the table by channels",
            }
            .into());
        }
        out.push(Window {
            first,
            count: count as usize,
            offset,
            bytes: (start - offset + count * row_bytes).next_multiple_of(4),
            lead: (start - offset) as usize / size,
        });
        first += count as usize;
    }
    Ok(out)
}

fn forward(table: &Tensor, ids: &Tensor, max_bytes: u64) -> Result<Tensor> {
    let device = table.device();
    let (rows, channels) = (table.shape()[0], table.shape()[1]);
    let mut shape = ids.shape().to_vec();
    shape.push(channels);
    let y = Tensor::empty(device, &shape, table.dtype())?;
    if y.numel() == 0 {
        return Ok(y);
    }
    let windows = windows(table, max_bytes)?;
    let vectors = channels.is_multiple_of(4) && windows.iter().all(|w| w.lead.is_multiple_of(4));
    let lanes = if vectors { 4 } else { 1 };
    let memory = match vectors {
        true => format!("vec4<{}>", table.dtype()),
        false => table.dtype().to_string(),
    };
    let kernel = device.kernel("embedding", &Defines::new().alias("T", &memory))?;
    let n = y.numel() / lanes;
    for window in windows {
        device
            .launch(&kernel)
            .u32("n", n)
            .u32("channels", channels / lanes)
            .u32("rows", rows)
            .u32("first", window.first)
            .u32("count", window.count)
            .u32("w_offset", window.lead / lanes)
            .u32("ids_offset", ids.offset())
            .window(table.buffer(), window.offset, window.bytes)
            .bind(ids.buffer())
            .bind(y.buffer())
            .invocations(n as u64)?;
    }
    Ok(y)
}

fn reference(x: &[HostArray]) -> HostArray {
    let (rows, channels) = (x[0].shape[0], x[0].shape[1]);
    let mut out = HostArray::zeros(&[x[1].shape.as_slice(), &[channels]].concat());
    for (y, id) in out.data.chunks_mut(channels.max(1)).zip(&x[1].data) {
        let row = (*id as usize).min(rows - 1);
        y.copy_from_slice(&x[0].data[row * channels..(row + 1) * channels]);
    }
    out
}

/// A case with windows of at most `max_bytes`.
fn case(
    (rows, channels, layout): (usize, usize, Layout),
    dtype: DType,
    (ids, ids_layout): (&[usize], Layout),
    max_bytes: u64,
) -> Case {
    let case = Case::new(
        "embedding",
        "F.embedding(x1.long(), x0)",
        vec![
            Input::new(&[rows, channels], dtype).layout(layout),
            Input::new(ids, DType::U32)
                .index(rows as u32)
                .layout(ids_layout),
        ],
        move |x| embedding_within(&x[0], &x[1], None, max_bytes),
        reference,
    );
    if max_bytes == u64::MAX {
        case
    } else {
        case.note(format!("windows of {max_bytes} bytes"))
    }
}

/// The rows of the op matrix.
pub fn cases(out: &mut Vec<Case>) {
    use Layout::{Contiguous, Expanded, Sliced, Transposed};
    const WHOLE: u64 = u64::MAX;
    for dtype in [DType::F32, DType::F16] {
        for (rows, channels, ids) in [
            (1, 1, vec![]),
            (1, 1, vec![1]),
            (5, 3, vec![7]),
            (2, 33, vec![3, 64]),
            (1000, 5, vec![2, 129]),
            (7, 1, vec![257]),
            (40, 257, vec![3, 2, 5]),
            // One id in all blocks, and lists across more than one block.
            (1, 3, vec![1025]),
            (3, 2, vec![641]),
        ] {
            out.push(case(
                (rows, channels, Contiguous),
                dtype,
                (&ids, Contiguous),
                WHOLE,
            ));
        }
        for layout in [Transposed, Sliced, Expanded] {
            out.push(case((9, 6, layout), dtype, (&[4, 70], Contiguous), WHOLE));
            out.push(case((9, 6, Contiguous), dtype, (&[4, 70], layout), WHOLE));
        }
        // Windows at any place within 256 bytes; sizes of one row, several rows, nearly all.
        for (channels, bytes) in [(64, 512), (5, 320), (33, 400), (7, 1024), (3, 600)] {
            out.push(case(
                (60, channels, Contiguous),
                dtype,
                (&[3, 50], Contiguous),
                bytes,
            ));
        }
        out.push(case((60, 9, Sliced), dtype, (&[90], Contiguous), 512));
        out.push(case((3, 4, Contiguous), dtype, (&[0], Contiguous), WHOLE));
        for padding in [0usize, 4] {
            out.push(padding_case(dtype, padding));
        }
        // Ids beyond the table take its last row, forward and backward.
        out.push(Case::new(
            "embedding",
            "F.embedding(x1.clamp(max=8).long(), x0)",
            vec![
                Input::new(&[9, 4], dtype),
                Input::new(&[150], DType::U32).index(4_000_000_000),
            ],
            |x| embedding(&x[0], &x[1], None),
            reference,
        ));
    }
    // Several passes of the sort; ids that fill many blocks.
    for (rows, channels, ids) in [(70_000, 4, 9000), (3, 8, 9000)] {
        out.push(case(
            (rows, channels, Contiguous),
            DType::F32,
            (&[ids], Contiguous),
            WHOLE,
        ));
    }
    for dtype in [DType::U32, DType::I32] {
        out.push(Case::new(
            "embedding",
            "F.embedding(x1.long(), x0)",
            vec![
                Input::new(&[9, 4], dtype).index(1000),
                Input::new(&[15], DType::U32).index(9),
            ],
            |x| embedding(&x[0], &x[1], None),
            reference,
        ));
    }
    rejections(out);
}

/// The row `padding` is read but gets no gradient: the reference rounds it to the grid its values lie
/// on, so that finite differences see a constant.
fn padding_case(dtype: DType, padding: usize) -> Case {
    Case::new(
        "embedding",
        &format!("F.embedding(x1.long(), x0, padding_idx={padding})"),
        vec![
            Input::new(&[5, 6], dtype).steps(4),
            Input::new(&[3, 70], DType::U32).index(5),
        ],
        move |x| embedding(&x[0], &x[1], Some(padding)),
        move |x: &[HostArray]| {
            let mut x = x.to_vec();
            for value in &mut x[0].data[padding * 6..(padding + 1) * 6] {
                *value = (*value * 4.0).round() / 4.0;
            }
            reference(&x)
        },
    )
}

fn rejections(out: &mut Vec<Case>) {
    let inputs = |w: &[usize], dtype| {
        vec![
            Input::new(w, DType::F32),
            Input::new(&[4], dtype).range(0.0, 2.0).frozen(),
        ]
    };
    let run = |padding| move |x: &[Tensor]| embedding(&x[0], &x[1], padding);
    let (u, f) = (DType::U32, DType::F32);
    out.extend([
        Case::rejects(
            "embedding",
            inputs(&[4], u),
            run(None),
            "shape [V, C] is needed",
        ),
        Case::rejects("embedding", inputs(&[4, 3], f), run(None), "u32 is needed"),
        Case::rejects("embedding", inputs(&[0, 3], u), run(None), "has no rows"),
        Case::rejects(
            "embedding",
            inputs(&[4, 3], u),
            run(Some(4)),
            "padding_idx 4 is beyond",
        ),
        Case::rejects(
            "embedding",
            inputs(&[40, 300], u),
            |x| embedding_within(&x[0], &x[1], None, 1024),
            "split the table by channels",
        ),
    ]);
}
