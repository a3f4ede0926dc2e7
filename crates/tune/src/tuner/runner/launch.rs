//! Binds buffers and launches.

use anyhow::Result;
use wgrad_runtime::Buffer;

use super::{POISON, Problem, Ready, Runner};

/// A buffer bound to a kernel.
pub(super) struct Bound {
    /// The buffer, padding included.
    pub buffer: Buffer,
    /// Its bytes without padding.
    pub exact: u64,
}

impl Runner {
    /// One buffer for each binding, with its first contents and `padding` poisoned bytes behind them.
    pub(super) fn upload(
        &self,
        ready: &Ready,
        problem: &Problem,
        padding: u64,
    ) -> Result<Vec<Bound>> {
        let mut bound = Vec::new();
        for i in &ready.buffers {
            let exact = self.exact_bytes(*i, problem)?;
            let buffer = self.device.alloc(exact + padding)?;
            self.fill(&buffer, problem.contents[*i].as_deref(), POISON)?;
            bound.push(Bound { buffer, exact });
        }
        Ok(bound)
    }

    /// Bytes of buffer `i` of the spec, in whole words.
    pub(super) fn exact_bytes(&self, i: usize, problem: &Problem) -> Result<u64> {
        let bytes = self.spec.buffers[i].bytes(&problem.sizes)?;
        Ok(bytes.next_multiple_of(4).max(4))
    }

    /// Writes `contents`, then `poison` up to the buffer's end.
    pub(super) fn fill(&self, buffer: &Buffer, contents: Option<&[u8]>, poison: u32) -> Result<()> {
        let mut bytes = contents.unwrap_or(&[]).to_vec();
        let word = poison.to_le_bytes();
        while (bytes.len() as u64) < buffer.size() {
            bytes.push(word[bytes.len() % 4]);
        }
        self.device.upload(buffer, 0, &bytes)?;
        Ok(())
    }

    /// Records one launch.
    pub(super) fn launch(&self, ready: &Ready, bound: &[Bound]) -> Result<()> {
        let mut launch = self.device.launch(&ready.kernel);
        for (param, (name, words)) in ready.built.info.params.iter().zip(&ready.built.uniform) {
            launch = match (param.float, words.as_slice()) {
                (true, words) => {
                    let values: Vec<f32> = words.iter().map(|w| f32::from_bits(*w)).collect();
                    launch.f32s(name, &values)
                }
                (false, words) => launch.u32s(name, words),
            };
        }
        // A kernel that uses arrayLength must not see the padding; any other kernel must not touch it.
        let asks = ready.built.text.contains("arrayLength");
        for Bound { buffer, exact } in bound {
            let size = if asks { *exact } else { buffer.size() };
            launch = launch.window(buffer, 0, size);
        }
        Ok(launch.grid(ready.built.workgroups)?)
    }
}
