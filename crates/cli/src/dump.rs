//! The output of `wgrad doctor --dump`: a line of JSON for each row, its tensors in safetensors files.
//! tests/pytorch/compare_ops.py describes the contents.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use wgrad_tensor::cases::{Case, Dump, HostArray};

/// A file is closed when it holds about this much.
const FILE_BYTES: usize = 64 << 20;

/// Writes rows to a folder.
pub struct Dumper {
    folder: PathBuf,
    lines: BufWriter<File>,
    /// The number of the next line.
    line: usize,
    /// The number of the file being filled.
    file: usize,
    /// The tensors of that file: name, shape, little-endian float64.
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Dumper {
    /// Makes the folder and an empty list in it.
    pub fn new(folder: PathBuf) -> Result<Self> {
        let path = folder.join("cases.jsonl");
        let file = fs::create_dir_all(&folder)
            .and_then(|()| File::create(&path))
            .with_context(|| format!("--dump: {} cannot be written", path.display()))?;
        Ok(Self {
            folder,
            lines: BufWriter::new(file),
            line: 0,
            file: 0,
            tensors: Vec::new(),
        })
    }

    /// Adds a row, if it computed something and has an expression for PyTorch.
    pub fn add(&mut self, case: &Case, dump: &Dump) -> Result<()> {
        let Some(y) = dump.y.as_ref().filter(|_| !case.torch.is_empty()) else {
            return Ok(());
        };
        let inputs: Vec<_> = case
            .inputs
            .iter()
            .map(|i| json!({"shape": i.shape, "dtype": i.dtype.wgsl(), "requires_grad": i.requires_grad}))
            .collect();
        let record = json!({
            "name": case.name(),
            "op": case.op,
            "torch": case.torch,
            "inputs": inputs,
            "output_shape": y.shape,
            "tolerance": case.tolerance,
            "data": self.file_name(),
        });
        writeln!(self.lines, "{record}")?;
        for (i, x) in dump.inputs.iter().enumerate() {
            self.tensor(&format!("x{i}"), x);
        }
        self.tensor("y", y);
        if let Some(dy) = &dump.dy {
            self.tensor("dy", dy);
        }
        for (i, dx) in dump.gradients.iter().enumerate() {
            if let Some(dx) = dx {
                self.tensor(&format!("dx{i}"), dx);
            }
        }
        self.line += 1;
        if self.tensors.iter().map(|t| t.2.len()).sum::<usize>() >= FILE_BYTES {
            self.close_file()?;
        }
        Ok(())
    }

    fn tensor(&mut self, name: &str, values: &HostArray) {
        let bytes = values.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = format!("{}/{name}", self.line);
        self.tensors.push((name, values.shape.clone(), bytes));
    }

    fn file_name(&self) -> String {
        format!("data-{:03}.safetensors", self.file)
    }

    fn close_file(&mut self) -> Result<()> {
        let path = self.folder.join(self.file_name());
        let views = self
            .tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::F64, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let bytes = safetensors::serialize(views, None)?;
        fs::write(&path, bytes)
            .with_context(|| format!("--dump: {} cannot be written", path.display()))?;
        self.tensors.clear();
        self.file += 1;
        Ok(())
    }

    /// Writes the last file. Returns a summary line.
    pub fn finish(mut self) -> Result<String> {
        if !self.tensors.is_empty() {
            self.close_file()?;
        }
        self.lines.flush()?;
        Ok(format!(
            "{} rows in {}; compare them with: python tests/pytorch/compare_ops.py {}",
            self.line,
            self.folder.display(),
            self.folder.display()
        ))
    }
}
