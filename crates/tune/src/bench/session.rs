//! One run of the benchmark: a device, its roofline, and the rows as they come.

use anyhow::{Error, Result};
use wgrad_runtime::Device;

use super::meter::Meter;
use super::results::Results;
use super::row::{Roof, Row, Work};
use super::settings::{Measurement, Settings};
use super::stats;

/// Takes each row as it comes, with the roofline.
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
        match measured {
            Ok(measurement) => self.add(Row::measured(name, work, measurement)),
            Err(error) => {
                self.check_alive(&error)?;
                self.add(Row::skipped(name, one_line(&error)));
            }
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
