//! Shapes, strides and broadcasting.

use crate::error::{Error, Result};

/// The most dimensions a strided kernel can walk (after adjacent ones were merged).
pub const MAX_RANK: usize = 8;

/// The number of elements.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides, in elements.
pub fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1);
    }
    strides
}

/// Whether `strides` lay `shape` out row-major without gaps (sides of 1 may have any stride).
pub fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (side, stride) in shape.iter().zip(strides).rev() {
        if *side != 1 && *stride != expected {
            return false;
        }
        expected *= side;
    }
    true
}

/// The common shape of two shapes under PyTorch's broadcasting rule.
pub fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |at| s[at]);
    (0..rank)
        .map(|i| match (side(a, i), side(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::op(
                op,
                format!(
                    "shapes {a:?} and {b:?} do not broadcast: from the right, sides must be equal or 1"
                ),
            )),
        })
        .collect()
}

/// The strides that make `shape`/`strides` look like `target` (0 where a side is repeated).
pub fn broadcast_strides(shape: &[usize], strides: &[usize], target: &[usize]) -> Vec<usize> {
    let lead = target.len() - shape.len();
    (0..target.len())
        .map(|i| match i.checked_sub(lead) {
            Some(at) if shape[at] == target[i] => strides[at],
            _ => 0,
        })
        .collect()
}

/// A dimension counted from the front; negative ones count from the back, as in PyTorch.
pub fn dim(op: &'static str, dim: isize, rank: usize) -> Result<usize> {
    let at = if dim < 0 { dim + rank as isize } else { dim };
    if at < 0 || at >= rank.max(1) as isize {
        return Err(Error::op(
            op,
            format!(
                "dim {dim} is out of range for a tensor of rank {rank}; dims go from {} to {}",
                -(rank.max(1) as isize),
                rank.max(1) - 1
            ),
        ));
    }
    Ok(at as usize)
}

/// The dimension at which a new one is put into a tensor of `rank`; negative ones count from the back of the result.
pub fn new_dim(op: &'static str, dim: isize, rank: usize) -> Result<usize> {
    let at = if dim < 0 {
        dim + rank as isize + 1
    } else {
        dim
    };
    if at < 0 || at > rank as isize {
        return Err(Error::op(
            op,
            format!(
                "dim {dim} is out of range for a new dimension of a tensor of rank {rank}; dims go from {} to {rank}",
                -(rank as isize) - 1
            ),
        ));
    }
    Ok(at as usize)
}

/// A shape with the strides of several tensors over it, adjacent dimensions merged where all of them
/// allow it, padded in front to [`MAX_RANK`]: what strided kernels take as parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The sides after merging, padded with 1.
    pub shape: [u32; MAX_RANK],
    /// For each tensor the strides along these sides, in elements.
    pub strides: Vec<[u32; MAX_RANK]>,
    /// Dimensions left after merging.
    pub rank: usize,
}

impl Walk {
    /// Builds the walk; every stride list has the rank of `shape`.
    pub fn new(op: &'static str, shape: &[usize], strides: &[&[usize]]) -> Result<Walk> {
        let mut sides: Vec<usize> = Vec::new();
        let mut merged: Vec<Vec<usize>> = vec![Vec::new(); strides.len()];
        for (i, side) in shape.iter().enumerate() {
            if *side == 1 {
                continue;
            }
            let joins = !sides.is_empty()
                && strides
                    .iter()
                    .zip(&merged)
                    .all(|(s, m)| m.last().is_some_and(|outer| *outer == s[i] * side));
            if joins {
                if let Some(last) = sides.last_mut() {
                    *last *= side;
                }
                for (s, m) in strides.iter().zip(&mut merged) {
                    if let Some(last) = m.last_mut() {
                        *last = s[i];
                    }
                }
            } else {
                sides.push(*side);
                for (s, m) in strides.iter().zip(&mut merged) {
                    m.push(s[i]);
                }
            }
        }
        if sides.len() > MAX_RANK {
            return Err(Error::op(
                op,
                format!(
                    "shape {shape:?} with these strides needs {} dimensions, {MAX_RANK} are supported; make the input contiguous",
                    sides.len()
                ),
            ));
        }
        let pad = |values: &[usize], fill: u32| -> Result<[u32; MAX_RANK]> {
            let mut out = [fill; MAX_RANK];
            let lead = MAX_RANK - values.len();
            for (slot, value) in out[lead..].iter_mut().zip(values) {
                *slot = u32::try_from(*value)
                    .map_err(|_| Error::op(op, format!("a side of {value} is beyond 32 bits")))?;
            }
            Ok(out)
        };
        Ok(Walk {
            shape: pad(&sides, 1)?,
            strides: merged.iter().map(|m| pad(m, 0)).collect::<Result<_>>()?,
            rank: sides.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_pytorch() {
        assert_eq!(broadcast("add", &[3, 1], &[4]).unwrap(), [3, 4]);
        assert_eq!(broadcast("add", &[], &[2, 2]).unwrap(), [2, 2]);
        let text = broadcast("add", &[3, 2], &[4]).unwrap_err().to_string();
        assert!(text.starts_with("add: shapes [3, 2] and [4]"), "{text}");
        assert_eq!(broadcast_strides(&[3, 1], &[1, 1], &[2, 3, 4]), [0, 1, 0]);
    }

    #[test]
    fn walks_merge_what_they_can() {
        let walk = Walk::new("x", &[2, 3, 4], &[&[12, 4, 1], &[12, 4, 1]]).unwrap();
        assert_eq!((walk.rank, walk.shape[7]), (1, 24));
        let walk = Walk::new("x", &[2, 3, 4], &[&[12, 4, 1], &[4, 0, 1]]).unwrap();
        assert_eq!(walk.rank, 3);
        let walk = Walk::new("x", &[2, 3, 4], &[&[1, 8, 2]]).unwrap();
        assert_eq!((walk.rank, walk.shape[6], walk.shape[7]), (2, 2, 12));
    }
}
