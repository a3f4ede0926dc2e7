//! Ids, indices and targets out of range are errors on a device that checks them.

use wgrad::tensor::ops::cross_entropy::CrossEntropy;
use wgrad::tensor::ops::embedding::embedding;
use wgrad::tensor::{Device, DeviceOptions, Tensor};

#[test]
fn indices_out_of_range_are_refused_on_request() {
    let options = DeviceOptions {
        check_indices: true,
        ..Default::default()
    };
    let device = Device::open(options).unwrap();
    let x = Tensor::zeros(&device, &[3, 4], wgrad::tensor::DType::F32).unwrap();
    let ids = Tensor::from_slice(&device, &[0u32, 2, 7, 3], &[2, 2]).unwrap();
    let message = |result: wgrad::tensor::Result<Tensor>| result.unwrap_err().to_string();
    assert_eq!(
        message(embedding(&x, &ids, None)),
        "embedding: id 7 at [1, 0] of [2, 2] is out of range: there are 3, so it must be below that (2 of 4 are not)"
    );
    assert!(message(x.gather(1, &ids)).starts_with("gather: index 7 at [1, 0] of [2, 2]"));
    let flat = ids.reshape(&[4]).unwrap();
    assert!(message(x.index_select(0, &flat)).starts_with("index_select: index 7 at [2] of [4]"));
    let targets = flat.narrow(0, 1, 3).unwrap();
    let options = CrossEntropy::default();
    assert!(
        message(x.cross_entropy(&targets, &options)).starts_with("cross_entropy: target 7 at [1]")
    );
    let ignored = CrossEntropy {
        ignore_index: Some(7),
        ..options
    };
    x.cross_entropy(&targets, &ignored).unwrap();
    // Without the option the last row counts, as documented.
    let device = Device::open(DeviceOptions::default()).unwrap();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3, 1]).unwrap();
    let ids = Tensor::from_slice(&device, &[7u32], &[1]).unwrap();
    assert_eq!(
        embedding(&x, &ids, None).unwrap().to_vec::<f32>().unwrap(),
        [3.0]
    );
}
