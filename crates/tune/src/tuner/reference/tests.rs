use super::*;

fn shape(sizes: &[(&str, u64)]) -> BTreeMap<String, u64> {
    sizes
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect()
}

fn first(name: &str, inputs: &[&[f64]], shape: &BTreeMap<String, u64>) -> Vec<f64> {
    compute(name, inputs, shape).unwrap().remove(0)
}

#[test]
fn small_values() {
    let x: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let two = shape(&[("rows", 2), ("columns", 3)]);
    let of = |name: &str| first(name, &[x], &two);
    assert_eq!(of("transpose"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(of("sum_rows"), [6.0, 15.0]);
    assert_eq!(of("max_rows"), [3.0, 6.0]);
    assert!((of("softmax").iter().sum::<f64>() - 2.0).abs() < 1e-12);
    assert!((of("layer_norm")[0] + 1.2247).abs() < 1e-3);
    let sizes = shape(&[("m", 2), ("n", 2), ("k", 3)]);
    let y = first("matmul", &[x, x], &sizes);
    assert_eq!(y, [22.0, 28.0, 49.0, 64.0]);
    let y = first("linear", &[x, x], &sizes);
    assert_eq!(y, [14.0, 32.0, 32.0, 77.0]);
    assert_eq!(first("sum", &[x], &shape(&[("n", 6)])), [21.0]);
    let g = first("gelu", &[&[1.0]], &shape(&[("n", 1)]));
    assert!((g[0] - 0.84119).abs() < 1e-4);
}

/// Compares gradients of sum(w y) with finite differences.
#[test]
fn gradients_match_finite_differences() {
    let x: &[f64] = &[0.3, -1.0, 2.0, 0.7, 0.1, -0.4];
    let w: &[f64] = &[1.0, -2.0, 0.5, 3.0, 0.2, 1.5];
    let two = shape(&[("rows", 2), ("columns", 3)]);
    let weight: &[f64] = &[2.0, -0.5, 1.5];
    let y = first("softmax", &[x], &two);
    let results = compute("layer_norm", &[x, weight], &two).unwrap();
    let [_, statistics] = &results[..] else {
        panic!("{results:?}")
    };
    let backward = [w, x, statistics, weight];
    for (op, inputs, given) in [
        (
            "softmax",
            &[x][..],
            first("softmax_backward", &[w, &y], &two),
        ),
        (
            "layer_norm",
            &[x, weight],
            first("layer_norm_backward", &backward, &two),
        ),
    ] {
        let loss = |x: &[f64]| -> f64 {
            let mut inputs = inputs.to_vec();
            inputs[0] = x;
            let y = first(op, &inputs, &two);
            y.iter().zip(w).map(|(y, w)| y * w).sum()
        };
        for (i, slope) in given.into_iter().enumerate() {
            let moved = |by: f64| {
                let mut x = x.to_vec();
                x[i] += by;
                loss(&x)
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!(
                (slope - expected).abs() < 1e-6,
                "{op} {i}: {slope} {expected}"
            );
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

#[test]
fn layer_norm_takes_weight_and_bias() {
    let x: &[f64] = &[1.0, 3.0, 5.0, 5.0];
    let two = shape(&[("rows", 2), ("columns", 2)]);
    let (weight, bias): (&[f64], &[f64]) = (&[2.0, 10.0], &[0.5, 7.0]);
    let results = compute("layer_norm", &[x, weight, bias], &two).unwrap();
    let near = |a: &[f64], b: [f64; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(near(&results[0], [-1.5, 17.0, 0.5, 7.0]), "{results:?}");
    let rstd = 1.0 / 1e-5f64.sqrt();
    assert!(near(&results[1], [2.0, 5.0, 1.0, rstd]), "{results:?}");
    let error = compute("layer_norm", &[x; 4], &two).unwrap_err();
    assert!(error.contains("reads 1 to 3 inputs, 4"), "{error}");
}
