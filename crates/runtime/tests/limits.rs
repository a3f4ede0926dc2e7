//! Memory beyond one binding, up to the largest buffer: the limits are lowered so that small buffers meet them.

use wgrad_runtime::{Device, DeviceOptions, Error};

const LARGEST: u64 = 2 << 20;

fn device() -> Device {
    Device::open(DeviceOptions {
        max_binding_bytes: Some(64 << 10),
        max_buffer_bytes: Some(LARGEST),
        ..Default::default()
    })
    .expect("an adapter; `cargo xtask test` installs one")
}

fn bytes(n: u64) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn the_limits_are_lowered() {
    let device = device();
    assert_eq!(device.max_binding_bytes(), 64 << 10);
    assert_eq!(device.max_buffer_bytes(), LARGEST);
    let refused = device.alloc(LARGEST + 4).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused}");
}

#[test]
fn the_largest_buffer_is_written_read_copied_and_zeroed() {
    let device = device();
    let values = bytes(LARGEST);
    let x = device.alloc(LARGEST).unwrap();
    device.upload(&x, 0, &values).unwrap();
    assert!(device.read(&x, 0, LARGEST).unwrap() == values);
    let y = device.alloc(LARGEST).unwrap();
    device.copy(&x, 4, &y, 0, LARGEST - 4).unwrap();
    assert!(device.read(&y, 0, LARGEST - 4).unwrap() == values[4..]);
    device.zero(&y).unwrap();
    assert!(device.read(&y, 0, LARGEST).unwrap() == vec![0; LARGEST as usize]);
    // A part alone, in the middle.
    assert!(device.read(&x, 1 << 20, 8).unwrap() == values[1 << 20..(1 << 20) + 8]);
}

/// A read of more than is staged at once: 16 MiB where no limit is lower.
#[test]
fn large_reads_and_writes_go_in_chunks() {
    let device = Device::open(DeviceOptions::default()).expect("an adapter");
    let n = (40 << 20) + 12;
    let values = bytes(n);
    let x = device.alloc(n).unwrap();
    device.upload(&x, 0, &values).unwrap();
    assert!(device.read(&x, 0, n).unwrap() == values);
    assert!(device.read(&x, 4, n - 8).unwrap() == values[4..n as usize - 4]);
}

#[test]
fn buffers_are_packed_up_to_the_largest() {
    let device = device();
    let half = LARGEST / 2;
    let values = bytes(half);
    let parts = [0, 1].map(|_| device.alloc(half).unwrap());
    for part in &parts {
        device.upload(part, 0, &values).unwrap();
    }
    let all = device.pack(&[&parts[0], &parts[1]]).unwrap();
    assert_eq!(all.size(), LARGEST);
    for part in &parts {
        assert!(device.read(part, 0, half).unwrap() == values);
    }
    let more = device.alloc(256).unwrap();
    let refused = device.pack(&[&all, &more]).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused}");
    assert!(device.read(&parts[1], 0, half).unwrap() == values);
}

/// What a failed submit should have computed stays an error until it is computed again, and other buffers are not lost.
#[test]
fn results_of_a_failed_submit_stay_errors() {
    const BOTH: &str = "
        @group(0) @binding(1) var<storage, read> x: array<u32>;
        @group(0) @binding(2) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(1)
        fn both() { y[0] = x[0] + 1u; }";
    let device = Device::open(DeviceOptions::default()).expect("an adapter");
    let kernel = std::sync::Arc::new(device.compile("both", BOTH).unwrap());
    let buffer = |value: u32| {
        let buffer = device.alloc(4).unwrap();
        device.upload(&buffer, 0, &value.to_le_bytes()).unwrap();
        buffer
    };
    let (x, y, z) = (buffer(1), buffer(2), buffer(3));
    device.launch(&kernel).bind(&x).bind(&y).groups(1).unwrap();
    // A buffer that a launch reads and writes at once is refused here, or by wgpu when it is submitted.
    let refused = device
        .launch(&kernel)
        .bind(&z)
        .bind(&z)
        .groups(1)
        .and_then(|()| device.flush());
    let lost = refused.is_err() && device.read(&y, 0, 4).is_err();
    if lost {
        let again = device.read(&y, 0, 4).unwrap_err();
        assert!(matches!(again, Error::ResultLost { .. }), "{again}");
        device.upload(&y, 0, &5u32.to_le_bytes()).unwrap();
        assert_eq!(device.read(&y, 0, 4).unwrap(), 5u32.to_le_bytes());
    } else {
        assert_eq!(device.read(&y, 0, 4).unwrap(), 2u32.to_le_bytes());
    }
    assert_eq!(device.read(&x, 0, 4).unwrap(), 1u32.to_le_bytes());
}
