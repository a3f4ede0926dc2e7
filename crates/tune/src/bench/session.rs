//! One run of the benchmark: a device, its roofline, and the rows as they come.

use anyhow::{Error, Result};
use wgrad_runtime::Device;

use super::meter::{Call, Meter};
use super::results::Results;
use super::row::{Against, Roof, Row, Work};
use super::settings::{Measurement, Settings};
use super::stats;

/// A name and the work that it stands for.
pub type Way<'a> = (String, Box<dyn FnMut() -> Result<()> + 'a>);

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
            // A view: what remains of the stamps is no time of its own.
            Ok(m) if m.launches == 0.0 && m.time.median < 1e-7 => {
                self.add(Row::skipped(name, "nothing runs on the device"));
            }
            Ok(measurement) => self.add(Row::measured(name, work, measurement)),
            Err(error) => {
                self.check_alive(&error)?;
                self.add(Row::skipped(name, one_line(&error)));
            }
        }
        self.read_reference()
    }

    /// Times several ways to the same result by turns. Every row but the first that runs says how many
    /// times as fast as that one it is, from the ratios of each turn.
    pub fn versus(&mut self, work: Work, mut ways: Vec<Way>) -> Result<()> {
        let mut failed = Vec::new();
        for (at, (_, call)) in ways.iter_mut().enumerate() {
            if let Err(error) = call() {
                failed.push((at, error));
            }
        }
        for (at, error) in failed.into_iter().rev() {
            self.check_alive(&error)?;
            let (name, _) = ways.remove(at);
            self.add(Row::skipped(name, one_line(&error)));
        }
        let (names, mut calls): (Vec<String>, Vec<_>) = ways.into_iter().unzip();
        let mut calls: Vec<Call> = calls.iter_mut().map(|call| &mut **call as Call).collect();
        if calls.is_empty() {
            return Ok(());
        }
        let all = self.meter.interleave(&mut calls)?;
        let first = all[0].samples.clone();
        for (at, (name, measurement)) in names.iter().zip(all).enumerate() {
            let ratio = stats::paired_ratio(&first, &measurement.samples);
            let mut row = Row::measured(name, work, measurement);
            if at > 0 {
                row.against = Some(Against {
                    name: names[0].clone(),
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
