//! Options and output of all benchmarks: the adapter, how long to measure, and where the rows are written.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail, ensure};
use clap::ValueEnum;
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_train::fs::{ensure_writable_dir, write_atomic};
use wgrad_tune::bench::{
    Bench, Cache, Compared, Outcome, Results, Roof, Settings, check_name, format, report,
};

use crate::args::AdapterArg;

/// How to measure and how to print the rows; flattened into every benchmark.
#[derive(clap::Args, Clone)]
#[command(rename_all = "snake_case")]
pub struct OutputArgs {
    #[command(flatten)]
    pub adapter: AdapterArg,
    /// Print one JSON object
    #[arg(long, group = "format")]
    json: bool,
    /// Print comma-separated values, times in seconds
    #[arg(long, group = "format")]
    csv: bool,
    /// Print a Markdown table
    #[arg(long, group = "format")]
    md: bool,
    /// Keep the result as NAME.json in the results folder
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Compare with the result kept as NAME: SAME, FASTER, SLOWER or UNCLEAR for each row
    #[arg(long, value_name = "NAME")]
    compare: Option<String>,
    /// Write a page with the roofline drawn
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The results folder; else benches/results of the repository around the current folder, else the
    /// current folder
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
    /// Seconds of samples for a row, at most; a row ends earlier once its median is known to 1 %
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    seconds: Option<f64>,
    /// What the caches hold before each sample: the last call's data, or other data
    #[arg(long, default_value = "warm")]
    cache: CacheArg,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum CacheArg {
    Warm,
    Cold,
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 3600.0 => Ok(value),
        _ => Err("a number of seconds above 0, at most 3600".to_owned()),
    }
}

/// A running benchmark.
pub struct Run<'a> {
    args: &'a OutputArgs,
    /// Where rows are measured.
    pub bench: Bench<'a>,
    baseline: Option<Results>,
}

impl OutputArgs {
    /// Opens the adapter and measures its limits. `quick` is for many small rows. Names and folders are checked first, so
    /// that a mistake is reported before minutes of measuring.
    pub fn start(&self, quick: bool) -> Result<Run<'_>> {
        self.start_on(&self.adapter.open(DeviceOptions::default())?, quick)
    }

    /// The same on a device that is open.
    pub fn start_on(&self, device: &Device, quick: bool) -> Result<Run<'_>> {
        let baseline = self.baseline()?;
        if let Some(name) = &self.save {
            check_name(name)?;
            ensure_writable_dir(self.folder())?;
        }
        if let Some(file) = &self.report {
            let folder = file.parent().filter(|folder| *folder != Path::new(""));
            let folder = folder.unwrap_or(Path::new("."));
            ensure!(
                folder.is_dir() && !file.is_dir(),
                "--report {}: no file can be written there; make the folder {} or name a file in another one",
                file.display(),
                folder.display()
            );
        }
        let mut settings = match quick {
            true => Settings::quick(),
            false => Settings::default(),
        };
        if let Some(seconds) = self.seconds {
            settings.budget = seconds;
            settings.warmup = settings.warmup.min(seconds);
        }
        if self.cold() {
            settings.cache = Cache::Cold;
        }
        let text = self.text();
        let mut shown: Option<Roof> = None;
        let bench = Bench::new(device, settings, move |row, roof| {
            if !text {
                return;
            }
            match shown.replace(*roof) {
                None => println!(
                    "roofline: {}\n{}",
                    format::roofline(roof),
                    format::text_head()
                ),
                Some(old) if roof.differs(&old) => {
                    println!("roofline: {} from here on", format::roofline(roof));
                }
                Some(old) => shown = Some(old),
            }
            println!("{}", format::text_row(row, roof));
        })?;
        Ok(Run {
            args: self,
            bench,
            baseline,
        })
    }

    /// Whether each sample is to start with other data in the caches.
    pub fn cold(&self) -> bool {
        self.cache == CacheArg::Cold
    }

    /// Seconds of samples for a row, if the user set them.
    pub fn seconds(&self) -> Option<f64> {
        self.seconds
    }

    /// Whether the rows are printed as text, as they come.
    pub fn text(&self) -> bool {
        !(self.json || self.csv || self.md)
    }

    fn folder(&self) -> PathBuf {
        if let Some(folder) = &self.results {
            return folder.clone();
        }
        let current = std::env::current_dir().unwrap_or_default();
        let repository = current
            .ancestors()
            .find(|dir| dir.join("shaders/peak_copy.wgsl").is_file());
        repository.map_or(PathBuf::new(), |dir| dir.join("benches/results"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.json"))
    }

    fn baseline(&self) -> Result<Option<Results>> {
        let Some(name) = &self.compare else {
            return Ok(None);
        };
        check_name(name)?;
        let file = self.file(name);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let shown = file.display();
            match error.kind() {
                ErrorKind::NotFound => anyhow!("{shown}: no such result; `--save {name}` makes it"),
                _ => anyhow!(
                    "{shown}: cannot be read: {error}; allow reading it, or measure it again with --save {name}"
                ),
            }
        })?;
        Ok(Some(Results::parse(&file.display().to_string(), &text)?))
    }
}

impl Run<'_> {
    /// Prints, compares, keeps and draws what was measured. An error if no row could run.
    pub fn finish(self) -> Result<()> {
        let Run {
            args,
            bench,
            baseline,
        } = self;
        args.adapter.keep_pipelines(&bench.device);
        let results = &bench.results;
        let compared = baseline.as_ref().map(|old| results.compare(old));
        print(args, results, compared.as_deref())?;
        let compared = compared.unwrap_or_default();
        let cautions = baseline.as_ref().map(|old| results.cautions(old));
        let cautions = cautions.unwrap_or_default();
        // Save the rows before anything else can fail.
        if let Some(name) = &args.save {
            let text = serde_json::to_string_pretty(&results.to_json(&[])?)? + "\n";
            write_atomic(args.file(name), text.as_bytes())?;
        }
        if let Some(file) = &args.report {
            let name = args.compare.as_deref().unwrap_or("");
            write_page(file, &report::page(results, name, &compared, &cautions))?;
        }
        if let (Some(name), true) = (&args.compare, compared.is_empty()) {
            bail!("{name} has none of these rows: there is nothing to compare");
        }
        for caution in cautions {
            eprintln!("note: {caution}");
        }
        let why = results.rows.iter().map(|row| match &row.outcome {
            Outcome::Skipped { skipped } => Some(skipped),
            Outcome::Measured(_) => None,
        });
        match why.collect::<Option<Vec<_>>>().as_deref() {
            Some([first, ..]) => bail!("no row could run: {first}"),
            _ => Ok(()),
        }
    }
}

fn print(args: &OutputArgs, results: &Results, compared: Option<&[Compared]>) -> Result<()> {
    let rows = compared.unwrap_or_default();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results.to_json(rows)?)?);
    } else if args.csv {
        print!("{}", format::csv(results, rows));
    } else if args.md {
        print!("{}", format::markdown(results, rows));
    } else if !rows.is_empty() {
        print!("\n{}", format::text_compared(rows));
    }
    Ok(())
}

fn write_page(file: &Path, page: &str) -> Result<()> {
    write_atomic(file, page.as_bytes())
}
