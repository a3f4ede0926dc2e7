//! A task small enough to know every number of it, and a folder for its runs.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use wgrad_nn::{Mode, Parameters};
use wgrad_tensor::{Device, Tensor};
use wgrad_train::{Evaluation, Loss, Task};

/// Folder of one test, deleted with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wgrad-train-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// y = x · w over rows of three numbers; row i has `counts[i]` items, each with the row's squared error.
pub struct Line {
    pub device: Device,
    pub weight: Tensor,
    pub rows: Vec<[f32; 3]>,
    pub targets: Vec<f32>,
    pub counts: Vec<usize>,
    /// What the evaluations give, one after the other.
    pub script: Vec<f64>,
    pub evaluated: usize,
    /// What was saved.
    pub saved: RefCell<Vec<String>>,
}

impl Line {
    pub fn new(device: &Device) -> Self {
        let weight = Tensor::from_slice(device, &[0.5f32, -0.25, 0.125], &[3, 1]).unwrap();
        weight.set_requires_grad(true).unwrap();
        let number = |i: usize, k: usize| ((i * 7 + k * 5) % 11) as f32 / 8.0 - 0.5;
        Self {
            device: device.clone(),
            weight,
            rows: (0..6)
                .map(|i| [number(i, 0), number(i, 1), number(i, 2)])
                .collect(),
            targets: (0..6).map(|i| i as f32 / 4.0 - 0.5).collect(),
            counts: vec![1, 2, 3, 5, 1, 4],
            script: Vec::new(),
            evaluated: 0,
            saved: RefCell::default(),
        }
    }

    pub fn parameters(&self) -> Parameters {
        vec![("weight".to_owned(), self.weight.clone())]
    }
}

impl Task for Line {
    fn lengths(&self) -> &[usize] {
        &self.counts
    }

    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Loss> {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for i in examples {
            for _ in 0..self.counts[*i] {
                x.extend(self.rows[*i]);
                y.push(self.targets[*i]);
            }
        }
        let n = y.len();
        let x = Tensor::from_slice(&self.device, &x, &[n, 3])?.cast(mode.dtype())?;
        let y = Tensor::from_slice(&self.device, &y, &[n, 1])?;
        let predicted = x.matmul(&self.weight.cast(mode.dtype())?)?;
        let error = predicted.cast(y.dtype())?.sub(&y)?;
        Loss::from_sum(&error.mul(&error)?.sum_all()?, n)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let Some(mae) = self.script.get(self.evaluated) else {
            return Ok(None);
        };
        self.evaluated += 1;
        Ok(Some(Evaluation::new(1.0).with("mae", *mae)))
    }

    fn metric_for_best_model(&self) -> &str {
        "mae"
    }

    fn save(&self, dir: &Path) -> Result<()> {
        // The folder's name while it is filled.
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_start_matches('.').trim_end_matches(".tmp");
        self.saved.borrow_mut().push(name.to_owned());
        let values = self.weight.to_vec::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(std::fs::write(dir.join("weight.bin"), bytes)?)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        let bytes = std::fs::read(dir.join("weight.bin")).context("weight.bin")?;
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        Ok(self.weight.copy_from_slice(&values)?)
    }
}
