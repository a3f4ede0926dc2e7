//! A debug mode for ids, indices and targets: the host waits for them and looks at each.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Refuses `indices` (u32) of which one is `count` or more and not `ignored`, if the device was opened with
/// `DeviceOptions::check_indices`. `what` is what the op calls one of them.
pub(crate) fn check_indices(
    op: &'static str,
    what: &str,
    indices: &Tensor,
    count: usize,
    ignored: Option<u32>,
) -> Result<()> {
    if !indices.device().checks_indices() {
        return Ok(());
    }
    let beyond = |value: &u32| *value as usize >= count && Some(*value) != ignored;
    let values = indices.to_vec::<u32>()?;
    let Some(first) = values.iter().position(beyond) else {
        return Ok(());
    };
    let mut place = vec![0; indices.rank()];
    let mut rest = first;
    for (at, side) in place.iter_mut().zip(indices.shape()).rev() {
        *at = rest % side;
        rest /= side;
    }
    Err(Error::op(
        op,
        format!(
            "{what} {} at {place:?} of {:?} is out of range: there are {count}, so it must be below that ({} of {} are not)",
            values[first],
            indices.shape(),
            values.iter().filter(|value| beyond(value)).count(),
            values.len(),
        ),
    ))
}
