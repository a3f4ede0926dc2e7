//! One run of the benchmark: a device, its roofline, and the rows measured so far.

use anyhow::{Error, Result};
use wgrad_runtime::Device;

use super::meter::{Call, Meter};
use super::results::Results;
use super::row::{Against, Roof, Row, Work};
use super::settings::{Cache, Measurement, Settings};
use super::stats;

/// A name, the least work, and the call that does the work.
pub type Way<'a> = (String, Work, Box<dyn FnMut() -> Result<()> + 'a>);

/// Receives each row when it is measured, with the roofline.
type Show<'a> = Box<dyn FnMut(&Row, &Roof) + 'a>;

/// Measures rows and hands each to `show` at once.
pub struct Bench<'a> {
    /// The device.
    pub device: Device,
    /// Its stopwatch.
    pub meter: Meter,
    /// The rows so far.
    pub results: Results,
    show: Show<'a>,
    temperatures: Vec<f64>,
}

impl<'a> Bench<'a> {
    /// Measures the adapter's limits first: one to two seconds on a software adapter.
    pub fn new(
        device: &Device,
        settings: Settings,
        show: impl FnMut(&Row, &Roof) + 'a,
    ) -> Result<Self> {
        let roof = super::peak::roof(device)?;
        let meter = Meter::new(device, settings)?;
        let mut bench = Self {
            device: device.clone(),
            meter,
            results: Results::new(device, roof),
            show: Box::new(show),
            temperatures: Vec::new(),
        };
        for _ in 0..5 {
            bench.read_reference()?;
        }
        Ok(bench)
    }

    fn read_reference(&mut self) -> Result<()> {
        if let Some(seconds) = self.meter.temperature()? {
            self.temperatures.push(seconds);
            self.results.reference = Some(stats::median(&self.temperatures));
        }
        self.raise_roof();
        Ok(())
    }

    /// Raises the roof to the best rate of the reference kernel, which only multiplies and adds and runs all the
    /// time.
    fn raise_roof(&mut self) {
        if let Some(seen) = self.meter.reference_gflops() {
            let roof = &mut self.results.roof;
            roof.fma_gflops = roof.fma_gflops.max(seen);
        }
    }

    /// The name of a row as it is measured now: rows from cold caches are not those from warm ones.
    pub fn title(&self, name: &str) -> String {
        match self.meter.settings.cache {
            Cache::Warm => name.to_owned(),
            Cache::Cold => format!("{name} cold"),
        }
    }

    /// Adds a row that says why it could not run.
    ///
    /// # Errors
    /// Where `error` says that the device is gone: then no other row can run either.
    pub fn skip(&mut self, name: impl Into<String>, error: &Error) -> Result<()> {
        self.check_alive(error)?;
        self.add(Row::skipped(name, one_line(error)));
        Ok(())
    }

    /// Times `call` as row `name`. Where the call fails, the row says why and the run goes on, unless the
    /// device is lost.
    pub fn time(
        &mut self,
        name: &str,
        work: Work,
        mut call: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let measured = self.meter.measure(&mut call);
        self.take(name, work, measured)
    }

    /// The same with one call that is made from what `prepare` returns, whose failure is the row's too.
    pub fn time_with<T>(
        &mut self,
        name: &str,
        work: Work,
        prepare: impl FnOnce(&Device) -> Result<T>,
        call: impl Fn(&T) -> Result<()>,
    ) -> Result<()> {
        let measured =
            prepare(&self.device).and_then(|inputs| self.meter.measure(&mut || call(&inputs)));
        self.take(name, work, measured)
    }

    fn take(&mut self, name: &str, work: Work, measured: Result<Measurement>) -> Result<()> {
        let name = &self.title(name);
        match measured {
            // A view launches nothing; the rest of the timestamps is no time.
            Ok(m) if m.launches == 0.0 && m.time.median < 1e-7 => {
                self.add(Row::skipped(name, "nothing runs on the device"));
            }
            Ok(measurement) => self.add(Row::measured(name, work, measurement)),
            Err(error) => self.skip(name, &error)?,
        }
        self.read_reference()
    }

    /// Times several ways to the same result by turns. Every row but the first that runs says how many
    /// times as fast as that one it is, from the ratios of each turn.
    pub fn versus(&mut self, mut ways: Vec<Way>) -> Result<()> {
        let mut failed = Vec::new();
        for (at, (name, _, call)) in ways.iter_mut().enumerate() {
            *name = self.title(name);
            if let Err(error) = call() {
                failed.push((at, error));
            }
        }
        for (at, error) in failed.into_iter().rev() {
            let (name, ..) = ways.remove(at);
            self.skip(name, &error)?;
        }
        let mut names = Vec::new();
        let mut calls: Vec<Call> = Vec::new();
        for (name, work, call) in &mut ways {
            names.push((name.clone(), *work));
            calls.push(&mut **call as Call);
        }
        if calls.is_empty() {
            return Ok(());
        }
        let all = match self.meter.interleave(&mut calls) {
            Ok(all) => all,
            // One of the calls failed; it is not known which one.
            Err(error) => {
                return names
                    .iter()
                    .try_for_each(|(name, _)| self.skip(name, &error));
            }
        };
        let first = all[0].samples.clone();
        for (at, ((name, work), measurement)) in names.iter().zip(all).enumerate() {
            let ratio = stats::paired_ratio(&first, &measurement.samples);
            let mut row = Row::measured(name, *work, measurement);
            if at > 0 {
                row.against = Some(Against {
                    name: names[0].0.clone(),
                    times_as_fast: ratio,
                });
            }
            self.add(row);
        }
        self.read_reference()
    }

    /// An error where `error` says that the device is gone.
    pub fn check_alive(&self, error: &Error) -> Result<()> {
        let lost = |e: &wgrad_runtime::Error| matches!(e, wgrad_runtime::Error::DeviceLost(_));
        let gone = error.chain().any(|cause| {
            cause.downcast_ref().is_some_and(lost)
                || matches!(cause.downcast_ref(), Some(wgrad_tensor::Error::Device(e)) if lost(e))
        });
        anyhow::ensure!(!gone, "{error:#}");
        Ok(())
    }

    /// Adds a row that was made elsewhere.
    pub fn add(&mut self, row: Row) {
        self.raise_roof();
        (self.show)(&row, &self.results.roof);
        self.results.rows.push(row);
    }
}

/// An error and its causes as one line, each text once.
fn one_line(error: &Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if parts.last().is_none_or(|last| !last.ends_with(&text)) {
            parts.push(text);
        }
    }
    let text = parts.join(": ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::DeviceOptions;

    use super::*;

    #[test]
    fn a_failing_call_loses_only_its_own_rows() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let mut bench = Bench::new(&device, Settings::quick(), |_, _| ()).unwrap();
        let mut left = 4;
        let fails = move || {
            left -= 1;
            anyhow::ensure!(left > 0, "out of luck");
            Ok(())
        };
        let ways: Vec<Way> = vec![
            ("one".to_owned(), Work::default(), Box::new(|| Ok(()))),
            ("two".to_owned(), Work::default(), Box::new(fails)),
        ];
        bench.versus(ways).unwrap();
        assert_eq!(bench.results.rows.len(), 2);
        for row in &bench.results.rows {
            assert!(row.measurement().is_none(), "{row:?}");
        }
        let roof = bench.results.roof.fma_gflops;
        assert!(bench.meter.reference_gflops().unwrap() <= roof);
        // No mark of the failed reading is left for the next.
        let before = bench.meter.temperature().unwrap().unwrap();
        let after = bench.meter.temperature().unwrap().unwrap();
        assert!((0.1..10.0).contains(&(before / after)), "{before} {after}");
    }

    #[test]
    fn rows_from_cold_caches_have_other_names() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let settings = Settings {
            cache: Cache::Cold,
            ..Settings::quick()
        };
        let mut bench = Bench::new(&device, settings, |_, _| ()).unwrap();
        bench.time("x", Work::default(), || Ok(())).unwrap();
        let way: Way = ("y".to_owned(), Work::default(), Box::new(|| Ok(())));
        bench.versus(vec![way]).unwrap();
        let names: Vec<&str> = bench.results.rows.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["x cold", "y cold"]);
    }
}
