//! A parameter's values as T1 writes them: JSON, or a text that Python evaluates to a list.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;

use super::import::of_json;
use crate::tuner::expr::{Expr, Scope, Value};

/// `[1, 2]`, `list(range(1, 9))`, `[64 * i for i in range(15)]`, or a list of JSON.
pub(super) fn values(values: &Json) -> Result<Vec<String>> {
    let text = match values {
        Json::Array(list) => return list.iter().map(value).collect(),
        Json::String(text) => text.trim(),
        other => bail!("values are a list, not {other}"),
    };
    let inner = between(text, "list(", ")").unwrap_or(text);
    if let Some(numbers) = range(inner) {
        return Ok(numbers?.iter().map(i64::to_string).collect());
    }
    let list = between(inner, "[", "]")
        .ok_or_else(|| anyhow!("`{text}` is no list of numbers; write the values out"))?;
    if let Some((each, rest)) = list.split_once(" for ") {
        return made(each, rest).with_context(|| format!("in `{text}`"));
    }
    list.split(',')
        .map(|word| value(&Json::from(word.trim())))
        .collect()
}

/// A number or truth value in TOML's spelling, from JSON or from a text that Python evaluates to one.
pub(super) fn value(given: &Json) -> Result<String> {
    let value = Expr::parse(&of_json(given)?).and_then(|e| e.eval(&Scope::new()));
    Ok(value.map_err(|e| anyhow!("{e}"))?.to_string())
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(open)?.strip_suffix(close)?;
    Some(inner.trim())
}

/// The numbers of `range(first, end, step)`; `None` if the text is not a range.
fn range(text: &str) -> Option<Result<Vec<i64>>> {
    let inner = between(text.trim(), "range(", ")")?;
    let number = |n: &str| {
        let expr = Expr::parse(n.trim()).map_err(|e| anyhow!("{e}"))?;
        match expr.eval(&Scope::new()) {
            Ok(Value::Int(n)) => Ok(n),
            _ => bail!("`{n}` in `{text}` is no whole number"),
        }
    };
    let numbers: Result<Vec<i64>> = inner.split(',').map(number).collect();
    let up = |numbers: Vec<i64>| {
        let (first, end, step) = match numbers[..] {
            [end] => (0, end, 1),
            [first, end] => (first, end, 1),
            [first, end, step] if step > 0 => (first, end, step),
            _ => bail!("`{text}` is no range that goes up"),
        };
        let numbers = (first..end).step_by(step as usize);
        let most = usize::from(u16::MAX);
        let found: Vec<i64> = numbers.take(most + 1).collect();
        if found.len() > most {
            bail!("`{text}` has more than {most} numbers");
        }
        Ok(found)
    };
    Some(numbers.and_then(up))
}

/// `each` for every number of `rest`, as `i in range(4)`.
fn made(each: &str, rest: &str) -> Result<Vec<String>> {
    let (name, numbers) = rest
        .split_once(" in ")
        .ok_or_else(|| anyhow!("`in` is expected behind `for`"))?;
    let numbers = range(numbers).ok_or_else(|| anyhow!("`{numbers}` is no range"))??;
    let each = Expr::parse(each).map_err(|e| anyhow!("{e}"))?;
    let of = |number: i64| {
        let scope = Scope::from([(name.trim().to_owned(), Value::Int(number))]);
        let value = each.eval(&scope).map_err(|e| anyhow!("{e}"))?;
        Ok(value.to_string())
    };
    numbers.into_iter().map(of).collect()
}
