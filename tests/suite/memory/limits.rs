//! Memory beyond the limits of a binding and of a buffer.

use wgrad::tensor::{DType, Device, DeviceOptions, Tensor};

/// A device on which small tensors are larger than a binding, and larger than one staging buffer.
fn small_limits() -> Device {
    Device::open(DeviceOptions {
        max_binding_bytes: Some(64 << 10),
        max_buffer_bytes: Some(2 << 20),
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

/// Uploads, reads, zeros, copies and packing know no limit of a binding, and go in chunks no larger than a buffer.
#[test]
fn memory_moves_beyond_a_binding_and_up_to_the_largest_buffer() {
    let device = small_limits();
    let n = (device.max_buffer_bytes() as usize & !15) / 4;
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&device, &values, &[n]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), values);
    let y = Tensor::zeros(&device, &[n], DType::F32).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), vec![0.0; n]);
    device
        .copy(x.buffer(), 0, y.buffer(), 0, 4 * n as u64)
        .unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), values);
    let text = Tensor::zeros(&device, &[n + 4], DType::F32)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(text.contains("beyond this adapter's limit"), "{text}");

    let halves: Vec<Tensor> = values[..n - 128]
        .chunks(n / 2 - 64)
        .map(|half| Tensor::from_slice(&device, half, &[half.len()]).unwrap())
        .collect();
    Tensor::pack(&[&halves[0], &halves[1]]).unwrap();
    for (half, values) in halves.iter().zip(values.chunks(n / 2 - 64)) {
        assert_eq!(half.to_vec::<f32>().unwrap(), values);
    }
}

/// Reading a view of a large tensor takes what the view holds, not the whole.
#[test]
fn a_view_of_a_large_tensor_is_read_alone() {
    let device = small_limits();
    let rows = 4096;
    let values: Vec<f32> = (0..rows * 64).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&device, &values, &[rows, 64]).unwrap();
    device.trim().unwrap();
    let (before, launches) = (device.memory(), device.counters().0);
    let part = x.narrow(0, rows - 3, 2);
    let part = part.unwrap().to_vec::<f32>().unwrap();
    assert_eq!(part, values[(rows - 3) * 64..(rows - 1) * 64]);
    assert_eq!((device.memory(), device.counters().0), (before, launches));
}
