//! `#repeat i N` … `#endrepeat`: the lines between, once for each i from 0 to N - 1. WGSL keeps values in
//! registers only under names of their own, so register tiles are named variables `c0`, `c1`, … and
//! loops over them are text.
//!
//! N is a number or a constant of the defines; both may be sums and products. Inside, `{…}` of an
//! expression over `i`, such as `{i}`, `{i / 8}` or `{2 * i + 1}`, becomes its value. Loops nest.

use std::collections::BTreeMap;

type Values = BTreeMap<String, u32>;

/// Lines that loops may make, and loops inside of loops. A compiler takes minutes for far fewer lines.
const LINES: usize = 1 << 16;
const DEPTH: usize = 16;
/// Bytes of the whole text.
const BYTES: usize = 1 << 23;

/// Appends `text` to `out`, its loops unrolled. `constants` are the names that counts may use.
pub(super) fn unroll(
    name: &str,
    text: &str,
    constants: &Values,
    out: &mut String,
) -> Result<(), String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut unroller = Unroller {
        name,
        constants,
        out,
        turns: 0,
    };
    unroller.block(&lines, &Values::new(), 0)
}

struct Unroller<'a> {
    name: &'a str,
    constants: &'a Values,
    out: &'a mut String,
    /// Turns of all loops so far, and lines inside of them.
    turns: usize,
}

impl Unroller<'_> {
    /// `depth` is the number of loops around.
    fn block(&mut self, lines: &[&str], indices: &Values, depth: usize) -> Result<(), String> {
        let name = self.name;
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            self.turns += usize::from(depth > 0);
            if self.turns > LINES || self.out.len() > BYTES || depth > DEPTH {
                return Err(format!(
                    "{name}: #repeat makes more than {LINES} lines or {BYTES} bytes, or is nested deeper than {DEPTH}; repeat less, or write a loop of WGSL"
                ));
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.first() {
                Some(&"#repeat") => {
                    let (Some(index), false) = (words.get(1), words.len() < 3) else {
                        return Err(format!("{name}: `{line}` needs an index and a count"));
                    };
                    let known = self.constants.iter().chain(indices);
                    let known: Values = known.map(|(k, v)| (k.clone(), *v)).collect();
                    let count = value(&words[2..].join(" "), &known)
                        .ok_or_else(|| format!("{name}: the count of `{line}` is not known"))?;
                    let end = matching(&lines[at + 1..])
                        .ok_or_else(|| format!("{name}: `{line}` without #endrepeat"))?;
                    let body = &lines[at + 1..at + 1 + end];
                    let mut inner = indices.clone();
                    // Turns over nothing make nothing.
                    for i in 0..if body.is_empty() { 0 } else { count } {
                        inner.insert((*index).to_owned(), i);
                        self.block(body, &inner, depth + 1)?;
                    }
                    at += end + 2;
                }
                Some(&"#endrepeat") => return Err(format!("{name}: #endrepeat without #repeat")),
                _ => {
                    substitute(line, indices, self.out);
                    self.out.push('\n');
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

/// The place of the `#endrepeat` that ends the loop whose body begins here.
fn matching(lines: &[&str]) -> Option<usize> {
    let mut depth = 0;
    for (i, line) in lines.iter().enumerate() {
        match line.split_whitespace().next() {
            Some("#repeat") => depth += 1,
            Some("#endrepeat") if depth == 0 => return Some(i),
            Some("#endrepeat") => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Replaces every `{expression}` that has a value; other braces are WGSL's own.
fn substitute(line: &str, indices: &Values, out: &mut String) {
    let mut rest = line;
    while let (false, Some(open)) = (indices.is_empty(), rest.find('{')) {
        let after = &rest[open + 1..];
        let found = after
            .find('}')
            .and_then(|close| Some((close, value(&after[..close], indices)?)));
        match found {
            Some((close, value)) => {
                out.push_str(&rest[..open]);
                out.push_str(&value.to_string());
                rest = &after[close + 1..];
            }
            None => {
                out.push_str(&rest[..=open]);
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

/// The value of a sum of products (`*`, `/`, `%`) of numbers and names.
fn value(expression: &str, names: &Values) -> Option<u32> {
    let mut sum = 0u32;
    for term in expression.split('+') {
        sum = sum.checked_add(product(term, names)?)?;
    }
    Some(sum)
}

fn product(term: &str, names: &Values) -> Option<u32> {
    let end = term.find(['*', '/', '%']).unwrap_or(term.len());
    let mut result = factor(&term[..end], names)?;
    let mut rest = &term[end..];
    while let Some(operator) = rest.chars().next() {
        let after = &rest[1..];
        let end = after.find(['*', '/', '%']).unwrap_or(after.len());
        let right = factor(&after[..end], names)?;
        result = match operator {
            '*' => result.checked_mul(right)?,
            '/' => result.checked_div(right)?,
            _ => result.checked_rem(right)?,
        };
        rest = &after[end..];
    }
    Some(result)
}

fn factor(text: &str, names: &Values) -> Option<u32> {
    let text = text.trim();
    text.parse().ok().or_else(|| names.get(text).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let constants = Values::from([("ROWS".to_owned(), 3)]);
        let mut out = String::new();
        unroll("test", text, &constants, &mut out).map(|()| out)
    }

    #[test]
    fn loops_become_text() {
        let got = run(
            "#repeat i ROWS\nvar c{i} = s{i / 2}[{2 * i % 4 + 1}];\n#endrepeat\nfn f() { return; }",
        )
        .unwrap();
        let want = "var c0 = s0[1];\nvar c1 = s0[3];\nvar c2 = s1[1];\nfn f() { return; }\n";
        assert_eq!(got, want);
        let nested =
            run("#repeat i 2\n#repeat j i + 1\n{i}{j} {k} {}\n#endrepeat\n#endrepeat").unwrap();
        assert_eq!(nested, "00 {k} {}\n10 {k} {}\n11 {k} {}\n");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("#repeat i 2\nx", "without #endrepeat"),
            ("#endrepeat", "without #repeat"),
            ("#repeat i N\n#endrepeat", "count"),
            ("#repeat i", "needs an index"),
            (
                "#repeat i 4000000000\nx{i}\n#endrepeat",
                "more than 65536 lines",
            ),
            (
                "#repeat i 60000\n#repeat j 60000\n#repeat k 0\nx\n#endrepeat\n#endrepeat\n#endrepeat",
                "more than",
            ),
        ] {
            assert!(run(text).unwrap_err().contains(part), "{text}");
        }
        let deep = "#repeat i 1\n".repeat(5000) + "x\n" + &"#endrepeat\n".repeat(5000);
        assert!(run(&deep).unwrap_err().contains("nested deeper"));
        let long = format!("#repeat i 100000\n{}\n#endrepeat", "x".repeat(2000));
        assert!(run(&long).unwrap_err().contains("bytes"));
        assert_eq!(run("#repeat i 4000000000\n#endrepeat\ny").unwrap(), "y\n");
    }
}
