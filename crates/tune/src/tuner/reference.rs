//! The built-in references: what a kernel should compute, in float64 on the host, in plain loops.

use std::collections::BTreeMap;

/// A built-in: its name, how many inputs it reads, the sizes it asks for, and what it computes.
struct Builtin {
    name: &'static str,
    inputs: usize,
    sizes: &'static [&'static str],
    compute: fn(&[&[f64]], &[usize]) -> Vec<f64>,
}

const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "copy",
        inputs: 1,
        sizes: &["n"],
        compute: |x, _| x[0].to_vec(),
    },
    Builtin {
        name: "add",
        inputs: 2,
        sizes: &["n"],
        compute: |x, _| zip(x, |a, b| a + b),
    },
    Builtin {
        name: "multiply",
        inputs: 2,
        sizes: &["n"],
        compute: |x, _| zip(x, |a, b| a * b),
    },
    Builtin {
        name: "gelu",
        inputs: 1,
        sizes: &["n"],
        compute: |x, _| x[0].iter().map(|v| gelu(*v)).collect(),
    },
    Builtin {
        name: "sum",
        inputs: 1,
        sizes: &["n"],
        compute: |x, _| vec![x[0].iter().sum()],
    },
    Builtin {
        name: "transpose",
        inputs: 1,
        sizes: &["rows", "columns"],
        compute: transpose,
    },
    Builtin {
        name: "sum_rows",
        inputs: 1,
        sizes: &["rows", "columns"],
        compute: |x, s| by_row(x[0], s, |row| vec![row.iter().sum()]),
    },
    Builtin {
        name: "max_rows",
        inputs: 1,
        sizes: &["rows", "columns"],
        compute: |x, s| {
            by_row(x[0], s, |row| {
                vec![row.iter().copied().fold(f64::NEG_INFINITY, f64::max)]
            })
        },
    },
    Builtin {
        name: "softmax",
        inputs: 1,
        sizes: &["rows", "columns"],
        compute: |x, s| by_row(x[0], s, softmax),
    },
    Builtin {
        name: "layer_norm",
        inputs: 1,
        sizes: &["rows", "columns"],
        compute: |x, s| by_row(x[0], s, layer_norm),
    },
    Builtin {
        name: "softmax_backward",
        inputs: 2,
        sizes: &["rows", "columns"],
        compute: softmax_backward,
    },
    Builtin {
        name: "layer_norm_backward",
        inputs: 3,
        sizes: &["rows", "columns"],
        compute: layer_norm_backward,
    },
    Builtin {
        name: "matmul",
        inputs: 2,
        sizes: &["m", "n", "k"],
        compute: matmul,
    },
    Builtin {
        name: "linear",
        inputs: 2,
        sizes: &["m", "n", "k"],
        compute: linear,
    },
];

/// The names of all of them.
pub fn names() -> Vec<&'static str> {
    BUILTINS.iter().map(|b| b.name).collect()
}

/// Computes built-in `name` of `inputs`; `shape` gives its sizes by name.
///
/// # Errors
/// No such built-in, another number of inputs, a missing size, an input of another length.
pub fn compute(
    name: &str,
    inputs: &[&[f64]],
    shape: &BTreeMap<String, u64>,
) -> Result<Vec<f64>, String> {
    let builtin = BUILTINS.iter().find(|b| b.name == name).ok_or_else(|| {
        format!(
            "no built-in reference `{name}`; there are {}",
            names().join(", ")
        )
    })?;
    if inputs.len() != builtin.inputs {
        return Err(format!(
            "the reference `{name}` reads {} inputs, {} are given",
            builtin.inputs,
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
        "layer_norm_backward" => vec![product(&sizes), product(&sizes), 2 * sizes[0]],
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
    Ok((builtin.compute)(&cut, &sizes))
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

/// Without weights; the variance over n, epsilon 1e-5, as PyTorch's default.
fn layer_norm(row: &[f64]) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    row.iter()
        .map(|v| (v - mean) / (variance + 1e-5).sqrt())
        .collect()
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

/// The gradient of [`layer_norm`]'s input from dy, the input, and its rows' means, then 1 / deviations.
fn layer_norm_backward(x: &[&[f64]], sizes: &[usize]) -> Vec<f64> {
    let (rows, columns) = (sizes[0], sizes[1].max(1));
    let n = columns as f64;
    let mut out = Vec::with_capacity(x[0].len());
    for (r, (dy, values)) in x[0].chunks(columns).zip(x[1].chunks(columns)).enumerate() {
        let (mean, rstd) = (x[2][r], x[2][rows + r]);
        let normal: Vec<f64> = values.iter().map(|v| (v - mean) * rstd).collect();
        let mean_dy = dy.iter().sum::<f64>() / n;
        let mean_both = dy.iter().zip(&normal).map(|(d, h)| d * h).sum::<f64>() / n;
        let gradient = |(d, h): (&f64, &f64)| rstd * (d - mean_dy - h * mean_both);
        out.extend(dy.iter().zip(&normal).map(gradient));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sizes: &[(&str, u64)]) -> BTreeMap<String, u64> {
        sizes
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    }

    #[test]
    fn small_values() {
        let x: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let two = shape(&[("rows", 2), ("columns", 3)]);
        let of = |name: &str| compute(name, &[x], &two).unwrap();
        assert_eq!(of("transpose"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(of("sum_rows"), [6.0, 15.0]);
        assert_eq!(of("max_rows"), [3.0, 6.0]);
        assert!((of("softmax").iter().sum::<f64>() - 2.0).abs() < 1e-12);
        assert!((of("layer_norm")[0] + 1.2247).abs() < 1e-3);
        let sizes = shape(&[("m", 2), ("n", 2), ("k", 3)]);
        let y = compute("matmul", &[x, x], &sizes).unwrap();
        assert_eq!(y, [22.0, 28.0, 49.0, 64.0]);
        let y = compute("linear", &[x, x], &sizes).unwrap();
        assert_eq!(y, [14.0, 32.0, 32.0, 77.0]);
        assert_eq!(compute("sum", &[x], &shape(&[("n", 6)])).unwrap(), [21.0]);
        let g = compute("gelu", &[&[1.0]], &shape(&[("n", 1)])).unwrap();
        assert!((g[0] - 0.84119).abs() < 1e-4);
    }

    /// Gradients of sum(w y) against differences.
    #[test]
    fn gradients_are_slopes() {
        let x: &[f64] = &[0.3, -1.0, 2.0, 0.7, 0.1, -0.4];
        let w: &[f64] = &[1.0, -2.0, 0.5, 3.0, 0.2, 1.5];
        let two = shape(&[("rows", 2), ("columns", 3)]);
        let statistics: Vec<f64> = {
            let means = x.chunks(3).map(|r| r.iter().sum::<f64>() / 3.0);
            let means: Vec<f64> = means.collect();
            let spread = |(r, m): (&[f64], &f64)| {
                let variance = r.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / 3.0;
                1.0 / (variance + 1e-5).sqrt()
            };
            let rstds: Vec<f64> = x.chunks(3).zip(&means).map(spread).collect();
            [means, rstds].concat()
        };
        let y = compute("softmax", &[x], &two).unwrap();
        for (op, given) in [
            ("softmax", compute("softmax_backward", &[w, &y], &two)),
            (
                "layer_norm",
                compute("layer_norm_backward", &[w, x, &statistics], &two),
            ),
        ] {
            let loss = |x: &[f64]| -> f64 {
                let y = compute(op, &[x], &two).unwrap();
                y.iter().zip(w).map(|(y, w)| y * w).sum()
            };
            for (i, slope) in given.unwrap().into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut x = x.to_vec();
                    x[i] += by;
                    loss(&x)
                };
                let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((slope - wanted).abs() < 1e-6, "{op} {i}: {slope} {wanted}");
            }
        }
    }

    #[test]
    fn mistakes_say_what_is_needed() {
        let none = BTreeMap::new();
        assert!(
            compute("fft", &[&[1.0]], &none)
                .unwrap_err()
                .contains("there are copy, add")
        );
        assert!(
            compute("add", &[&[1.0]], &none)
                .unwrap_err()
                .contains("reads 2 inputs")
        );
        assert!(
            compute("sum", &[&[1.0]], &none)
                .unwrap_err()
                .contains("shape = { n = … }")
        );
        let long = shape(&[("n", 9)]);
        assert!(
            compute("sum", &[&[1.0]], &long)
                .unwrap_err()
                .contains("reads 9 values, the buffer has 1")
        );
    }
}
