//! A table of tuned choices decides how the ops run, as far as the device and the shape allow it.

use wgrad::tensor::ops::matmul::TUNABLE;
use wgrad::tensor::runtime::variants::VariantTable;
use wgrad::tensor::{DType, Device, DeviceOptions, Tensor};

/// A device whose table says `values` of `file` for `kernel`, of every shape.
fn device(kernel: &str, file: &str, values: &[(&str, u32)]) -> Device {
    let open = |variants| {
        Device::open(DeviceOptions {
            variants,
            ..Default::default()
        })
        .expect("an adapter; `cargo xtask test` installs one")
    };
    let adapter = open(VariantTable::default()).adapter().clone();
    open(VariantTable::always(&adapter, kernel, file, values))
}

/// Whether `device` has compiled `kernel` with all of `words`.
fn compiled(device: &Device, kernel: &str, words: &[&str]) -> bool {
    let fits = |variant: &str| words.iter().all(|word| variant.contains(word));
    let all = device.kernels();
    all.iter().any(|k| k.name == kernel && fits(&k.variant))
}

/// (rows, columns): values that differ, small enough for sums to be exact in f32.
fn matrix(device: &Device, rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| ((i * 7) % 11) as f32 - 5.0)
        .collect();
    Tensor::from_slice(device, &values, &[rows, columns]).unwrap()
}

#[test]
fn a_table_sets_the_width_of_rows() {
    let run = |device: &Device| -> Vec<f32> {
        let x = matrix(device, 70, 256);
        x.softmax(-1).unwrap().to_vec().unwrap()
    };
    let tuned = device("softmax", "softmax", &[("WIDTH", 32), ("CACHE", 1)]);
    let values = run(&tuned);
    assert!(compiled(&tuned, "softmax", &["CACHE", "WIDTH: u32 = 32u"]));
    let sums = values.chunks(256).map(|row| row.iter().sum::<f32>());
    assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));

    // No tree of sums has this width.
    let bad = device("softmax", "softmax", &[("WIDTH", 96), ("CACHE", 1)]);
    let far = run(&bad)
        .iter()
        .zip(&values)
        .any(|(a, b)| (a - b).abs() > 1e-6);
    assert!(!far && !compiled(&bad, "softmax", &["WIDTH: u32 = 96u"]));

    let norm = device("layer_norm", "layer_norm", &[("WIDTH", 128), ("CACHE", 0)]);
    let y = matrix(&norm, 70, 256).layer_norm(None, None, 1e-5).unwrap();
    assert!(y.to_vec::<f32>().unwrap().iter().all(|v| v.is_finite()));
    assert!(compiled(&norm, "layer_norm", &["WIDTH: u32 = 128u"]));
    assert!(!compiled(&norm, "layer_norm", &["CACHE"]));
}

#[test]
fn a_table_chooses_products_and_tiles() {
    for choice in TUNABLE {
        let device = device("matmul", choice.file, choice.values);
        let ones = |shape: &[usize]| Tensor::ones(&device, shape, DType::F32).unwrap();
        let y = ones(&[100, 40]).matmul(&ones(&[40, 72])).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), vec![40.0; 7200], "{choice:?}");
        // What no kernel has, or not for so many rows or on every adapter: the rule.
        let whole = match choice.file {
            "matmul_subgroup" => device.subgroup_size() == Some(8),
            "matmul_cooperative" => {
                let f32_units = device.matrix_unit().is_some_and(|unit| !unit.half);
                f32_units && choice.values.len() == 5
            }
            _ => choice.values.len() == 5,
        };
        let lines = choice
            .values
            .iter()
            .map(|(name, v)| format!("{name}: u32 = {v}u;"));
        let lines: Vec<String> = lines.collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert!(
            !whole || compiled(&device, choice.file, &lines),
            "{choice:?}"
        );
    }
}

#[test]
fn a_table_sets_the_parts_of_long_sums() {
    for (parts, cut) in [(4, true), (3, false), (0, false), (1000, false)] {
        let device = device("matmul", "matmul_tiled", &[("BM", 32), ("PARTS", parts)]);
        let (a, b) = (matrix(&device, 33, 256), matrix(&device, 256, 20));
        let y: Vec<f32> = a.matmul(&b).unwrap().to_vec().unwrap();
        let (a, b) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
        let expected = (0..33 * 20).map(|i| {
            let (row, column) = (i / 20, i % 20);
            (0..256)
                .map(|k| a[row * 256 + k] * b[k * 20 + column])
                .sum::<f32>()
        });
        assert_eq!(y, expected.collect::<Vec<f32>>(), "{parts}");
        assert!(compiled(&device, "matmul_tiled", &[]));
        assert_eq!(compiled(&device, "matmul_finish", &[]), cut, "{parts}");
    }
}

#[test]
fn a_table_distinguishes_layers_from_products() {
    let device = device("linear", "matmul_vector", &[]);
    let product = |a: &Tensor, b: &Tensor| a.matmul(b).unwrap().to_vec::<f32>().unwrap();
    // Few rows by a weight (out, in): what the table speaks of.
    let (x, weight) = (matrix(&device, 2, 64), matrix(&device, 68, 64));
    let layer = product(&x, &weight.transpose(0, 1).unwrap());
    assert!(compiled(&device, "matmul_vector", &["B_ALONG_K"]));
    // More rows than that kernel takes: the rule.
    let many = matrix(&device, 64, 64);
    product(&many, &many.transpose(0, 1).unwrap());
    let vectors = device
        .kernels()
        .into_iter()
        .filter(|k| k.name == "matmul_vector");
    assert_eq!(vectors.count(), 1);
    let (x, weight) = (x.to_vec::<f32>().unwrap(), weight.to_vec::<f32>().unwrap());
    let rows = x
        .chunks(64)
        .flat_map(|x| weight.chunks(64).map(move |w| (x, w)));
    let dot = |(x, w): (&[f32], &[f32])| x.iter().zip(w).map(|(a, b)| a * b).sum::<f32>();
    assert_eq!(layer, rows.map(dot).collect::<Vec<f32>>());
}
