//! Freezing parameters by the pattern of their names.

use wgrad_tensor::{Error, Result};

use crate::Module;

/// Sets `requires_grad` to false for every parameter of `module` whose name matches `pattern`, and returns
/// their number. No gradient is computed for them from the next forward pass on.
///
/// In a pattern `*` stands for any characters, dots included, `?` for one, `[0-3]` or `[abc]` for one of
/// those; the whole name must match: `embeddings.*`, `encoder.layer.[0-3].*`, `*.bias`.
///
/// Errors: a `[` without `]`; a pattern that matches nothing, with names that could have been meant.
pub fn freeze<M: Module + ?Sized>(module: &M, pattern: &str) -> Result<usize> {
    set_trainable(module, pattern, false)
}

/// The opposite of [`freeze`].
pub fn unfreeze<M: Module + ?Sized>(module: &M, pattern: &str) -> Result<usize> {
    set_trainable(module, pattern, true)
}

fn set_trainable<M: Module + ?Sized>(module: &M, pattern: &str, on: bool) -> Result<usize> {
    let tokens = parse(pattern)?;
    let parameters = module.named_parameters();
    let mut count = 0;
    for (name, tensor) in &parameters {
        if matches(&tokens, name) {
            tensor.set_requires_grad(on)?;
            count += 1;
        }
    }
    if count == 0 {
        let some: Vec<&str> = parameters.iter().take(3).map(|p| p.0.as_str()).collect();
        return Err(Error::op(
            "freeze",
            format!(
                "no parameter's name matches `{pattern}`; there are {}, such as {}; `*` stands for any characters",
                parameters.len(),
                some.join(", ")
            ),
        ));
    }
    Ok(count)
}

/// Whether `name` matches `pattern`, as [`freeze`] reads it.
pub fn name_matches(pattern: &str, name: &str) -> Result<bool> {
    Ok(matches(&parse(pattern)?, name))
}

enum Token {
    Any,
    One,
    Char(char),
    Set(Vec<(char, char)>),
}

fn parse(pattern: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => {
                let Some((inside, after)) = rest.as_str().split_once(']') else {
                    return Err(Error::op(
                        "freeze",
                        format!("pattern `{pattern}` has a [ without a ]"),
                    ));
                };
                rest = after.chars();
                Token::Set(ranges(inside))
            }
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// `0-3ab` as ranges; a `-` at either end stands for itself.
fn ranges(text: &str) -> Vec<(char, char)> {
    let chars: Vec<char> = text.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let spans = at + 2 < chars.len() && chars[at + 1] == '-';
        let end = if spans { at + 2 } else { at };
        ranges.push((chars[at], chars[end]));
        at = end + 1;
    }
    ranges
}

/// Greedy matching that goes back to the last `*` only: linear in practice, never exponential.
fn matches(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < name.len() {
        let fits = match tokens.get(token) {
            Some(Token::Any) => {
                back = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::One) => true,
            Some(Token::Char(c)) => *c == name[at],
            Some(Token::Set(set)) => set
                .iter()
                .any(|(low, high)| (low..=high).contains(&&name[at])),
            None => false,
        };
        if fits {
            token += 1;
            at += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            token = star + 1;
            at = from + 1;
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|t| matches!(t, Token::Any))
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn patterns_match_whole_names() {
        let name = "encoder.layer.3.attention.self.query.weight";
        for (pattern, expected) in [
            ("*", true),
            (name, true),
            ("encoder.*", true),
            ("*.weight", true),
            ("encoder.layer.[0-3].*", true),
            ("encoder.layer.[0-2].*", false),
            ("encoder.layer.[352].*", true),
            ("encoder.layer.?.*", true),
            ("encoder.layer.??.*", false),
            ("*query*", true),
            ("*.layer.*.self.*.weight*", true),
            ("encoder", false),
            ("*.bias", false),
            ("layer.*", false),
            ("", false),
        ] {
            assert_eq!(name_matches(pattern, name).unwrap(), expected, "{pattern}");
        }
        assert!(name_matches("", "").unwrap());
        assert!(name_matches("a[-x]b", "a-b").unwrap());
        assert!(name_matches("a[x-]b", "a-b").unwrap());
        assert!(!name_matches("a[]b", "ab").unwrap());
    }

    #[test]
    fn an_open_bracket_is_refused() {
        let error = name_matches("layer.[0-3.*", "x").unwrap_err().to_string();
        assert!(error.contains("[ without a ]"), "{error}");
    }

    #[test]
    fn many_stars_are_cheap() {
        let name = "a".repeat(5000);
        assert!(!name_matches("*a*a*a*a*a*a*a*a*a*a*b", &name).unwrap());
    }
}
