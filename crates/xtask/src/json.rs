//! Just enough JSON to read what cargo and `wgrad info --json` print.

use std::collections::BTreeMap;

/// The scalar members of one object: strings unescaped, other scalars as written.
pub type Object = BTreeMap<String, String>;

/// Every object in `text`, however deep, each before the one that holds it. Text between JSON
/// values and what is not JSON at all is skipped: the caller looks for members, not for errors.
pub fn objects(text: &str) -> Vec<Object> {
    let mut done = Vec::new();
    // One entry for each open `{` or `[`; an array's entry stays empty.
    let mut open: Vec<Object> = Vec::new();
    let mut key: Option<String> = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut after = &rest[first.len_utf8()..];
        let mut value = None;
        match first {
            '{' | '[' => {
                key = None;
                open.push(Object::new());
            }
            '}' | ']' => {
                if let Some(object) = open.pop().filter(|_| first == '}') {
                    done.push(object);
                }
            }
            '"' => {
                let string;
                (string, after) = unescape(after);
                if after.trim_start().starts_with(':') {
                    key = Some(string);
                } else {
                    value = Some(string);
                }
            }
            c if c.is_ascii_alphanumeric() || c == '-' => {
                let end = rest
                    .find(|c: char| c == ',' || c == '}' || c == ']' || c.is_whitespace())
                    .unwrap_or(rest.len());
                value = Some(rest[..end].to_string());
                after = &rest[end..];
            }
            _ => {}
        }
        if let (Some(value), Some(object)) = (value, open.last_mut())
            && let Some(key) = key.take()
        {
            object.insert(key, value);
        }
        rest = after;
    }
    done
}

/// Reads a string whose opening quote is already gone; returns it and the text after its end.
fn unescape(text: &str) -> (String, &str) {
    let mut string = String::new();
    let mut chars = text.char_indices();
    // A character outside the 16-bit plane is written as two `\u` escapes.
    let mut units: Vec<u16> = Vec::new();
    while let Some((at, c)) = chars.next() {
        let escaped = if c == '\\' {
            chars.next().map(|(_, c)| c)
        } else {
            None
        };
        if escaped == Some('u') {
            let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
            units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
            continue;
        }
        string.push_str(&String::from_utf16_lossy(&units));
        units.clear();
        match escaped {
            None if c == '"' => return (string, &text[at + 1..]),
            None => string.push(c),
            Some('n') => string.push('\n'),
            Some('t') => string.push('\t'),
            Some('r') => string.push('\r'),
            Some('b') => string.push('\u{8}'),
            Some('f') => string.push('\u{c}'),
            Some(other) => string.push(other),
        }
    }
    (string, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_belong_to_their_own_object() {
        let text = r#"{"adapters": [
            {"name": "A \"one\"", "limits": {"selected": false, "max": 8}, "selected": false},
            {"device_type":"Cpu","features":["x","y"],"limits":{"max":-1.5e3},"selected":true}]}"#;
        let found = objects(text);
        let chosen = found
            .iter()
            .find(|o| o.get("selected").is_some_and(|s| s == "true"))
            .unwrap();
        assert_eq!(chosen["device_type"], "Cpu");
        assert_eq!(
            chosen.len(),
            2,
            "array entries and inner members stay out: {chosen:?}"
        );
        assert_eq!(
            found.iter().filter(|o| o.contains_key("selected")).count(),
            3
        );
        assert_eq!(found[0]["max"], "8");
        assert_eq!(found[1]["name"], "A \"one\"");
        assert_eq!(found[2]["max"], "-1.5e3");
    }

    #[test]
    fn strings_are_unescaped() {
        let found =
            objects(r#"{"p":"C:\\t\\x.exe","e":"\u00e9 \ud83d\ude00\n","é":"{not: \"one\"}"}"#);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["p"], r"C:\t\x.exe");
        assert_eq!(found[0]["e"], "é 😀\n");
        assert_eq!(found[0]["é"], "{not: \"one\"}");
    }

    #[test]
    fn broken_text_does_no_harm() {
        for text in [
            "",
            "}",
            "{",
            "{\"a",
            "{\"a\":",
            "]{\"a\":\"\\",
            "é",
            "{\"a\": \"\\u12",
        ] {
            assert!(objects(text).iter().all(Object::is_empty), "{text}");
        }
        assert_eq!(objects("a line\n{\"x\":1}\nanother\n{\"x\":2}").len(), 2);
    }
}
