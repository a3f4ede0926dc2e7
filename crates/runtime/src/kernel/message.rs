//! Errors of WGSL text in one line: where it is, the line itself, and what is wrong.

use naga::SourceLocation;

/// The error of a text that naga does not read.
pub(super) fn parse_error(error: &naga::front::wgsl::ParseError, text: &str) -> String {
    let labels = error.labels().map(|(_, label)| label.to_owned());
    // The first label says what is wrong with the place that is marked; the message names it.
    let labels: Vec<String> = labels.filter(|label| !label.is_empty()).collect();
    let mut what = error.message().to_owned();
    if !labels.is_empty() {
        what = format!("{what} ({})", labels.join("; "));
    }
    placed(error.location(text), text, &what)
}

/// The error of a text that naga reads but finds invalid, if it does.
pub(super) fn validation_error(text: &str) -> Option<String> {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = naga::front::wgsl::parse_str(text).ok()?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let error = validator.validate(&module).err()?;
    Some(placed(error.location(text), text, &chain(error.as_inner())))
}

/// An error and what caused it, one after the other.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn placed(location: Option<SourceLocation>, text: &str, what: &str) -> String {
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some(location) = location else {
        return what;
    };
    let line = text.lines().nth(location.line_number as usize - 1);
    let line = line.unwrap_or_default().trim();
    let (row, column) = (location.line_number, location.line_position);
    format!("line {row}, column {column}: {what}: `{line}`")
}

/// Several lines of a driver or of wgpu in one.
pub(super) fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let kept = lines.filter(|line| !line.is_empty() && *line != "Caused by:");
    kept.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_line() {
        let text = "@compute @workgroup_size(1)\nfn k() {\n    let a = 1.0 + b;\n}";
        let error = naga::front::wgsl::parse_str(text).unwrap_err();
        let message = parse_error(&error, text);
        let expected = "line 3, column 19: no definition in scope for identifier: `b` (unknown identifier): `let a = 1.0 + b;`";
        assert_eq!(message, expected);
        let text = "@group(0) @binding(1) var<storage, read> x: array<f32>;\n@compute @workgroup_size(1)\nfn k() {\n    x[0] = 1.0;\n}";
        let message = validation_error(text).unwrap();
        assert!(message.starts_with("line 4, column 5: "), "{message}");
        assert!(
            message.ends_with(": `x[0] = 1.0;`") && !message.contains('\n'),
            "{message}"
        );
        assert_eq!(
            validation_error("@compute @workgroup_size(1)\nfn k() {}"),
            None
        );
    }
}
