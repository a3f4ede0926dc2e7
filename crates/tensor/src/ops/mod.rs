//! The ops, one file each: shape rule, forward, backward, float64 reference and cases.

pub mod activation;
pub mod argmax;
pub mod attention;
pub mod binary;
pub(crate) mod check_indices;
pub mod concat;
pub mod copy;
pub mod cross_entropy;
pub mod dropout;
mod elementwise;
pub mod embedding;
pub mod gather;
pub mod layer_norm;
pub mod losses;
pub mod matmul;
mod operators;
pub mod optim;
mod pieces;
pub mod rand;
pub mod reduce;
pub mod rope;
pub mod rows;
mod scatter;
pub mod slice;
pub mod softmax;
pub mod tunable;
pub mod unary;
pub mod view;
pub mod where_op;

use wgrad_runtime::Device;

use crate::cases::Case;

/// Runs the self-tests of experimental kernels that this device may choose: matrix units on a GPU. It waits for the
/// device. Kernels that were not tested are not chosen, so a program that computes in f16 calls this before its first
/// pass; a loss scaler does it. Without the call the tests run when the program first reads a value back, and a resumed
/// run may take other kernels than the one it continues.
pub fn run_self_tests(device: &Device) {
    if matmul::may_use_units(device) {
        // The results are stored; the choice of kernels reads them.
        let _ = matmul::cooperative_self_test(device);
        let _ = attention::cooperative_self_test(device);
    }
}

/// Every case of every op: what `wgrad doctor` and the tests run.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    unary::cases(&mut all);
    binary::cases(&mut all);
    copy::cases(&mut all);
    view::cases(&mut all);
    matmul::cases(&mut all);
    optim::cases(&mut all);
    reduce::cases(&mut all);
    argmax::cases(&mut all);
    attention::cases(&mut all);
    concat::cases(&mut all);
    cross_entropy::cases(&mut all);
    dropout::cases(&mut all);
    embedding::cases(&mut all);
    gather::cases(&mut all);
    layer_norm::cases(&mut all);
    losses::cases(&mut all);
    rand::cases(&mut all);
    rope::cases(&mut all);
    slice::cases(&mut all);
    softmax::cases(&mut all);
    where_op::cases(&mut all);
    all
}
