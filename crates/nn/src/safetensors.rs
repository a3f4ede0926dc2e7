//! Safetensors files: reading with every size checked before memory is taken, and writing under a temporary
//! name until the file is whole.

mod file;
mod write;

/// A tensor's element type as the file states it.
pub use ::safetensors::Dtype;
pub use file::SafeFile;
pub use write::{SafeWriter, write};

use wgrad_tensor::{DType, Error, Result, Tensor, no_grad};

use crate::{Module, Parameters, TensorSource};

/// An error of this module. `error` names the file.
fn refused(error: anyhow::Error) -> Error {
    Error::op("safetensors", format!("{error:#}"))
}

/// The tensors of the file by their names.
impl TensorSource for SafeFile {
    fn names(&self) -> Vec<String> {
        SafeFile::names(self).map(str::to_owned).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        SafeFile::shape(self, name).ok().map(<[usize]>::to_vec)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.to_f32(name)
    }
}

/// Writes the parameters and buffers of a module to a safetensors file, as f32 under their names, tied weights
/// once. The file appears under its name only when it is complete and on disk.
///
/// ```
/// use wgrad_nn::{Linear, Module, VarBuilder, load, save};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let new = |seed: u64| -> Result<Linear> {
///     let generator = Generator::new(&device, seed)?;
///     Linear::new(3, 2, &VarBuilder::fresh(&device, &generator))
/// };
/// let (trained, other) = (new(1)?, new(2)?);
/// let path = std::env::temp_dir().join(format!("wgrad-doc-{}.safetensors", std::process::id()));
/// save(&trained, &path)?;
/// load(&other, &path)?.strict()?;
/// assert_eq!(trained.weight().to_vec::<f32>()?, other.weight().to_vec::<f32>()?);
/// # std::fs::remove_file(path).ok();
/// # Ok(())
/// # }
/// ```
///
/// Errors: a tensor of u32, which the file cannot hold as f32; a folder that cannot be written.
pub fn save<M: Module + ?Sized>(module: &M, path: impl AsRef<std::path::Path>) -> Result<()> {
    save_tensors(&module.state_dict(), path, &[])
}

/// Reads a safetensors file into the tensors of the same names of a module, from f32, f16, bf16 or f64. Tied
/// weights are found under any of their names.
///
/// Errors, before anything is changed: a file that is damaged; a tensor of another shape than the module's. Names
/// that are missing or unexpected are in the report; [`LoadReport::strict`](crate::LoadReport::strict) refuses them.
pub fn load<M: Module + ?Sized>(
    module: &M,
    path: impl AsRef<std::path::Path>,
) -> Result<crate::LoadReport> {
    crate::load_from(module, &SafeFile::open(path)?)
}

/// Writes named tensors to a safetensors file, as f32, with `metadata` in its header.
///
/// Errors as [`save`]; a name that is there twice.
pub fn save_tensors(
    tensors: &Parameters,
    path: impl AsRef<std::path::Path>,
    metadata: &[(&str, &str)],
) -> Result<()> {
    if let Some((name, tensor)) = tensors.iter().find(|(_, t)| t.dtype() == DType::U32) {
        return Err(Error::op(
            "save",
            format!(
                "`{name}` is {tensor:?}; only float tensors are saved, mark it #[module(skip)]"
            ),
        ));
    }
    let layout: Vec<(&str, &[usize])> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape()))
        .collect();
    let mut writer = SafeWriter::create(path, &layout, metadata)?;
    for (_, tensor) in tensors {
        let values = no_grad(|| -> Result<Vec<f32>> { cast(tensor)?.to_vec::<f32>() })?;
        writer.push(&values)?;
    }
    writer.finish()
}

fn cast(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F32 => Ok(tensor.clone()),
        _ => tensor.cast(DType::F32),
    }
}
