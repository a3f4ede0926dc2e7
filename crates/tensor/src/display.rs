//! `Display` of tensors: their values, as PyTorch prints them.

use std::fmt;

use half::f16;

use crate::dtype::DType;
use crate::error::Result;
use crate::no_grad;
use crate::tensor::Tensor;

/// Tensors of more elements show the first and last [`EDGE`] of each dimension.
const MOST: usize = 1000;
const EDGE: usize = 3;
/// Columns of a line.
const LINE: usize = 80;

/// The values, read back from the device (this submits and waits): four digits, aligned, large tensors in part. If they
/// cannot be read, the error stands in their place. `Debug` shows shape, type and device without reading anything.
///
/// ```text
/// tensor([[1.0000, 2.5000],
///         [3.0000, 4.0000]])
/// ```
impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = self.numel() > MOST;
        let values = match no_grad(|| values(self, summary)) {
            Ok(values) => values,
            Err(error) => return write!(f, "tensor(<{error}>, {self:?})"),
        };
        write!(f, "tensor(")?;
        if values.is_empty() {
            write!(f, "[], size={:?}", self.shape())?;
        } else {
            let words = words(&values, self.dtype().is_float());
            let width = words.iter().map(String::len).max().unwrap_or(0);
            let printer = Printer {
                shape: self.shape(),
                summary,
                width,
            };
            printer.print(f, 0, &mut words.iter())?;
        }
        match self.dtype() {
            DType::F32 => write!(f, ")"),
            dtype => write!(f, ", dtype={dtype})"),
        }
    }
}

/// The values that are shown, row-major.
fn values(x: &Tensor, summary: bool) -> Result<Vec<f64>> {
    let mut x = x.detach();
    if summary {
        for d in 0..x.rank() {
            let (at, side) = (d as isize, x.shape()[d]);
            if side > 2 * EDGE {
                let (first, last) = (x.narrow(at, 0, EDGE)?, x.narrow(at, side - EDGE, EDGE)?);
                x = Tensor::concat(&[&first, &last], at)?;
            }
        }
    }
    Ok(match x.dtype() {
        DType::F32 => x.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F16 => x.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
        DType::U32 => x.to_vec::<u32>()?.into_iter().map(f64::from).collect(),
        DType::I32 => x.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
    })
}

/// Each value as text: all in the same form.
fn words(values: &[f64], float: bool) -> Vec<String> {
    if !float {
        return values.iter().map(|v| format!("{v}")).collect();
    }
    let finite = || values.iter().filter(|v| v.is_finite());
    let whole = finite().all(|v| v.fract() == 0.0);
    let sizes = || finite().map(|v| v.abs()).filter(|v| *v > 0.0);
    let largest = sizes().fold(0.0, f64::max);
    let smallest = sizes().fold(f64::INFINITY, f64::min);
    let scientific = largest > 1e8 || (!whole && (largest / smallest > 1e3 || smallest < 1e-4));
    let word = |v: &f64| match *v {
        v if v.is_nan() => "nan".to_owned(),
        v if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_owned(),
        v if scientific => exponential(v),
        v if whole => format!("{v:.0}."),
        v => format!("{v:.4}"),
    };
    values.iter().map(word).collect()
}

/// As C's `%.4e`: an exponent of two digits and a sign.
fn exponential(v: f64) -> String {
    let text = format!("{v:.4e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        None => text,
    }
}

struct Printer<'a> {
    shape: &'a [usize],
    summary: bool,
    width: usize,
}

impl Printer<'_> {
    /// Dimension `d` and those behind it, from the words that are left.
    fn print<'w>(
        &self,
        f: &mut fmt::Formatter<'_>,
        d: usize,
        words: &mut impl Iterator<Item = &'w String>,
    ) -> fmt::Result {
        let Some(side) = self.shape.get(d) else {
            let word = words.next().map_or("", String::as_str);
            return write!(f, "{word:>width$}", width = self.width);
        };
        let gap = self.summary && *side > 2 * EDGE;
        let shown = if gap { 2 * EDGE } else { *side };
        let last = d + 1 == self.shape.len();
        // "tensor(" and the brackets in front.
        let indent = 7 + d + 1;
        let in_line = (LINE.saturating_sub(indent) / (self.width + 2)).max(1);
        let newline = |f: &mut fmt::Formatter<'_>, lines: usize| {
            write!(f, ",{}{:indent$}", "\n".repeat(lines), "")
        };
        write!(f, "[")?;
        for i in 0..shown {
            if i > 0 && !last {
                newline(f, self.shape.len() - d - 1)?;
            } else if i > 0 && i % in_line == 0 {
                newline(f, 1)?;
            } else if i > 0 {
                write!(f, ", ")?;
            }
            if gap && i == EDGE {
                write!(f, "...")?;
                match last {
                    true => write!(f, ", ")?,
                    false => newline(f, self.shape.len() - d - 1)?,
                }
            }
            self.print(f, d + 1, words)?;
        }
        write!(f, "]")
    }
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::{Device, DeviceOptions};

    use super::*;

    #[test]
    fn values_are_printed_as_pytorch_does() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let of = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(&device, values, shape)
                .unwrap()
                .to_string()
        };
        assert_eq!(of(&[1.5], &[]), "tensor(1.5000)");
        assert_eq!(of(&[1.0, -2.0, 30.0], &[3]), "tensor([ 1., -2., 30.])");
        assert_eq!(
            of(&[1.0, 2.5, 3.0, 4.0], &[2, 2]),
            "tensor([[1.0000, 2.5000],\n        [3.0000, 4.0000]])"
        );
        assert_eq!(of(&[1.0, 2e-6], &[2]), "tensor([1.0000e+00, 2.0000e-06])");
        assert_eq!(
            of(&[f32::NAN, f32::INFINITY, 0.5], &[3]),
            "tensor([   nan,    inf, 0.5000])"
        );
        assert_eq!(
            of(&[1.0, 2.0, 3.0, 4.0], &[2, 1, 2]),
            "tensor([[[1., 2.]],\n\n        [[3., 4.]]])"
        );
        assert_eq!(of(&[], &[0, 3]), "tensor([], size=[0, 3])");
        let ids = Tensor::from_slice(&device, &[7u32, 12], &[2]).unwrap();
        assert_eq!(ids.to_string(), "tensor([ 7, 12], dtype=u32)");
    }

    #[test]
    fn large_tensors_are_printed_in_part() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let values: Vec<f32> = (0..2000).map(|i| i as f32).collect();
        let x = Tensor::from_slice(&device, &values, &[1000, 2]).unwrap();
        let text = x.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert_eq!(lines[2..5], ["[   4.,    5.],", "...,", "[1994., 1995.],"]);
        let line = x.reshape(&[2000]).unwrap().to_string();
        assert!(line.contains("2., ..., 1997."), "{line}");
    }
}
