//! Device time by kernel, from timestamps around every dispatch. Profiling slows the device down:
//! each dispatch gets a pass of its own, and every submit is waited for.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::handle::Device;
use crate::submit::timestamps::{KernelTime, Profile};

impl Device {
    /// Starts profiling; earlier figures are forgotten.
    pub fn start_profile(&self) -> Result<()> {
        if !self.has_timestamps() {
            return Err(Error::Adapter(format!(
                "{} has no timestamp queries, so it cannot be profiled",
                self.adapter().name
            )));
        }
        self.flush()?;
        *self.lock(&self.0.profile) = Some(Profile::default());
        Ok(())
    }

    /// Stops profiling and returns launches, device time and bytes of each kernel by name; of copies, which
    /// have no timestamps, only numbers and bytes, under names in parentheses. Work that another thread submits meanwhile
    /// may be missing.
    pub fn stop_profile(&self) -> Result<BTreeMap<String, KernelTime>> {
        self.synchronize()?;
        let profile = self.lock(&self.0.profile).take();
        Ok(profile.map(|p| p.rows()).unwrap_or_default())
    }
}
