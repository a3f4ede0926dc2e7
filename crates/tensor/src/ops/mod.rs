//! The ops, one file each: shape rule, forward, backward, float64 reference and cases.

pub mod binary;
pub mod copy;
pub mod reduce;
pub mod unary;
pub mod view;

use crate::cases::Case;

/// Every case of every op: what `wgrad doctor` and the tests run.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    unary::cases(&mut all);
    binary::cases(&mut all);
    copy::cases(&mut all);
    view::cases(&mut all);
    reduce::cases(&mut all);
    all
}
