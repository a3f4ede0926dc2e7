//! Arrays of float64 on the host, for references. Plain loops.

use crate::shape::{contiguous_strides, numel};

/// A row-major array of float64.
#[derive(Debug, Clone, PartialEq)]
pub struct HostArray {
    /// The sides, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order.
    pub data: Vec<f64>,
}

impl HostArray {
    /// All zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            data: vec![0.0; numel(shape)],
        }
    }

    /// Calls `f` with every index.
    pub fn from_fn(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let mut at = vec![0; shape.len()];
        let mut data = Vec::with_capacity(numel(shape));
        for _ in 0..numel(shape) {
            data.push(f(&at));
            for d in (0..shape.len()).rev() {
                at[d] += 1;
                if at[d] < shape[d] {
                    break;
                }
                at[d] = 0;
            }
        }
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// The position of an index in `data`.
    pub fn place(&self, at: &[usize]) -> usize {
        let strides = contiguous_strides(&self.shape);
        at.iter().zip(&strides).map(|(i, s)| i * s).sum()
    }

    /// The value at an index.
    pub fn get(&self, at: &[usize]) -> f64 {
        self.data[self.place(at)]
    }

    /// A function of each value.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            shape: self.shape.clone(),
            data: self.data.iter().map(|v| f(*v)).collect(),
        }
    }

    /// Repeated to a larger shape.
    pub fn broadcast_to(&self, shape: &[usize]) -> Self {
        let lead = shape.len() - self.shape.len();
        Self::from_fn(shape, |at| {
            let from: Vec<usize> = self
                .shape
                .iter()
                .enumerate()
                .map(|(d, side)| if *side == 1 { 0 } else { at[lead + d] })
                .collect();
            self.get(&from)
        })
    }

    /// A function of two arrays, broadcasting.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let rank = self.shape.len().max(other.shape.len());
        let side = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |at| s[at]);
        let shape: Vec<usize> = (0..rank)
            .map(|i| match side(&self.shape, i) {
                1 => side(&other.shape, i),
                n => n,
            })
            .collect();
        let (a, b) = (self.broadcast_to(&shape), other.broadcast_to(&shape));
        Self {
            shape,
            data: a.data.iter().zip(&b.data).map(|(x, y)| f(*x, *y)).collect(),
        }
    }

    /// The array as rows along one dimension: calls `f` with the values along `dim` for every position
    /// of the others, and puts what it returns (any length, equal for all) in their place.
    pub fn along(&self, dim: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let outer: usize = self.shape[..dim].iter().product();
        let inner: usize = self.shape[dim + 1..].iter().product();
        let side = self.shape[dim];
        let mut columns = Vec::new();
        for o in 0..outer {
            for i in 0..inner {
                let row: Vec<f64> = (0..side)
                    .map(|k| self.data[(o * side + k) * inner + i])
                    .collect();
                columns.push(f(&row));
            }
        }
        let length = columns.first().map_or(0, Vec::len);
        let mut shape = self.shape.clone();
        shape[dim] = length;
        let mut out = Self::zeros(&shape);
        for o in 0..outer {
            for i in 0..inner {
                for (k, value) in columns[o * inner + i].iter().enumerate() {
                    out.data[(o * length + k) * inner + i] = *value;
                }
            }
        }
        out
    }

    /// The dimensions in another order.
    pub fn permute(&self, dims: &[usize]) -> Self {
        let shape: Vec<usize> = dims.iter().map(|d| self.shape[*d]).collect();
        Self::from_fn(&shape, |at| {
            let mut from = vec![0; at.len()];
            for (i, d) in dims.iter().enumerate() {
                from[*d] = at[i];
            }
            self.get(&from)
        })
    }

    /// Matrix product of the last two dimensions; leading ones must be equal.
    pub fn matmul(&self, other: &Self) -> Self {
        let rank = self.shape.len();
        let (m, k, n) = (
            self.shape[rank - 2],
            self.shape[rank - 1],
            other.shape[rank - 1],
        );
        let batch = numel(&self.shape[..rank - 2]);
        let mut shape = self.shape.clone();
        shape[rank - 1] = n;
        let mut out = Self::zeros(&shape);
        for b in 0..batch {
            for i in 0..m {
                for q in 0..k {
                    let a = self.data[(b * m + i) * k + q];
                    for j in 0..n {
                        out.data[(b * m + i) * n + j] += a * other.data[(b * k + q) * n + j];
                    }
                }
            }
        }
        out
    }
}
