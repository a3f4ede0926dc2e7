//! `modules.json`: which modules a model of `sentence-transformers` has, and where they lie.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::config::read_json;
use crate::io::check_link;

/// The file's name.
pub(crate) const MODULES: &str = "modules.json";

/// Names of the module that holds the encoder; all but the first are those of 2019.
pub(crate) const TRANSFORMERS: [&str; 6] = [
    "Transformer",
    "BERT",
    "RoBERTa",
    "DistilBERT",
    "CamemBERT",
    "XLMRoBERTa",
];

/// The class of a module of `sentence-transformers`: `sentence_transformers.models.Pooling`, or since version 5.4
/// `sentence_transformers.sentence_transformer.modules.pooling.Pooling`.
pub(crate) fn class(kind: &str) -> Result<&str> {
    match kind.strip_prefix("sentence_transformers.") {
        Some(rest) => Ok(rest.rsplit('.').next().unwrap_or(rest)),
        None => bail!("module {kind:?} is code of the model's own, which is not run"),
    }
}

/// The folder of a module, which lies in the model's folder.
pub(crate) fn module_dir(dir: &Path, module: &Value) -> Result<PathBuf> {
    let path = module["path"]
        .as_str()
        .with_context(|| format!("module {module} has no path"))?;
    let mut place = dir.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                place.push(name);
                check_link(&place)?;
            }
            _ => bail!("path {path} leaves the model folder"),
        }
    }
    Ok(place)
}

/// The folder of the encoder that `modules.json` names, if there is such a file.
pub(crate) fn encoder_dir(dir: &Path) -> Result<Option<PathBuf>> {
    let path = dir.join(MODULES);
    if !path.exists() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let first = json.as_array().and_then(|list| list.first());
    let read = || -> Result<_> {
        let module = first.context("expected a list of modules")?;
        let kind = module["type"].as_str().context("a module has no type")?;
        let class = class(kind)?;
        ensure!(
            TRANSFORMERS.contains(&class),
            "module 0 is a {class}, not a Transformer"
        );
        module_dir(dir, module)
    };
    let place = read().map_err(|error| anyhow!("{}: {error:#}", path.display()))?;
    Ok(Some(place))
}
