//! The meter on this machine's adapter. Bounds are wide: other programs may run.

use wgrad_runtime::{Buffer, Defines, Device, DeviceOptions};

use super::*;

fn copy(device: &Device, x: &Buffer, y: &Buffer) -> anyhow::Result<()> {
    let kernel = device.kernel("peak_copy", &Defines::new())?;
    let n = x.size() / 16;
    let launch = device.launch(&kernel).u32("n", n as usize);
    Ok(launch.bind(x).bind(y).invocations(n)?)
}

#[test]
fn more_work_takes_longer_and_launches_are_counted() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let pair = |bytes: u64| (device.alloc(bytes).unwrap(), device.alloc(bytes).unwrap());
    let (small, large) = (pair(1 << 18), pair(1 << 22));
    let mut meter = Meter::new(&device, Settings::quick()).unwrap();
    assert!(meter.launch_cost() < 0.01, "{}", meter.launch_cost());
    let mut once = || copy(&device, &small.0, &small.1);
    let mut twice = || {
        copy(&device, &large.0, &large.1)?;
        copy(&device, &large.0, &large.1)
    };
    let both = meter.interleave(&mut [&mut once, &mut twice]).unwrap();
    // 32 times the bytes.
    let ratio = stats::paired_ratio(&both[1].samples, &both[0].samples);
    assert!((3.0..300.0).contains(&ratio.median), "{ratio:?}");
    assert_eq!((both[0].launches, both[1].launches), (1.0, 2.0));
    for one in &both {
        // Turns beside which the machine was slower are thrown away: few may be left where other programs run.
        assert!(one.count >= 1 && one.count + one.discarded >= 3, "{one:?}");
        assert_eq!(one.samples.len(), one.count);
        assert!(
            0.0 < one.time.low && one.time.low <= one.time.median,
            "{one:?}"
        );
        assert!(
            one.best <= one.time.median && one.time.median <= one.time.high,
            "{one:?}"
        );
        assert_eq!(one.by_device, device.has_timestamps());
    }
}

#[test]
fn cold_samples_are_single_calls() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let (x, y) = (
        device.alloc(1 << 16).unwrap(),
        device.alloc(1 << 16).unwrap(),
    );
    let settings = Settings {
        cache: Cache::Cold,
        drift: None,
        most: 8,
        ..Settings::quick()
    };
    let done = measure(&device, &settings, || copy(&device, &x, &y)).unwrap();
    assert_eq!((done.calls, done.discarded, done.steady), (1, 0, true));
}

#[test]
fn an_error_of_the_call_comes_back() {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let failed = measure(&device, &Settings::quick(), || {
        anyhow::bail!("no such thing")
    });
    assert_eq!(failed.unwrap_err().to_string(), "no such thing");
}
