//! The table of rotary positions, which grows with the longest text seen.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use wgrad_tensor::{Device, Tensor, rope_frequencies, rope_table};

/// Positions of the first table.
const FIRST: usize = 256;

/// Cosines and sines by position (Su et al., arXiv:2104.09864), made when they are asked for: a model may
/// allow a million positions and be given ten.
pub(crate) struct Rotary {
    device: Device,
    channels: usize,
    theta: f64,
    most: usize,
    table: Mutex<Option<Tensor>>,
}

impl Rotary {
    /// For heads of `channels` and at most `most` positions.
    pub(crate) fn new(device: &Device, channels: usize, theta: f64, most: usize) -> Self {
        Self {
            device: device.clone(),
            channels,
            theta,
            most,
            table: Mutex::new(None),
        }
    }

    /// A table with at least `positions` rows. Errors where the model has fewer.
    pub(crate) fn table(&self, positions: usize) -> Result<Tensor> {
        ensure!(
            positions <= self.most,
            "a text of {positions} tokens is longer than the model's {} positions",
            self.most
        );
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = &*table
            && table.shape()[0] >= positions
        {
            return Ok(table.clone());
        }
        let rows = positions.next_power_of_two().max(FIRST).min(self.most);
        let frequencies = rope_frequencies(self.channels, self.theta);
        let new = rope_table(&self.device, rows, &frequencies)?;
        Ok(table.insert(new).clone())
    }
}

impl std::fmt::Debug for Rotary {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Rotary")
            .field("channels", &self.channels)
            .field("theta", &self.theta)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
