//! Whether there is memory for a model at all.

use anyhow::{Result, ensure};
use wgrad_runtime::Device;

/// Refuses a model that does not fit into memory on a software adapter: the system would kill this process or others.
/// A GPU's driver reports an error itself.
pub fn ensure_room(device: &Device, bytes: f64) -> Result<()> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&meminfo) {
        Some(free) if device.adapter().is_software() => within(bytes, free),
        _ => Ok(()),
    }
}

fn within(bytes: f64, free: f64) -> Result<()> {
    ensure!(
        bytes <= free,
        "its parameters take {:.1} GB of memory and {:.1} GB are free; take fewer layers or smaller sides",
        bytes / 1e9,
        free / 1e9
    );
    Ok(())
}

/// Free memory in bytes, on Linux.
fn available(meminfo: &str) -> Option<f64> {
    let line = meminfo
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(1024.0 * kilobytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read() {
        let text = "MemTotal:  9 kB\nMemAvailable:    2000000 kB\n";
        assert_eq!(available(text), Some(2.048e9));
        assert_eq!(available(""), None);
        assert!(within(2e9, 2.048e9).is_ok());
        let line = within(3e9, 2.048e9).unwrap_err().to_string();
        assert!(
            line.contains("3.0 GB of memory and 2.0 GB are free"),
            "{line}"
        );
    }
}
