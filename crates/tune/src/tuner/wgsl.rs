//! Brings any WGSL file into the form that the runtime runs: one entry point, a uniform at binding 0, storage
//! from binding 1.
//!
//! Values for parameters that the file declares itself replace the file's own values (see [`settle`]).
//!
//! A module is cut into its declarations; declarations that the entry point does not use, directly or indirectly, are replaced by spaces
//! (line numbers stay, so that messages name the file's own lines), and the remaining bindings are
//! numbered anew in their order.

use std::collections::BTreeSet;

mod token;

use token::{Token, tokenize};

/// One declaration at module level, and its position in the text.
struct Declaration<'a> {
    start: usize,
    end: usize,
    tokens: Vec<Token<'a>>,
}

/// `text` with entry point `entry` (or its only one), its bindings numbered as the runtime needs them.
///
/// # Errors
/// No such entry point, several without a choice, more than one uniform.
pub fn isolate(text: &str, entry: Option<&str>) -> Result<String, String> {
    let declarations = declarations(text);
    let entries: Vec<&Declaration> = declarations.iter().filter(|d| d.is_entry()).collect();
    let names: Vec<&str> = entries.iter().filter_map(|d| d.name()).collect();
    let chosen = match (entry, entries.as_slice()) {
        (_, []) => return Err("no compute entry point; one function needs @compute".into()),
        (None, [one]) => *one,
        (None, _) => {
            return Err(format!(
                "several entry points ({}); choose one with `entry`",
                names.join(", ")
            ));
        }
        (Some(requested), all) => *all
            .iter()
            .find(|d| d.name() == Some(requested))
            .ok_or_else(|| format!("no entry point `{requested}`; it has {}", names.join(", ")))?,
    };
    let kept = reached(&declarations, chosen);
    let mut out = text.as_bytes().to_vec();
    // Directives must come first, but constants may have been put in front of the file.
    let mut directives = String::new();
    for (declaration, kept) in declarations.iter().zip(&kept) {
        if declaration.is_directive() {
            directives.push_str(&declaration.directive(text));
        } else if *kept {
            continue;
        }
        blank(&mut out[declaration.start..declaration.end]);
    }
    let live = declarations.iter().zip(&kept).filter(|(_, kept)| **kept);
    let mut bound: Vec<Binding> = live.filter_map(|(d, _)| d.binding()).collect();
    bound.sort_by_key(|b| (!b.uniform, b.group.1, b.binding.1));
    if bound.iter().filter(|b| b.uniform).count() > 1 {
        return Err("more than one uniform; put them into one struct".into());
    }
    let first = usize::from(!bound.first().is_some_and(|b| b.uniform));
    let mut edits: Vec<(Span, usize)> = Vec::new();
    for (i, binding) in bound.iter().enumerate() {
        edits.push((binding.group.0, 0));
        edits.push((binding.binding.0, i + first));
    }
    // From the back, so that earlier positions stay valid.
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.0));
    for ((start, end), number) in edits {
        out.splice(start..end, number.to_string().into_bytes());
    }
    let rest = String::from_utf8(out).map_err(|_| "the file is not UTF-8".to_owned())?;
    Ok(directives + &rest)
}

/// `text` with its directives in front, where constants were put before them.
pub fn directives_first(text: &str) -> String {
    let all = declarations(text);
    let first = all
        .iter()
        .position(|d| !d.is_directive())
        .unwrap_or(all.len());
    let mut out = text.as_bytes().to_vec();
    let mut moved = String::new();
    for directive in all[first..].iter().filter(|d| d.is_directive()) {
        moved += &text[directive.start..directive.end];
        moved.push('\n');
        blank(&mut out[directive.start..directive.end]);
    }
    moved + &String::from_utf8_lossy(&out)
}

/// Whether the text declares a uniform; comments do not count.
pub fn has_uniform(text: &str) -> bool {
    let words: Vec<&str> = tokenize(text).iter().map(|t| t.text).collect();
    words.windows(3).any(|w| w == ["var", "<", "uniform"])
}

/// The arguments of `@workgroup_size` of entry point `entry`, or of the only one.
pub fn workgroup_size(text: &str, entry: Option<&str>) -> Option<Vec<String>> {
    let all = declarations(text);
    let mut entries = all.iter().filter(|d| d.is_entry());
    let chosen = entries.find(|d| entry.is_none_or(|name| d.name() == Some(name)))?;
    let mut tokens = chosen.tokens.iter().map(|t| t.text);
    tokens.find(|word| *word == "workgroup_size")?;
    let mut found = vec![String::new()];
    let mut depth = 0;
    for word in tokens {
        depth += i32::from(word == "(") - i32::from(word == ")");
        match (word, depth) {
            (")", 0) => break,
            ("(", 1) => {}
            (",", 1) => found.push(String::new()),
            (word, _) => found.last_mut()?.push_str(word),
        }
    }
    // A trailing comma is allowed.
    found.retain(|argument| !argument.is_empty());
    Some(found)
}

/// Whether `name` occurs anywhere in the code.
pub fn mentions(text: &str, name: &str) -> bool {
    tokenize(text).iter().any(|t| t.text == name)
}

/// Where one of `names` is declared twice, the first declaration gives the value and the second, the
/// file's own, the type and the position: `const TILE: u32 = 8u;` in front of a file with
/// `override TILE: u32 = 16;` becomes `const TILE: u32 = 8;` there. Such a file also works without a tuner.
pub fn settle(text: &str, names: &BTreeSet<String>) -> String {
    let all = declarations(text);
    let mut edits: Vec<(Span, String)> = Vec::new();
    for name in names {
        let mut of_name = all
            .iter()
            .filter(|d| d.is_constant() && d.name() == Some(name));
        let (Some(given), Some(own)) = (of_name.next(), of_name.next()) else {
            continue;
        };
        let Some(value) = given.initializer() else {
            continue;
        };
        let Some(old) = own.initializer() else {
            // `override NAME: u32;` has no value of its own and gets this one.
            let mut empty = text.as_bytes()[own.start..own.end].to_vec();
            blank(&mut empty);
            edits.push((
                (own.start, own.end),
                String::from_utf8_lossy(&empty).into_owned(),
            ));
            continue;
        };
        // `= override NAME;` and the like is no declaration; the compiler says what it is.
        let Some(kept) = text.get(own.after_keyword()..old.0) else {
            continue;
        };
        let literal = text[value.0..value.1].trim_end_matches(['u', 'i', 'f']);
        let word = &text[old.0..old.1];
        let suffix = word
            .chars()
            .last()
            .filter(|c| matches!(c, 'u' | 'i' | 'f' | 'h'));
        // The last digit of 0x4f is no suffix.
        let digits = word.starts_with("0x") || word.starts_with("0X");
        let suffix = suffix.filter(|c| !(digits && *c == 'f' && !word.contains(['p', 'P'])));
        let typed = own.has(":");
        let suffix = suffix.filter(|_| !typed && word.starts_with(|c: char| c.is_ascii_digit()));
        let mut own_text = String::from("const ");
        own_text.push_str(kept.trim_start());
        own_text.push_str(literal);
        own_text.extend(suffix);
        own_text.push(';');
        edits.push(((own.start, own.end), own_text));
        let mut empty = text.as_bytes()[given.start..given.end].to_vec();
        blank(&mut empty);
        edits.push((
            (given.start, given.end),
            String::from_utf8_lossy(&empty).into_owned(),
        ));
    }
    edits.sort_by_key(|(span, _)| std::cmp::Reverse(span.0));
    let mut out = text.to_owned();
    for ((start, end), new) in edits {
        out.replace_range(start..end, &new);
    }
    out
}

/// Everything but line ends becomes a space.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|b| **b != b'\n') {
        *byte = b' ';
    }
}

type Span = (usize, usize);

/// The numbers of a resource variable, with their positions.
struct Binding {
    uniform: bool,
    group: (Span, u32),
    binding: (Span, u32),
}

impl<'a> Declaration<'a> {
    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|t| t.text == word)
    }

    fn is_entry(&self) -> bool {
        self.tokens
            .windows(2)
            .any(|w| w[0].text == "@" && w[1].text == "compute")
    }

    fn is_directive(&self) -> bool {
        let first = self.tokens.first().map(|t| t.text);
        matches!(first, Some("enable" | "requires" | "diagnostic"))
    }

    /// A directive as naga reads it: browsers want `enable subgroups;`, naga has subgroup operations without it and
    /// does not know the word.
    fn directive(&self, text: &str) -> String {
        let words = self.tokens.iter().map(|t| t.text);
        if self.tokens.first().map(|t| t.text) != Some("enable") {
            return text[self.start..self.end].to_owned() + " ";
        }
        let known = |word: &&str| !matches!(*word, "enable" | "," | ";" | "subgroups");
        let left: Vec<&str> = words.filter(known).collect();
        match left.is_empty() {
            true => String::new(),
            false => format!("enable {}; ", left.join(", ")),
        }
    }

    fn is_constant(&self) -> bool {
        let mut depth = 0;
        for token in &self.tokens {
            match token.text {
                "(" => depth += 1,
                ")" => depth -= 1,
                "const" | "override" if depth == 0 => return true,
                "fn" | "var" | "struct" | "alias" if depth == 0 => return false,
                _ => {}
            }
        }
        false
    }

    /// Where the name and type of a constant start.
    fn after_keyword(&self) -> usize {
        let keyword = self
            .tokens
            .iter()
            .find(|t| matches!(t.text, "const" | "override"));
        keyword.map_or(self.start, |t| t.at + t.text.len())
    }

    /// The position of the value behind the `=` of a constant.
    fn initializer(&self) -> Option<Span> {
        let equals = self.tokens.iter().position(|t| t.text == "=")?;
        let first = self.tokens.get(equals + 1)?;
        let last = self.tokens.get(self.tokens.len().checked_sub(2)?)?;
        (first.at <= last.at).then(|| (first.at, last.at + last.text.len()))
    }

    /// The declared name; `None` for `enable` and other directives.
    fn name(&self) -> Option<&'a str> {
        let mut depth = 0;
        let mut tokens = self.tokens.iter();
        while let Some(token) = tokens.next() {
            match token.text {
                "(" => depth += 1,
                ")" => depth -= 1,
                "fn" | "struct" | "alias" | "const" | "override" if depth == 0 => {
                    return tokens.next().map(|t| t.text);
                }
                "var" if depth == 0 => {
                    // `var<storage, read> x`
                    let mut inside = false;
                    return tokens
                        .find(|t| {
                            let skip = inside || t.text == "<";
                            inside = skip && t.text != ">";
                            !skip
                        })
                        .map(|t| t.text);
                }
                _ => {}
            }
        }
        None
    }

    fn binding(&self) -> Option<Binding> {
        let number = |word: &str| {
            let at = self
                .tokens
                .windows(3)
                .position(|w| w[0].text == "@" && w[1].text == word && w[2].text == "(")?;
            let token = self.tokens.get(at + 3)?;
            let value = token.text.trim_end_matches(['u', 'i']).parse().ok()?;
            Some(((token.at, token.at + token.text.len()), value))
        };
        Some(Binding {
            uniform: self.has("uniform"),
            group: number("group")?,
            binding: number("binding")?,
        })
    }
}

/// Which declarations the entry point uses, directly or indirectly, found by name.
fn reached(declarations: &[Declaration], entry: &Declaration) -> Vec<bool> {
    let mut kept: Vec<bool> = declarations
        .iter()
        .map(|d| d.start == entry.start || d.name().is_none())
        .collect();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    loop {
        let live = declarations.iter().zip(&kept).filter(|(_, kept)| **kept);
        let found: BTreeSet<&str> = live
            .flat_map(|(d, _)| d.tokens.iter().map(|t| t.text))
            .collect();
        if found == names {
            return kept;
        }
        names = found;
        for (declaration, kept) in declarations.iter().zip(&mut kept) {
            // An unused entry point is left out even if its name is also used for something else.
            *kept |= !declaration.is_entry()
                && declaration.name().is_some_and(|name| names.contains(name));
        }
    }
}

/// Cuts a module at every `;` and every closed `}` outside of brackets.
fn declarations(text: &str) -> Vec<Declaration<'_>> {
    let mut found = Vec::new();
    let mut tokens: Vec<Token> = Vec::new();
    let mut depth = 0usize;
    for token in tokenize(text) {
        let start = tokens.first().map_or(token.at, |t| t.at);
        tokens.push(token);
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text, "}" | ";") {
            found.push(Declaration {
                start,
                end: token.at + 1,
                tokens: std::mem::take(&mut tokens),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests;
