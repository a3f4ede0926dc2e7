//! Timing pieces of device work.

use std::time::Instant;

use anyhow::Result;
use wgrad_runtime::{Buffer, Defines, Device, Stopwatch};

use super::clock;
use super::launch_cost::LaunchCost;
use super::settings::{Cache, Measurement, Settings};
use super::stats::{self, Interval};
use super::thermometer::Thermometer;

/// Times `call`. It records work on the device and does not have to wait for it.
pub fn measure(
    device: &Device,
    settings: &Settings,
    mut call: impl FnMut() -> Result<()>,
) -> Result<Measurement> {
    Meter::new(device, settings.clone())?.measure(&mut call)
}

/// A piece of work to time.
pub type Call<'a> = &'a mut dyn FnMut() -> Result<()>;

/// A stopwatch calibrated for its own costs, the reference kernel, and the memory that empties the caches.
pub struct Meter {
    device: Device,
    /// May be changed between measurements.
    pub settings: Settings,
    watch: Stopwatch,
    thermometer: Option<Thermometer>,
    eviction: Option<(Buffer, Buffer)>,
    launch: LaunchCost,
}

impl Meter {
    /// Calibrates: some milliseconds.
    pub fn new(device: &Device, settings: Settings) -> Result<Self> {
        let mut watch = device.stopwatch()?;
        let launch = LaunchCost::new(device, &mut watch)?;
        let thermometer = match settings.drift {
            Some(_) => Some(Thermometer::new(device, &mut watch)?),
            None => None,
        };
        Ok(Self {
            device: device.clone(),
            settings,
            watch,
            thermometer,
            eviction: None,
            launch,
        })
    }

    /// Seconds of an empty launch among others in a pass.
    pub fn launch_cost(&self) -> f64 {
        self.launch.seconds().median
    }

    /// 10^9 operations a second of the reference kernel in its best readings.
    pub fn reference_gflops(&self) -> Option<f64> {
        self.thermometer.as_ref()?.gflops()
    }

    /// The reference kernel's time now, if it is used.
    pub fn temperature(&mut self) -> Result<Option<f64>> {
        let read = |t: &mut Thermometer| t.read(&mut self.watch);
        self.thermometer.as_mut().map(read).transpose()
    }

    /// The same over some milliseconds, where the load of other programs shows.
    pub fn long_temperature(&mut self) -> Result<Option<f64>> {
        let read = |t: &mut Thermometer| t.read_long(&mut self.watch);
        self.thermometer.as_mut().map(read).transpose()
    }

    /// Times one call.
    pub fn measure(&mut self, call: Call) -> Result<Measurement> {
        let mut all = self.interleave(&mut [call])?;
        all.pop()
            .ok_or_else(|| anyhow::anyhow!("nothing was measured"))
    }

    /// Times single calls by the host's clock, each from an idle device to an idle device again.
    pub fn measure_by_clock(&mut self, call: Call) -> Result<Measurement> {
        let settings = self.settings.clone();
        self.settings.by_clock = true;
        self.settings.sample = 0.0;
        let done = self.measure(call);
        self.settings = settings;
        done
    }

    /// Times several calls by turns, so that a change of the machine affects all of them alike. Their samples
    /// form pairs (see [`stats::paired_ratio`]): a turn is kept or discarded as a whole.
    pub fn interleave(&mut self, calls: &mut [Call]) -> Result<Vec<Measurement>> {
        if !self.settings.by_clock {
            self.launch.read(&mut self.watch)?;
            self.launch.read(&mut self.watch)?;
        }
        let mut runs = Vec::new();
        for call in calls.iter_mut() {
            runs.push(self.prepare(*call)?);
        }
        let mut temperatures = vec![self.temperature()?];
        let mut long = vec![self.long_temperature()?];
        let start = Instant::now();
        let mut last = start;
        loop {
            if last.elapsed().as_secs_f64() > LONG_EVERY {
                long.push(self.long_temperature()?);
                last = Instant::now();
            }
            for (run, call) in runs.iter_mut().zip(calls.iter_mut()) {
                let seconds = self.sample(run.calls, *call)?;
                run.samples.push(seconds);
            }
            temperatures.push(self.temperature()?);
            let (kept, _) = self.kept(&temperatures);
            let seconds = start.elapsed().as_secs_f64();
            let taken = temperatures.len() - 1;
            let count = kept.iter().filter(|k| **k).count();
            let known = |run: &Run| run.interval(&kept).uncertainty() <= self.settings.uncertainty;
            let enough = count >= self.settings.floor
                && (seconds > self.settings.budget || runs.iter().all(known));
            let over = seconds > 4.0 * self.settings.budget && taken >= 3;
            if enough || over || taken >= self.settings.most.max(1) {
                break;
            }
        }
        let by_device = self.watch.by_device() && !self.settings.by_clock;
        Ok(self.measurements(runs, &temperatures, &long, by_device))
    }

    /// The same of calls that were timed elsewhere by the clock and by turns: the first of each and its samples, and
    /// the long temperature before the first turn and behind each.
    pub fn by_clock(
        &self,
        timed: Vec<(f64, Vec<f64>)>,
        temperatures: &[Option<f64>],
    ) -> Vec<Measurement> {
        let runs = timed.into_iter().map(|(first, samples)| Run {
            calls: 1,
            launches: 0.0,
            first,
            samples,
        });
        self.measurements(runs.collect(), temperatures, temperatures, false)
    }

    fn measurements(
        &self,
        runs: Vec<Run>,
        temperatures: &[Option<f64>],
        long: &[Option<f64>],
        by_device: bool,
    ) -> Vec<Measurement> {
        let (kept, steady) = self.kept(temperatures);
        let discarded = kept.iter().filter(|k| !**k).count();
        let readings: Vec<f64> = long.iter().copied().flatten().collect();
        let reference = (!readings.is_empty()).then(|| Interval::range(&readings));
        let cost = match self.settings.by_clock {
            true => Interval::default(),
            false => self.launch.seconds(),
        };
        let measured = runs.into_iter().map(|run| {
            let samples = run.pick(&kept);
            let n = run.launches;
            // The cost subtracted for launches may be too large or too small, equally for all samples.
            let time = Interval::of(&samples)
                .widened(n * (cost.high - cost.median), n * (cost.median - cost.low));
            Measurement {
                time,
                best: samples.iter().copied().fold(f64::INFINITY, f64::min),
                spread: stats::spread(&samples),
                count: samples.len(),
                samples,
                discarded,
                steady,
                calls: run.calls,
                launches: n,
                overhead: n * cost.median,
                first: run.first,
                by_device,
                reference,
            }
        });
        measured.collect()
    }

    /// The first call, the warm-up, and how many calls make a sample.
    fn prepare(&mut self, call: Call) -> Result<Run> {
        self.device.synchronize()?;
        let start = Instant::now();
        call()?;
        self.device.synchronize()?;
        let first = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let mut warm = Vec::new();
        let mut best = f64::INFINITY;
        let mut since_best = 0;
        let mut launches;
        loop {
            let span = self.span(1, call)?;
            let seconds = span.net();
            launches = span.launches;
            since_best = if seconds < 0.98 * best {
                0
            } else {
                since_best + 1
            };
            best = best.min(seconds);
            warm.push(seconds);
            let spent = start.elapsed().as_secs_f64();
            let settled = since_best >= 3 && spent >= self.settings.warmup / 4.0;
            if settled || (spent >= self.settings.warmup && warm.len() >= 2) {
                break;
            }
        }
        let once = stats::median(&warm[warm.len() / 2..]);
        let calls = match self.settings.cache {
            Cache::Warm => (self.settings.sample / once.max(1e-9)).ceil() as usize,
            Cache::Cold => 1,
        };
        Ok(Run {
            calls: calls.clamp(1, MOST_CALLS),
            launches,
            first,
            samples: Vec::new(),
        })
    }

    /// Seconds of one of `n` calls, without the cost of empty launches.
    fn sample(&mut self, n: usize, call: Call) -> Result<f64> {
        if self.settings.cache == Cache::Cold {
            self.evict()?;
        }
        let span = self.span(n, call)?;
        let net = span.net() - span.launches * self.subtracted();
        // The rest of a call as short as its launch is noise: keep at least a twentieth.
        Ok(match span.launches > 0.0 {
            true => net.max(span.gross / 20.0),
            false => net,
        })
    }

    /// The seconds that are subtracted for each launch.
    fn subtracted(&self) -> f64 {
        match self.settings.by_clock {
            true => 0.0,
            false => self.launch_cost(),
        }
    }

    /// Seconds of one of `n` calls, launches included.
    fn span(&mut self, n: usize, call: Call) -> Result<Span> {
        let device = &self.device;
        let mut before = 0;
        let mut work = || {
            before = device.counters().0;
            (0..n).try_for_each(|_| call())
        };
        let (seconds, empty) = if self.settings.by_clock {
            device.synchronize()?;
            let start = Instant::now();
            work()?;
            device.synchronize()?;
            (start.elapsed().as_secs_f64(), 0.0)
        } else {
            (clock::seconds(&mut self.watch, work)?, self.launch.empty())
        };
        let share = 1.0 / n as f64;
        Ok(Span {
            gross: seconds * share,
            empty: empty * share,
            launches: (device.counters().0 - before) as f64 * share,
        })
    }

    /// Copies memory larger than the last cache, by a kernel: a driver's own copy may go past caches.
    fn evict(&mut self) -> Result<()> {
        let bytes = cache_bytes(&self.device) / 2;
        let (x, y) = match &self.eviction {
            Some(pair) => pair.clone(),
            None => {
                let pair = (self.device.alloc(bytes)?, self.device.alloc(bytes)?);
                self.eviction.insert(pair).clone()
            }
        };
        let kernel = self.device.kernel("peak_copy", &Defines::new())?;
        let n = bytes / 16;
        let launch = self.device.launch(&kernel).u32("n", n as usize);
        Ok(launch.bind(&x).bind(&y).invocations(n)?)
    }

    /// Which turns are kept, and whether the reference kernel was steady for most of them.
    fn kept(&self, temperatures: &[Option<f64>]) -> (Vec<bool>, bool) {
        let readings: Vec<f64> = temperatures.iter().copied().flatten().collect();
        let turns = temperatures.len() - 1;
        let Some(drift) = self.settings.drift.filter(|_| readings.len() > turns) else {
            return (vec![true; turns], true);
        };
        let near = stats::steady(&readings, drift);
        let kept: Vec<bool> = near.windows(2).map(|pair| pair[0] && pair[1]).collect();
        let count = kept.iter().filter(|k| **k).count();
        // On a machine where it is never steady (one shared with others), dropping samples would be guesswork.
        if 2 * count < turns {
            (vec![true; turns], false)
        } else {
            (kept, true)
        }
    }
}

/// Seconds between two long readings of the reference kernel: they take a quarter of the time at most.
const LONG_EVERY: f64 = 0.015;
/// Calls in one sample at most: a recording has room for so many.
const MOST_CALLS: usize = 100;

/// More than the last cache of an adapter holds: a GPU's has up to 100 MB, a CPU's share of one less.
pub fn cache_bytes(device: &Device) -> u64 {
    let most_bytes = if device.adapter().is_software() {
        64 << 20
    } else {
        256 << 20
    };
    device.max_binding_bytes().min(most_bytes)
}

/// One call of a sample: seconds of its stamps or by the clock, its share of what the stamps cost, its launches.
struct Span {
    gross: f64,
    empty: f64,
    launches: f64,
}

impl Span {
    /// Seconds without the cost of the timestamps; at least a nanosecond, so that ratios stay finite.
    fn net(&self) -> f64 {
        (self.gross - self.empty).max(1e-9)
    }
}

/// One call being measured.
struct Run {
    calls: usize,
    launches: f64,
    first: f64,
    samples: Vec<f64>,
}

impl Run {
    fn pick(&self, kept: &[bool]) -> Vec<f64> {
        let pairs = self.samples.iter().zip(kept);
        pairs.filter(|(_, k)| **k).map(|(s, _)| *s).collect()
    }

    fn interval(&self, kept: &[bool]) -> Interval {
        Interval::of(&self.pick(kept))
    }
}
