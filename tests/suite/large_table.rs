//! A table larger than one binding: GPT-2's is 154 MB, and WebGPU promises 128 MiB a binding.

use wgrad::tensor::ops::embedding::embedding;
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
