//! Labels of a table and labels of a model, matched by name.

use std::collections::{BTreeMap, BTreeSet};

/// For each of `names` the index of the model's label that it names. Names are compared as written, else without
/// regard to case, and numbers by their value, so that `1`, `1.0` and `"1"` are one label. Where that finds every
/// name, `LABEL_2`, the name that `transformers` gives a label without one, is label `2` too. A name that several of
/// the model's labels have names none of them.
pub fn match_labels<S: AsRef<str>>(model: &[String], names: &[S]) -> Vec<Option<usize>> {
    let find = |key: &dyn Fn(&str) -> String| -> Vec<Option<usize>> {
        let mut index: BTreeMap<String, Option<usize>> = BTreeMap::new();
        for (i, label) in model.iter().enumerate() {
            let place = index.entry(key(label)).or_insert(Some(i));
            if *place != Some(i) {
                *place = None;
            }
        }
        let found = names
            .iter()
            .map(|name| index.get(&key(name.as_ref())).copied().flatten());
        found.collect()
    };
    let exact = find(&str::to_owned);
    let loose = find(&label_key);
    let aliased = find(&|label: &str| {
        let key = label_key(label);
        match key.strip_prefix("label_") {
            Some(digits) if digits.parse::<u32>().is_ok() => label_key(digits),
            _ => key,
        }
    });
    let distinct = |found: &[Option<usize>]| {
        let matched: Vec<usize> = found.iter().flatten().copied().collect();
        matched.len() == matched.iter().collect::<BTreeSet<_>>().len()
    };
    let whole = |found: &[Option<usize>]| found.iter().all(Option::is_some) && distinct(found);
    if whole(&exact) {
        return exact;
    }
    match (whole(&loose), whole(&aliased)) {
        (false, true) => aliased,
        _ if distinct(&loose) => loose,
        _ => exact,
    }
}

/// Equal for spellings of one label: of a number, or of a word in upper and lower case.
fn label_key(label: &str) -> String {
    canonical_number(label).unwrap_or_else(|| label.trim().to_lowercase())
}

/// The one spelling of a finite number written in digits.
pub fn canonical_number(text: &str) -> Option<String> {
    // 0 and -0 are the same number.
    let number = number(text)? + 0.0;
    // Up to here every whole number has an f64 of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.fract() == 0.0 && number.abs() < EXACT {
        true => Some((number as i64).to_string()),
        // Larger ones, such as ids, may share one.
        false => match text.parse::<i128>() {
            Ok(whole) => Some(whole.to_string()),
            Err(_) => Some(number.to_string()),
        },
    }
}

/// A finite number written in digits.
pub fn number(text: &str) -> Option<f64> {
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    let number: f64 = text.parse().ok()?;
    (digits && number.is_finite()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(model: &[&str], names: &[&str]) -> Vec<Option<usize>> {
        let model: Vec<String> = model.iter().map(|label| (*label).to_owned()).collect();
        match_labels(&model, names)
    }

    #[test]
    fn by_name_and_never_by_order() {
        assert_eq!(
            matched(&["pos", "neg"], &["neg", "pos"]),
            [Some(1), Some(0)]
        );
        assert_eq!(
            matched(&["Positive", "NEGATIVE"], &["negative", "positive"]),
            [Some(1), Some(0)]
        );
        assert_eq!(matched(&["a", "b", "c"], &["c", "a"]), [Some(2), Some(0)]);
        assert_eq!(matched(&["a", "b"], &["b", "new"]), [Some(1), None]);
        assert_eq!(matched(&["a", "b"], &["x", "y"]), [None, None]);
        // As written comes first.
        assert_eq!(matched(&["us", "US"], &["US", "us"]), [Some(1), Some(0)]);
        assert_eq!(matched(&["us", "US"], &["Us"]), [None]);
        assert_eq!(matched(&["a", "a"], &["a"]), [None]);
    }

    #[test]
    fn numbers_are_matched_by_value() {
        assert_eq!(matched(&["0", "1"], &["1.0", "0.0"]), [Some(1), Some(0)]);
        assert_eq!(
            matched(&["LABEL_0", "LABEL_1"], &["1", "0"]),
            [Some(1), Some(0)]
        );
        assert_eq!(
            matched(&["0", "1"], &["LABEL_1", "LABEL_0"]),
            [Some(1), Some(0)]
        );
        // Half a match is none: the other classes of the data are no labels of the model.
        assert_eq!(matched(&["LABEL_0"], &["0", "1"]), [None, None]);
        assert_eq!(canonical_number("+1"), Some("1".to_owned()));
        assert_eq!(canonical_number("1e1"), Some("10".to_owned()));
        assert_eq!(canonical_number("-0.0"), Some("0".to_owned()));
        assert_eq!(canonical_number("2.50"), Some("2.5".to_owned()));
        assert_eq!(
            canonical_number("9007199254740993"),
            Some("9007199254740993".to_owned())
        );
        assert_eq!(canonical_number("nan"), None);
        assert_eq!(canonical_number("x1"), None);
    }
}
