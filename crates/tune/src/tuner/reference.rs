//! The built-in references: plain loops in float64 on the host.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Computes a result from inputs and sizes.
type Compute = fn(&[&[f64]], &[usize]) -> Vec<f64>;

/// A built-in: its name, the number of its inputs, the sizes it needs, and its function.
struct Builtin {
    name: &'static str,
    inputs: RangeInclusive<usize>,
    sizes: &'static [&'static str],
    compute: Compute,
    /// Further results, for further outputs.
    more: Option<Compute>,
}

const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "copy",
        inputs: 1..=1,
        sizes: &["n"],
        compute: |x, _| x[0].to_vec(),
        more: None,
    },
    Builtin {
        name: "add",
        inputs: 2..=2,
        sizes: &["n"],
        compute: |x, _| zip(x, |a, b| a + b),
        more: None,
    },
    Builtin {
        name: "multiply",
        inputs: 2..=2,
        sizes: &["n"],
        compute: |x, _| zip(x, |a, b| a * b),
        more: None,
    },
    Builtin {
        name: "gelu",
        inputs: 1..=1,
        sizes: &["n"],
        compute: |x, _| x[0].iter().map(|v| gelu(*v)).collect(),
        more: None,
    },
    Builtin {
        name: "sum",
        inputs: 1..=1,
        sizes: &["n"],
        compute: |x, _| vec![x[0].iter().sum()],
        more: None,
    },
    Builtin {
        name: "transpose",
        inputs: 1..=1,
        sizes: &["rows", "columns"],
        compute: transpose,
        more: None,
    },
    Builtin {
        name: "sum_rows",
        inputs: 1..=1,
        sizes: &["rows", "columns"],
        compute: |x, s| by_row(x[0], s, |row| vec![row.iter().sum()]),
        more: None,
    },
    Builtin {
        name: "max_rows",
        inputs: 1..=1,
        sizes: &["rows", "columns"],
        compute: |x, s| {
            by_row(x[0], s, |row| {
                vec![row.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
            })
        },
        more: None,
    },
    Builtin {
        name: "softmax",
        inputs: 1..=1,
        sizes: &["rows", "columns"],
        compute: |x, s| by_row(x[0], s, softmax),
        more: None,
    },
    Builtin {
        name: "layer_norm",
        inputs: 1..=3,
        sizes: &["rows", "columns"],
        compute: layer_norm,
        more: Some(statistics),
    },
    Builtin {
        name: "softmax_backward",
        inputs: 2..=2,
        sizes: &["rows", "columns"],
        compute: softmax_backward,
        more: None,
    },
    Builtin {
        name: "layer_norm_backward",
        inputs: 3..=4,
        sizes: &["rows", "columns"],
        compute: layer_norm_backward,
        more: None,
    },
    Builtin {
        name: "matmul",
        inputs: 2..=2,
        sizes: &["m", "n", "k"],
        compute: matmul,
        more: None,
    },
    Builtin {
        name: "linear",
        inputs: 2..=2,
        sizes: &["m", "n", "k"],
        compute: linear,
        more: None,
    },
];

/// The names of all of them.
pub fn names() -> Vec<&'static str> {
    BUILTINS.iter().map(|b| b.name).collect()
}

/// Computes built-in `name` of `inputs`; `shape` gives its sizes by name. Most have one result.
///
/// # Errors
/// There is no such built-in, or the number of inputs, a size or an input's length is wrong.
pub fn compute(
    name: &str,
    inputs: &[&[f64]],
    shape: &BTreeMap<String, u64>,
) -> Result<Vec<Vec<f64>>, String> {
    let builtin = BUILTINS.iter().find(|b| b.name == name).ok_or_else(|| {
        format!(
            "no built-in reference `{name}`; there are {}",
            names().join(", ")
        )
    })?;
    if !builtin.inputs.contains(&inputs.len()) {
        let (least, most) = (builtin.inputs.start(), builtin.inputs.end());
        let needed = match least == most {
            true => least.to_string(),
            false => format!("{least} to {most}"),
        };
        return Err(format!(
            "the reference `{name}` reads {needed} inputs, {} are given",
            inputs.len()
        ));
    }
    let sizes: Vec<usize> = builtin
        .sizes
        .iter()
        .map(|size| shape.get(*size).map(|n| *n as usize))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            format!(
                "the reference `{name}` needs shape = {{ {} }}",
                builtin.sizes.join(" = …, ") + " = …"
            )
        })?;
    let product = |of: &[usize]| of.iter().product::<usize>();
    let lengths = match name {
        "matmul" | "linear" => vec![sizes[0] * sizes[2], sizes[2] * sizes[1]],
        "layer_norm" => vec![product(&sizes), sizes[1], sizes[1]],
        "layer_norm_backward" => {
            vec![product(&sizes), product(&sizes), 2 * sizes[0], sizes[1]]
        }
        _ => vec![product(&sizes); inputs.len()],
    };
    for (input, length) in inputs.iter().zip(&lengths) {
        if input.len() < *length {
            return Err(format!(
                "the reference `{name}` reads {length} values, the buffer has {}",
                input.len()
            ));
        }
    }
    let cut = inputs.iter().zip(&lengths).map(|(x, length)| &x[..*length]);
    let cut: Vec<&[f64]> = cut.collect();
    let mut results = vec![(builtin.compute)(&cut, &sizes)];
    results.extend(builtin.more.map(|more| more(&cut, &sizes)));
    Ok(results)
}

fn zip(x: &[&[f64]], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    x[0].iter().zip(x[1]).map(|(a, b)| f(*a, *b)).collect()
}

fn transpose(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let (rows, columns) = (sizes[0], sizes[1]);
    let mut y = vec![0.0; rows * columns];
    for r in 0..rows {
        for c in 0..columns {
            y[c * rows + r] = x[0][r * columns + c];
        }
    }
    y
}

fn by_row(x: &[f64], sizes: &[usize], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    x.chunks(sizes[1].max(1)).flat_map(f).collect()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
    row.iter().map(|v| (v - top).exp() / total).collect()
}

/// A row's mean, and 1 / deviation; the variance over n, epsilon 1e-5, as PyTorch's default.
fn mean_and_rstd(row: &[f64]) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, 1.0 / (variance + 1e-5).sqrt())
}

/// Layer normalisation of x, with weight and bias if they are given.
fn layer_norm(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        let (mean, rstd) = mean_and_rstd(row);
        let value = |(c, v): (usize, &f64)| {
            let normal = (v - mean) * rstd;
            normal * x.get(1).map_or(1.0, |w| w[c]) + x.get(2).map_or(0.0, |b| b[c])
        };
        row.iter().enumerate().map(value).collect()
    };
    by_row(x[0], sizes, row)
}

/// The means of the rows of x, then 1 / deviations.
fn statistics(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let rows = x[0].chunks(sizes[1].max(1)).map(mean_and_rstd);
    let (means, rstds): (Vec<f64>, Vec<f64>) = rows.unzip();
    [means, rstds].concat()
}

/// The tanh form.
fn gelu(v: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
    0.5 * v * (1.0 + inner.tanh())
}

/// (m, k) by (k, n), both row-major.
fn matmul(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let (m, n, k) = (sizes[0], sizes[1], sizes[2]);
    let mut y = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            let a = x[0][i * k + l];
            for j in 0..n {
                y[i * n + j] += a * x[1][l * n + j];
            }
        }
    }
    y
}

/// x (m, k) by the transpose of w (n, k), both row-major.
fn linear(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let (n, k) = (sizes[1], sizes[2].max(1));
    let row = |row: &[f64]| -> Vec<f64> {
        let columns = x[1].chunks(k).take(n);
        columns
            .map(|w| row.iter().zip(w).map(|(a, b)| a * b).sum())
            .collect()
    };
    x[0].chunks(k).flat_map(row).collect()
}

/// y (dy - sum(dy y)) for each row of dy and y.
fn softmax_backward(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let columns = sizes[1].max(1);
    let row = |(dy, y): (&[f64], &[f64])| -> Vec<f64> {
        let total: f64 = dy.iter().zip(y).map(|(d, v)| d * v).sum();
        dy.iter().zip(y).map(|(d, v)| v * (d - total)).collect()
    };
    x[0].chunks(columns)
        .zip(x[1].chunks(columns))
        .flat_map(row)
        .collect()
}

/// The gradient of [`layer_norm`]'s input from dy, the input, its [`statistics`], and the weight if there is one.
fn layer_norm_backward(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let (rows, columns) = (sizes[0], sizes[1].max(1));
    let n = columns as f64;
    let mut out = Vec::with_capacity(x[0].len());
    for (r, (dy, values)) in x[0].chunks(columns).zip(x[1].chunks(columns)).enumerate() {
        let (mean, rstd) = (x[2][r], x[2][rows + r]);
        let normal: Vec<f64> = values.iter().map(|v| (v - mean) * rstd).collect();
        let weighted = dy.iter().enumerate();
        let weighted = weighted.map(|(c, d)| d * x.get(3).map_or(1.0, |w| w[c]));
        let dy: Vec<f64> = weighted.collect();
        let mean_dy = dy.iter().sum::<f64>() / n;
        let mean_both = dy.iter().zip(&normal).map(|(d, h)| d * h).sum::<f64>() / n;
        let gradient = |(d, h): (&f64, &f64)| rstd * (d - mean_dy - h * mean_both);
        out.extend(dy.iter().zip(&normal).map(gradient));
    }
    out
}

#[cfg(test)]
mod tests;
