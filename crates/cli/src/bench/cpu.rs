//! Processor time of this process, where the system tells.

/// Seconds of processor time so far.
#[derive(Debug, Clone, Copy)]
pub struct CpuTime {
    /// Of the calling thread: the cost of recording and encoding.
    pub thread: f64,
    /// Of all threads; on a software adapter they run the kernels too.
    pub process: f64,
}

impl CpuTime {
    /// Reads both; `None` where there is no Linux `/proc`.
    pub fn now() -> Option<Self> {
        let thread = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let nanoseconds: f64 = thread.split_whitespace().next()?.parse().ok()?;
        let process = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in the second field may hold spaces; it ends with the last parenthesis.
        let (_, rest) = process.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            thread: nanoseconds * 1e-9,
            // User and system time, in ticks of 10 ms on every Linux.
            process: (ticks(11)? + ticks(12)?) / 100.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CpuTime;

    #[test]
    fn working_takes_time() {
        let Some(before) = CpuTime::now() else {
            return;
        };
        let mut x = 1u64;
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 60 {
            for _ in 0..1000 {
                x = std::hint::black_box(x.wrapping_mul(3));
            }
        }
        let after = CpuTime::now().unwrap();
        let spent = after.thread - before.thread;
        assert!((0.001..1.0).contains(&spent), "{spent}");
        assert!(after.process >= before.process);
    }
}
