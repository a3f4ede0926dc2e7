//! Typed access to the keys of a settings file, with errors that name key, value and bounds.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

use wgrad_nn::Activation;

use crate::io::check_link;

/// Reads a JSON file; errors are one line that names it.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    check_link(path)?;
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    };
    serde_json::from_slice(&text)
        .map_err(|error| anyhow!("{} is not valid JSON: {error}", path.display()))
}

/// Typed access to the file's keys. An absent key and null both mean the default.
pub(crate) struct Keys<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Keys<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn size(&self, keys: &[&str], default: usize, max: usize) -> Result<usize> {
        let Some((key, value)) = keys.iter().find_map(|key| Some((key, self.get(key)?))) else {
            return Ok(default);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size {
            Some(size) if (1..=max).contains(&size) => Ok(size),
            _ => bail!("{key} is {value}; it must be a whole number from 1 to {max}"),
        }
    }

    pub(crate) fn index(&self, key: &str, default: u32) -> Result<u32> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let index = value.as_u64().and_then(|index| u32::try_from(index).ok());
        index.with_context(|| format!("{key} is {value}; it must be a token id"))
    }

    pub(crate) fn number(&self, key: &str, default: f64, min: f64, max: f64) -> Result<f64> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ => bail!("{key} is {value}; it must be a number from {min:e} to {max:e}"),
        }
    }

    pub(crate) fn probability(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        match value.as_f64() {
            Some(p) if (0.0..1.0).contains(&p) => Ok(p),
            _ => bail!("{key} is {value}; it must be a number from 0 up to, but not including, 1"),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        self.get(key).map_or(Ok(false), |value| {
            value
                .as_bool()
                .with_context(|| format!("{key} is {value}; it must be true or false"))
        })
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>> {
        let text = |value: &'a Value| {
            value
                .as_str()
                .with_context(|| format!("{key} is {value}; it must be a string"))
        };
        self.get(key).map(text).transpose()
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        serde_json::from_value(value.clone())
            .map_err(|_| anyhow!("{key} is {value}; it must be a list of strings"))
    }

    pub(crate) fn activation(&self, key: &str) -> Result<Activation> {
        let name = self.string(key)?.unwrap_or("gelu");
        Activation::from_name(name).map_err(|error| anyhow!("{key} is {name:?}: {error}"))
    }
}
