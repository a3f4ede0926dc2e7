//! A table larger than one binding: GPT-2's is 154 MB, and WebGPU promises 128 MiB a binding.

use wgrad::tensor::ops::embedding::embedding;
use wgrad::tensor::ops::matmul::MatmulVariant;
use wgrad::tensor::{Device, DeviceOptions, Tensor};

#[test]
fn embedding_reaches_all_rows_of_a_table_beyond_one_binding() {
    let device = Device::open(DeviceOptions {
        webgpu_limits: true,
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one");
    let (rows, channels) = (50_257, 801);
    assert!((rows * channels * 4) as u64 > device.max_binding_bytes());
    // Row r holds r, r + 1, ...: exact in f32.
    let values: Vec<f32> = (0..rows * channels)
        .map(|i| (i / channels + i % channels) as f32)
        .collect();
    let weight = Tensor::from_slice(&device, &values, &[rows, channels]).unwrap();
    weight.set_requires_grad(true).unwrap();
    // The first and last rows, those around the border of the first window, and repeats.
    let border = (device.max_binding_bytes() as usize) / (channels * 4);
    let mut ids: Vec<u32> = vec![0, 1, rows as u32 - 2, rows as u32 - 1];
    ids.extend((border - 2..border + 3).map(|row| row as u32));
    ids.extend([border as u32; 70]);
    ids.extend([5, rows as u32 - 1, 5]);
    let n = ids.len();
    let y = embedding(
        &weight,
        &Tensor::from_slice(&device, &ids, &[n]).unwrap(),
        None,
    )
    .unwrap();
    let want: Vec<f32> = ids
        .iter()
        .flat_map(|id| (0..channels).map(move |c| (*id as usize + c) as f32))
        .collect();
    assert_eq!(y.to_vec::<f32>().unwrap(), want);

    let dy = Tensor::ones(&device, &[n, channels], y.dtype()).unwrap();
    let gradients = y.backward_with(&dy).unwrap();
    let dw: Vec<f32> = gradients.get(&weight).unwrap().to_vec().unwrap();
    let mut counts = vec![0.0f32; rows];
    for id in &ids {
        counts[*id as usize] += 1.0;
    }
    for (row, count) in dw.chunks(channels).zip(&counts) {
        assert!(row.iter().all(|v| v == count));
    }
}

/// More tiles of a product, and more batches of it, than a grid has places along a side.
#[test]
fn products_may_have_more_tiles_than_a_grids_limit() {
    let device = Device::open(DeviceOptions::default())
        .expect("an adapter; `cargo xtask test` installs one");
    let of = |shape: &[usize], step: usize| {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (i * step % 13) as f32 - 6.0)
            .collect();
        Tensor::from_slice(&device, &values, shape).unwrap()
    };
    let check = |variant, m: usize, n: usize, y: &Tensor, a: &Tensor, b: &Tensor| {
        let [y, a, b] = [y, a, b].map(|x| x.contiguous().unwrap().to_vec::<f32>().unwrap());
        for (at, y) in y.iter().enumerate() {
            let (batch, i, j) = (at / (m * n), at / n % m, at % n);
            let product = |p: usize| a[(batch * m + i) * 4 + p] * b[(batch * 4 + p) * n + j];
            let sum: f32 = (0..4).map(product).sum();
            assert_eq!(*y, sum, "{variant:?} {batch} {i} {j}");
        }
    };
    let long = 65_535 * 32 + 33;
    for (variant, m, n) in [
        (MatmulVariant::Simple, long / 2 + 1, 1),
        (MatmulVariant::Tiled, long, 4),
        (MatmulVariant::Subgroup, long, 4),
        (MatmulVariant::Vector, 1, 65_535 * 4 + 8),
        (MatmulVariant::Tiled, 4, long),
    ] {
        let a = of(&[m, 4], 5);
        let b = of(&[n, 4], 7).transpose(0, 1).unwrap();
        let y = a.matmul_with(&b, Some(variant)).unwrap();
        check(variant, m, n, &y, &a, &b);
    }
    let (a, b) = (of(&[65_540, 3, 4], 5), of(&[65_540, 4, 2], 7));
    for variant in [
        MatmulVariant::Simple,
        MatmulVariant::Tiled,
        MatmulVariant::Subgroup,
    ] {
        let y = a.matmul_with(&b, Some(variant)).unwrap();
        check(variant, 3, 2, &y, &a, &b);
    }
}
