//! Weights in safetensors files, alone or in shards.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wgrad_nn::TensorSource;

use crate::config::read_json;
use crate::io::check_link;

pub use wgrad_nn::safetensors::{Dtype, SafeFile, SafeWriter, write};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All weights of a model folder: `model.safetensors`, else the shards that
/// `model.safetensors.index.json` lists.
#[derive(Debug)]
pub struct Weights {
    files: Vec<SafeFile>,
    /// Which of `files` holds a tensor.
    file_of: BTreeMap<String, usize>,
}

impl Weights {
    /// Opens the folder's weights and checks their headers; tensors are read when asked for.
    ///
    /// Errors: there are no weights, or only pickles; a shard is missing or lies outside the
    /// folder; what [`SafeFile::open`] reports for a file.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        if !single.exists() && index.exists() {
            return Self::open_shards(dir, &index);
        }
        if !single.exists() {
            bail!("{}", describe_missing(dir));
        }
        check_link(&single)?;
        let file = SafeFile::open(single)?;
        let file_of = file.names().map(|name| (name.to_owned(), 0)).collect();
        Ok(Self {
            files: vec![file],
            file_of,
        })
    }

    fn open_shards(dir: &Path, index: &Path) -> Result<Self> {
        let json = read_json(index)?;
        let index = index.display();
        let map = json.get("weight_map").and_then(Value::as_object);
        let map = map.with_context(|| format!("{index} has no weight_map"))?;
        ensure!(!map.is_empty(), "{index}: the weight_map is empty");
        let mut files: Vec<SafeFile> = Vec::new();
        let mut number_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut file_of = BTreeMap::new();
        for (name, shard) in map {
            let shard = shard
                .as_str()
                .filter(|shard| is_file_name(shard))
                .with_context(|| {
                    format!("{index}: the shard of {name:?} is {shard}; it must be a file name in the same folder")
                })?;
            let number = match number_of.get(shard) {
                Some(&number) => number,
                None => {
                    let path = dir.join(shard);
                    ensure!(
                        path.exists(),
                        "{}: the shard is missing, {INDEX} lists it for {name:?}",
                        path.display()
                    );
                    check_link(&path)?;
                    files.push(SafeFile::open(path)?);
                    number_of.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            ensure!(
                files[number].contains(name),
                "{}: there is no tensor {name:?}, but {INDEX} says so",
                files[number].path().display()
            );
            file_of.insert(name.clone(), number);
        }
        Ok(Self { files, file_of })
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.file_of.keys().map(String::as_str)
    }

    /// The tensor's shape as stored, outermost dimension first.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(self.file(name)?.shape(name)?)
    }

    /// The tensor's element type as stored.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.file(name)?.dtype(name)?)
    }

    /// The tensor's elements in row-major order; see [`SafeFile::to_f32`]. Errors too where one of them is not
    /// finite: kernels take for granted that all are.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let file = self.file(name)?;
        let values = file.to_f32(name)?;
        check_finite(name, &values).with_context(|| file.path().display().to_string())?;
        Ok(values)
    }

    /// The file that holds a tensor.
    fn file(&self, name: &str) -> Result<&SafeFile> {
        let number = self.file_of.get(name).copied();
        let file = number.or((self.files.len() == 1).then_some(0));
        file.and_then(|number| self.files.get(number))
            .with_context(|| format!("{INDEX} lists no tensor {name:?}"))
    }
}

/// The tensors under the names that the files give them.
impl TensorSource for Weights {
    fn names(&self) -> Vec<String> {
        self.file_of.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.file_of.get(name)?;
        Weights::shape(self, name).ok().map(<[usize]>::to_vec)
    }

    fn read(&self, name: &str) -> wgrad_tensor::Result<Vec<f32>> {
        let values = self.to_f32(name);
        values.map_err(|error| wgrad_tensor::Error::op("load", format!("{error:#}")))
    }
}

/// Refuses weights with a value that is not finite.
pub fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => bail!(
            "`{name}` holds {} at {at}, and weights must be finite; training that made it diverged, use an \
             earlier checkpoint",
            values[at]
        ),
    }
}

/// A name that can only mean a file in the folder it is joined to, on every system.
fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(part)) if part == name)
        && components.next().is_none()
        && !name.contains(['/', '\\', ':', '\0'])
        && !name.contains("..")
}

fn describe_missing(dir: &Path) -> String {
    let dir_name = dir.display();
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    match pickles.iter().find(|name| dir.join(name).exists()) {
        Some(pickle) => format!(
            "{dir_name} has {pickle} but no {SINGLE}: pickles are not read because they can run \
             code; convert it in Python with save_pretrained(..., safe_serialization=True)"
        ),
        None => format!("{dir_name} has no weights: expected {SINGLE} or {INDEX}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{TempDir, error_line};

    fn shard(dir: &TempDir, name: &str, tensor: &str, value: f32) {
        let tensors = [(tensor.to_owned(), vec![1], vec![value])];
        write(dir.path().join(name), &tensors, &[]).unwrap();
    }

    fn index(dir: &TempDir, map: Value) {
        dir.write(
            INDEX,
            json!({"metadata": {}, "weight_map": map}).to_string(),
        );
    }

    #[test]
    fn follows_the_index_of_shards() {
        let dir = TempDir::new();
        shard(&dir, "model-00001-of-00002.safetensors", "a", 1.0);
        shard(&dir, "model-00002-of-00002.safetensors", "b", 2.0);
        index(
            &dir,
            json!({
                "b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"
            }),
        );
        let weights = Weights::open(dir.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(weights.to_f32("b").unwrap(), [2.0]);
        assert_eq!(weights.shape("a").unwrap(), [1]);
        assert_eq!(weights.dtype("a").unwrap(), Dtype::F32);
        assert!(error_line(weights.to_f32("c")).contains("\"c\""));

        std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
        let line = error_line(Weights::open(dir.path()));
        assert!(
            line.contains("model-00002-of-00002.safetensors: the shard is missing"),
            "{line}"
        );
        index(&dir, json!({"b": "model-00001-of-00002.safetensors"}));
        assert!(error_line(Weights::open(dir.path())).contains("no tensor \"b\""));
        // A single file comes first, as in transformers.
        shard(&dir, SINGLE, "s", 3.0);
        let weights = Weights::open(dir.path()).unwrap();
        assert_eq!(weights.to_f32("s").unwrap(), [3.0]);
        assert!(error_line(weights.to_f32("c")).contains("\"c\""));
    }

    #[test]
    fn weights_are_finite() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let dir = TempDir::new();
            shard(&dir, SINGLE, "a", value);
            let line = error_line(Weights::open(dir.path()).unwrap().to_f32("a"));
            let said = format!("{SINGLE}: `a` holds {value} at 0");
            assert!(line.contains(&said), "{line}");
        }
    }

    #[test]
    fn shards_may_not_leave_the_folder() {
        let dir = TempDir::new();
        let names = [
            "../x.safetensors",
            "..",
            ".",
            "",
            "/etc/passwd",
            "a/b.safetensors",
            "a\\b",
            "c:x",
            "x/",
            "a..b",
            "x\0",
        ];
        for name in names {
            index(&dir, json!({"a": name}));
            let line = error_line(Weights::open(dir.path()));
            assert!(line.contains("must be a file name"), "{name}: {line}");
        }
        index(&dir, json!({"a": 1}));
        assert!(error_line(Weights::open(dir.path())).contains("must be a file name"));
        index(&dir, json!({}));
        assert!(error_line(Weights::open(dir.path())).contains("empty"));
        dir.write(INDEX, "[]");
        assert!(error_line(Weights::open(dir.path())).contains("no weight_map"));
        dir.write(INDEX, "{");
        assert!(error_line(Weights::open(dir.path())).contains("not valid JSON"));
    }

    #[test]
    fn pickles_are_refused_with_the_way_out() {
        let dir = TempDir::new();
        assert!(error_line(Weights::open(dir.path())).contains("has no weights"));
        dir.write("pytorch_model.bin", "pickle");
        let line = error_line(Weights::open(dir.path()));
        assert!(
            line.contains("safe_serialization=True") && line.contains("pickles"),
            "{line}"
        );
    }
}
