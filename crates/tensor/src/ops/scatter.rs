//! Rows added into a table by id: the backward pass of embedding, `index_select` and `gather`.
//!
//! A stable radix sort puts the positions of one id side by side, in their order. Each id is then summed in blocks, and
//! over blocks, by one invocation per channel, which alone writes its sum: the order is fixed, there are no atomics on
//! floats, and the time grows with the number of positions, however often one id occurs.

use std::sync::Arc;

use wgrad_runtime::{Defines, Kernel, Launch};

use crate::dtype::DType;
use crate::error::Result;
use crate::ops::embedding::windows;
use crate::tensor::Tensor;

/// Bits of a digit of the sort, and the invocations that share a block: see the kernels.
const DIGIT: usize = 5;
const LANES: usize = 64;
/// Positions that one workgroup sorts alone: fewer launches.
const ONE_BLOCK: usize = 4096;
/// Blocks of the sort at most. One workgroup adds up the counts of all blocks.
const MOST_SORT_BLOCKS: usize = 1024;
/// Blocks of a sum at most: some drivers cut loops off at 65,535 rounds.
const MOST_BLOCKS: usize = 1 << 15;

/// Adds row `i` of `dy` (N, C) to row `ids[i]` of `dw` (V, C), which is zero; ids beyond the table go to its last row,
/// those of `padding_idx` nowhere. At most `max_bytes` of `dw` are in a binding.
pub(crate) fn scatter_add(
    dy: &Tensor,
    ids: &Tensor,
    padding_idx: Option<usize>,
    dw: &Tensor,
    max_bytes: u64,
) -> Result<()> {
    let device = dy.device();
    let n = ids.numel();
    let (rows, channels) = (dw.shape()[0], dw.shape()[1]);
    if n * channels == 0 {
        return Ok(());
    }
    let dy = dy.contiguous()?;
    let sorted = sorted(ids, rows, padding_idx)?;
    let windows = windows(dw, max_bytes)?;
    let vectors = channels.is_multiple_of(4)
        && dy.offset().is_multiple_of(4)
        && windows.iter().all(|w| w.lead.is_multiple_of(4));
    let lanes = if vectors { 4 } else { 1 };
    let value = |dtype: DType| match vectors {
        true => format!("vec4<{dtype}>"),
        false => dtype.to_string(),
    };
    let block = n.div_ceil(MOST_BLOCKS).next_power_of_two().max(64);
    let defines = Defines::new().constant("BLOCK", block as u32);
    let blocks = Tensor::empty(device, &[n, channels], DType::F32)?;
    let within = defines
        .clone()
        .alias("S", &value(dy.dtype()))
        .alias("T", &value(DType::F32));
    let columns = channels / lanes;
    device
        .launch(&device.kernel("embedding_backward", &within)?)
        .u32("n", n)
        .u32("columns", columns)
        .u32("x_offset", dy.offset() / lanes)
        .u32("rows", rows)
        .bind(dy.buffer())
        .bind(sorted.buffer())
        .bind(blocks.buffer())
        .invocations((n * columns) as u64)?;
    let across = defines
        .alias("S", &value(DType::F32))
        .alias("T", &value(dw.dtype()))
        .flag("ACROSS");
    let across = device.kernel("embedding_backward", &across)?;
    for window in windows {
        device
            .launch(&across)
            .u32("n", n)
            .u32("columns", columns)
            .u32("x_offset", 0)
            .u32("rows", rows)
            .u32("first", window.first)
            .u32("count", window.count)
            .u32("y_offset", window.lead / lanes)
            .bind(blocks.buffer())
            .bind(sorted.buffer())
            .window(dw.buffer(), window.offset, window.bytes)
            .invocations((n * columns) as u64)?;
    }
    Ok(())
}

/// The parameters that all passes of a sort share.
struct Sizes {
    n: usize,
    blocks: usize,
    rows: usize,
    padding_idx: usize,
    passes: usize,
}

impl Sizes {
    fn launch<'a>(&self, kernel: &Arc<Kernel>, unsorted: &'a Tensor, pass: usize) -> Launch<'a> {
        unsorted
            .device()
            .launch(kernel)
            .u32("n", self.n)
            .u32("blocks", self.blocks)
            .u32("shift", DIGIT * pass)
            .u32("rows", self.rows)
            .u32("padding_idx", self.padding_idx)
            .u32("offset", unsorted.offset())
            .u32("passes", self.passes)
            .bind(unsorted.buffer())
    }
}

/// The keys of `ids` in order, and the position of each: (2, N). A key is an id, limited to the last row, or `rows` for
/// the padding.
fn sorted(ids: &Tensor, rows: usize, padding_idx: Option<usize>) -> Result<Tensor> {
    let device = ids.device();
    let ids = ids.contiguous()?;
    let n = ids.numel();
    let largest = rows - 1 + usize::from(padding_idx.is_some());
    let bits = (usize::BITS - largest.leading_zeros()).max(1) as usize;
    let passes = bits.div_ceil(DIGIT);
    let alone = n <= ONE_BLOCK;
    let most = if alone { 1 } else { MOST_SORT_BLOCKS };
    // A power of two, so that few kernels are compiled.
    let per = n.div_ceil(LANES * most).next_power_of_two();
    let blocks = n.div_ceil(LANES * per);
    let defines = Defines::new().constant("PER", per as u32);
    let sizes = Sizes {
        n,
        blocks,
        rows,
        padding_idx: padding_idx.unwrap_or(rows),
        passes,
    };
    if alone {
        let sorted = Tensor::empty(device, &[4, n], DType::U32)?;
        let kernel = device.kernel("sort_block", &defines)?;
        sizes
            .launch(&kernel, &ids, 0)
            .bind(sorted.buffer())
            .groups(1)?;
        return sorted.narrow(0, 0, 2);
    }
    let counted = blocks << DIGIT;
    let mut from: Option<Tensor> = None;
    for pass in 0..passes {
        let unsorted = from.as_ref().unwrap_or(&ids);
        let counts = Tensor::empty(device, &[counted], DType::U32)?;
        let starts = Tensor::empty(device, &[counted], DType::U32)?;
        let to = Tensor::empty(device, &[2, n], DType::U32)?;
        let defines = defines.clone().flag_if(from.is_none(), "FIRST");
        let (count, scan, scatter) = (
            device.kernel("sort_count", &defines)?,
            device.kernel("sort_scan", &Defines::new())?,
            device.kernel("sort_scatter", &defines)?,
        );
        sizes
            .launch(&count, unsorted, pass)
            .bind(counts.buffer())
            .groups(blocks as u64)?;
        device
            .launch(&scan)
            .u32("n", counted)
            .u32("span", counted.div_ceil(256))
            .bind(counts.buffer())
            .bind(starts.buffer())
            .groups(1)?;
        sizes
            .launch(&scatter, unsorted, pass)
            .bind(starts.buffer())
            .bind(to.buffer())
            .groups(blocks as u64)?;
        from = Some(to);
    }
    Ok(from.unwrap_or(ids))
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::{Device, DeviceOptions};

    use super::*;

    #[test]
    fn positions_are_sorted_by_id_and_stay_in_order() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        for (n, rows, padding) in [
            (1, 1, None),
            (64, 3, None),
            (5000, 700, Some(3)),
            (777, 1 << 17, None),
            (4096, 40, None),
            // Many blocks, the last one not whole.
            (70_001, 300, Some(299)),
            (66_000, 1 << 21, None),
        ] {
            let ids: Vec<u32> = (0..n)
                .map(|i: u32| i.wrapping_mul(2_654_435_761) >> 13)
                .collect();
            let key = |id: u32| match (id as usize).min(rows - 1) {
                row if Some(row) == padding => rows as u32,
                row => row as u32,
            };
            let mut expected: Vec<u32> = (0..n).collect();
            expected.sort_by_key(|i| key(ids[*i as usize]));
            let keys = expected.iter().map(|i| key(ids[*i as usize]));
            let expected: Vec<u32> = keys.chain(expected.iter().copied()).collect();
            let ids = Tensor::from_slice(&device, &ids, &[n as usize]).unwrap();
            let found = sorted(&ids, rows, padding).unwrap();
            assert!(found.to_vec::<u32>().unwrap() == expected, "{n} {rows}");
        }
    }
}
