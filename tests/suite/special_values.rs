//! NaN, infinities, zeros, denormals and far-out values go through the ops as in PyTorch. The expected values are
//! C's (which PyTorch has), or written out where PyTorch has rules of its own.

use wgrad::runtime::Emulated;
use wgrad::tensor::ops::cross_entropy::{CrossEntropy, Reduction};
use wgrad::tensor::{Device, DeviceOptions, Tensor};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

const VALUES: [f32; 17] = [
    NAN, INF, -INF, 0.0, -0.0, -1.0, 1.0, 1e-40, 89.0, 88.5, -100.0, 100.0, -1e30, 1e30, 0.5, -0.5,
    2.0,
];

/// Equal within 2e-6 of the value, both NaN, or the same infinity. A denormal may be flushed to 0.
fn same(got: f32, want: f32) -> bool {
    let flushed = want.abs() < f32::MIN_POSITIVE && got.abs() < f32::MIN_POSITIVE;
    let near = (got - want).abs() <= 2e-6 * want.abs();
    (got.is_nan() && want.is_nan()) || got == want || flushed || near
}

#[track_caller]
fn check(what: &str, x: &[f32], got: &Tensor, want: impl Fn(f32) -> f32) {
    let got = got.to_vec::<f32>().unwrap();
    assert_eq!(got.len(), x.len());
    for (x, got) in x.iter().zip(got) {
        let want = want(*x);
        assert!(
            same(got, want),
            "{what} of {x:e} is {got:e}, it should be {want:e}"
        );
    }
}

fn everywhere(run: impl Fn(&Device)) {
    run(&Device::open(DeviceOptions::default()).unwrap());
    let emulated = DeviceOptions {
        emulated: Some(Emulated {
            subgroup_size: 32,
            matrix_unit: None,
            limit: None,
            counts: false,
        }),
        ..Default::default()
    };
    run(&Device::open(emulated).unwrap());
}

fn leaf(device: &Device, values: &[f32]) -> Tensor {
    let x = Tensor::from_slice(device, values, &[values.len()]).unwrap();
    x.set_requires_grad(true).unwrap();
    x
}

fn gradient(x: &Tensor, y: &Tensor) -> Tensor {
    let ones = Tensor::full(y.device(), y.shape(), 1.0, y.dtype()).unwrap();
    y.backward_with(&ones).unwrap().get(x).unwrap().clone()
}

type Op = fn(&Tensor) -> wgrad::tensor::Result<Tensor>;
type Row = (&'static str, Op, fn(f64) -> f64, fn(f64) -> f64);

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Name, op, value and derivative.
const UNARY: &[Row] = &[
    ("neg", Tensor::neg, |x| -x, |_| -1.0),
    ("abs", Tensor::abs, f64::abs, |x| {
        if x == 0.0 || x.is_nan() {
            0.0
        } else {
            x.signum()
        }
    }),
    ("exp", Tensor::exp, f64::exp, f64::exp),
    ("log", Tensor::log, f64::ln, |x| 1.0 / x),
    ("sqrt", Tensor::sqrt, f64::sqrt, |x| 0.5 / x.sqrt()),
    (
        "rsqrt",
        Tensor::rsqrt,
        |x| 1.0 / x.sqrt(),
        |x| -0.5 / (x.sqrt() * x),
    ),
    (
        "relu",
        Tensor::relu,
        |x| if x <= 0.0 { 0.0 } else { x },
        |x| f64::from(x > 0.0 || x.is_nan()),
    ),
    ("tanh", Tensor::tanh, f64::tanh, |x| {
        1.0 - x.tanh() * x.tanh()
    }),
    ("sigmoid", Tensor::sigmoid, sigmoid, |x| {
        sigmoid(x) * (1.0 - sigmoid(x))
    }),
    (
        "silu",
        Tensor::silu,
        |x| x * sigmoid(x),
        |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    ),
    (
        "softplus",
        Tensor::softplus,
        |x| {
            if x.is_nan() {
                x
            } else {
                x.max(0.0) + (-x.abs()).exp().ln_1p()
            }
        },
        sigmoid,
    ),
    (
        "clamp",
        |x| x.clamp(-1.0, 1.0),
        |x| if x.is_nan() { x } else { x.clamp(-1.0, 1.0) },
        // PyTorch's is 0 at the bounds too.
        |x| f64::from(x > -1.0 && x < 1.0),
    ),
];

#[test]
fn pointwise() {
    everywhere(|device| {
        for (name, op, value, derivative) in UNARY {
            let x = leaf(device, &VALUES);
            let y = op(&x).unwrap();
            // The value in float64, then rounded: a large one becomes infinite as in float32.
            check(name, &VALUES, &y, |x| value(f64::from(x)) as f32);
            // Where the value is 0 only for rounding, the derivative of what was rounded differs.
            let denormal = |x: f32| x != 0.0 && x.abs() < f32::MIN_POSITIVE;
            let kept: Vec<f32> = VALUES.into_iter().filter(|x| !denormal(*x)).collect();
            let x = leaf(device, &kept);
            let dx = gradient(&x, &op(&x).unwrap());
            check(&format!("the gradient of {name}"), &kept, &dx, |x| {
                derivative(f64::from(x)) as f32
            });
        }
    });
}

#[test]
fn gelu_far_out() {
    everywhere(|device| {
        for op in [Tensor::gelu as Op, Tensor::gelu_tanh] {
            let x = leaf(device, &[NAN, INF, -100.0, 100.0, 0.0]);
            let y = op(&x).unwrap();
            let of = |values: [f32; 5]| {
                move |x: f32| match x {
                    _ if x.is_nan() => values[0],
                    INF => values[1],
                    -100.0 => values[2],
                    100.0 => values[3],
                    _ => values[4],
                }
            };
            let at = [NAN, INF, -100.0, 100.0, 0.0];
            check("gelu", &at, &y, of([NAN, INF, 0.0, 100.0, 0.0]));
            check(
                "the gradient of gelu",
                &at,
                &gradient(&x, &y),
                of([NAN, NAN, 0.0, 1.0, 0.5]),
            );
        }
    });
}

#[test]
fn powers() {
    let exponents = [
        -1.0f32, 0.0, 2.0, 3.0, -2.0, 31.0, -31.0, 2.5, -1.5, INF, -INF, NAN,
    ];
    everywhere(|device| {
        for a in exponents {
            let x = Tensor::from_slice(device, &VALUES, &[VALUES.len()]).unwrap();
            let want = |x: f32| f64::from(x).powf(f64::from(a)) as f32;
            check(
                &format!("pow_scalar {a}"),
                &VALUES,
                &x.pow_scalar(a).unwrap(),
                want,
            );
            let e = Tensor::full(device, &[], a, x.dtype()).unwrap();
            check(&format!("pow {a}"), &VALUES, &x.pow(&e).unwrap(), want);
        }
        let slopes: [(f32, f32, f32); 7] = [
            (0.0, 0.0, 0.0),
            (0.0, -1.0, -INF),
            (-2.0, 2.0, -4.0),
            (-2.0, 3.0, 12.0),
            (-2.0, 2.5, NAN),
            (NAN, 0.0, 0.0),
            (-2.0, -1.0, -0.25),
        ];
        for (x, a, want) in slopes {
            let x = leaf(device, &[x]);
            let y = x.pow_scalar(a).unwrap();
            check(
                &format!("the gradient of pow_scalar {a}"),
                &[0.0],
                &gradient(&x, &y),
                |_| want,
            );
            let e = Tensor::full(device, &[1], a, x.dtype()).unwrap();
            let y = x.pow(&e).unwrap();
            check(
                &format!("the gradient of pow {a}"),
                &[0.0],
                &gradient(&x, &y),
                |_| want,
            );
        }
        // The gradient of the exponent: x^a log x, 0 for x = 0.
        for (x, a, want) in [
            (0.0f32, 2.0f32, 0.0),
            (0.0, 0.0, 0.0),
            (0.0, -1.0, -INF),
            (-2.0, 2.0, NAN),
        ] {
            let base = Tensor::full(device, &[1], x, wgrad::tensor::DType::F32).unwrap();
            let e = leaf(device, &[a]);
            let y = base.pow(&e).unwrap();
            check(
                &format!("the gradient of {x}^a"),
                &[a],
                &gradient(&e, &y),
                |_| want,
            );
        }
    });
}

#[test]
fn pairs() {
    everywhere(|device| {
        let b = leaf(device, &[NAN, 1.0, NAN, -INF, 0.0]);
        let x = leaf(device, &[1.0, NAN, NAN, 1.0, 1e-20]);
        let larger = x.maximum(&b).unwrap().to_vec::<f32>().unwrap();
        let smaller = x.minimum(&b).unwrap().to_vec::<f32>().unwrap();
        assert!(
            larger[..3].iter().chain(&smaller[..3]).all(|v| v.is_nan()),
            "{larger:?} {smaller:?}"
        );
        assert_eq!(
            (larger[3], larger[4], smaller[3], smaller[4]),
            (1.0, 1e-20, -INF, 0.0)
        );
        // b * b would be 0.
        let a = leaf(device, &[1.0, 0.0, -3.0]);
        let b = leaf(device, &[1e-15, 1e-25, 1e10]);
        let y = a.div(&b).unwrap();
        let at = [0.0, 1.0, 2.0];
        check("the gradient of div", &at, &gradient(&b, &y), |i| {
            [-1e30, 0.0, 3e-20][i as usize]
        });
    });
}

#[test]
fn reductions() {
    everywhere(|device| {
        for n in [3usize, 40, 2500] {
            let mut rows = vec![-INF; 4 * n];
            rows[n + n / 2] = NAN; // the second row holds a NaN, the third an infinity, the last only NaN
            rows[2 * n + n - 1] = INF;
            rows[3 * n..].fill(NAN);
            for transposed in [false, true] {
                let x = Tensor::from_slice(device, &rows, &[4, n]).unwrap();
                // The same values, along a dimension that is not the inner one in memory.
                let x = match transposed {
                    true => {
                        let columns = x.transpose(0, 1).unwrap().contiguous().unwrap();
                        columns.transpose(0, 1).unwrap()
                    }
                    false => x,
                };
                let max = x.max(&[1], false).unwrap();
                let min = x.neg().unwrap().min(&[1], false).unwrap();
                let at = [0.0, 1.0, 2.0, 3.0];
                check("max", &at, &max, |i| [-INF, NAN, INF, NAN][i as usize]);
                check("min", &at, &min, |i| [INF, NAN, -INF, NAN][i as usize]);
                let argmax = x.argmax(1, false).unwrap().to_vec::<u32>().unwrap();
                assert_eq!(argmax, [0, n as u32 / 2, n as u32 - 1, 0]);
                let argmin = x
                    .neg()
                    .unwrap()
                    .argmin(1, false)
                    .unwrap()
                    .to_vec::<u32>()
                    .unwrap();
                assert_eq!(argmin, argmax);
                let sum = x.sum(&[1], false).unwrap();
                check("sum", &at, &sum, |i| [-INF, NAN, NAN, NAN][i as usize]);
            }
        }
    });
}

#[test]
fn softmax_and_losses() {
    everywhere(|device| {
        for n in [3usize, 8, 64, 300, 2000] {
            let mut rows = vec![0.0; 5 * n];
            rows[0] = NAN;
            rows[n + 1] = INF;
            rows[2 * n..3 * n].fill(-INF);
            rows[3 * n + 2] = -INF;
            rows[4 * n..].fill(3e38);
            let x = Tensor::from_slice(device, &rows, &[5 * n]).unwrap();
            let x = x.reshape(&[5, n]).unwrap();
            let y = x.softmax(-1).unwrap().to_vec::<f32>().unwrap();
            let log = x.log_softmax(-1).unwrap().to_vec::<f32>().unwrap();
            for i in 0..3 * n {
                assert!(
                    y[i].is_nan() && log[i].is_nan(),
                    "{n} columns, {i}: {} {}",
                    y[i],
                    log[i]
                );
            }
            for j in 0..n {
                let (want, want_log) = match j {
                    2 => (0.0, -INF),
                    _ => (1.0 / (n as f32 - 1.0), -(n as f32 - 1.0).ln()),
                };
                assert!(
                    same(y[3 * n + j], want),
                    "{n} columns, {j}: {}",
                    y[3 * n + j]
                );
                assert!(
                    same(log[3 * n + j], want_log),
                    "{n} columns, {j}: {}",
                    log[3 * n + j]
                );
                assert!(same(y[4 * n + j], 1.0 / n as f32));
            }
            let targets = Tensor::from_slice(device, &[1u32, 1, 1, 2, 1], &[5]).unwrap();
            let options = CrossEntropy {
                reduction: Reduction::None,
                ..Default::default()
            };
            let loss = x.cross_entropy(&targets, &options).unwrap();
            let at = [0.0, 1.0, 2.0, 3.0, 4.0];
            check("cross_entropy", &at, &loss, |i| {
                [NAN, NAN, NAN, INF, (n as f32).ln()][i as usize]
            });
        }
        // Attention scores are often masked this way.
        let scores = Tensor::from_slice(device, &[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let mask = Tensor::from_slice(device, &[0u32, 1, 0, 0], &[2, 2]).unwrap();
        let y = scores
            .masked_fill(&mask, -INF)
            .unwrap()
            .softmax(-1)
            .unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap()[..2], [1.0, 0.0]);
    });
}

#[test]
fn products() {
    everywhere(|device| {
        // Odd and even sides: what kernels read beyond a matrix meets no infinity.
        for (m, k, n) in [
            (1, 5, 3),
            (3, 7, 5),
            (33, 40, 36),
            (64, 64, 64),
            (130, 33, 70),
        ] {
            let mut a = vec![1.0f32; m * k];
            let mut b = vec![1.0f32; k * n];
            a[0] = INF; // the first row
            a[(m - 1) * k + k - 1] = if m > 1 { NAN } else { 1.0 }; // the last row
            b[n - 1] = -INF; // the last column
            let y = Tensor::from_slice(device, &a, &[m, k]).unwrap();
            let y = y
                .matmul(&Tensor::from_slice(device, &b, &[k, n]).unwrap())
                .unwrap();
            let y = y.to_vec::<f32>().unwrap();
            for i in 0..m {
                for j in 0..n {
                    let want: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                    assert!(
                        same(y[i * n + j], want),
                        "({m}, {k}) x ({k}, {n}): {i}, {j}: {}",
                        y[i * n + j]
                    );
                }
            }
        }
    });
}
