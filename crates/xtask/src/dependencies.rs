//! Checks of the dependencies: their licences, the Rust version they need, their source.
//!
//! `cargo deny` reads the same `deny.toml` and checks more, but takes minutes to build: `cargo xtask test`
//! runs it where it is installed, and this check everywhere.

use crate::json::{self, Object};

/// How `cargo metadata` begins the source of a package from a registry. A git source begins in another way; which
/// registries are allowed is for cargo-deny to check.
const REGISTRY: &str = "registry+";

/// Checks what `cargo metadata` printed against the licences that `deny.toml` allows. Returns one line that
/// says what was checked, or every package that breaks a rule.
pub fn check(metadata: &str, deny: &str) -> Result<String, String> {
    let allowed = allowed_licences(deny);
    if allowed.is_empty() {
        return Err("deny.toml: `allow = [...]` under [licenses] lists no licence".to_string());
    }
    let objects = json::objects(metadata);
    let packages: Vec<&Object> = objects
        .iter()
        .filter(|object| object.contains_key("manifest_path") && object.contains_key("license"))
        .collect();
    let (ours, theirs): (Vec<&Object>, Vec<&Object>) = packages
        .into_iter()
        .partition(|package| member(package, "source").is_none());
    let minimum = ours
        .iter()
        .find_map(|package| member(package, "rust_version"))
        .ok_or("cargo metadata: no package of this workspace has a rust-version")?;
    let mut wrong = Vec::new();
    for package in &theirs {
        let name = format!(
            "{} {}",
            member(package, "name").unwrap_or("(no name)"),
            member(package, "version").unwrap_or("")
        );
        match member(package, "license") {
            None => wrong.push(format!("{name}: no licence in its manifest")),
            Some(licence) if !allows(licence, &allowed) => wrong.push(format!(
                "{name}: licence `{licence}` is not allowed by deny.toml"
            )),
            Some(_) => {}
        }
        if let Some(needs) = member(package, "rust_version")
            && version(needs) > version(minimum)
        {
            wrong.push(format!(
                "{name}: needs Rust {needs}, our rust-version is {minimum}"
            ));
        }
        if member(package, "source").is_some_and(|source| !source.starts_with(REGISTRY)) {
            wrong.push(format!("{name}: does not come from a registry"));
        }
    }
    if theirs.is_empty() {
        return Err("cargo metadata: no dependency found in its output".to_string());
    }
    if wrong.is_empty() {
        return Ok(format!(
            "{} dependencies: licences allowed, all build with Rust {minimum} by their own word",
            theirs.len()
        ));
    }
    Err(wrong.join("\n"))
}

/// A member that exists and is not `null`.
fn member<'a>(package: &'a Object, name: &str) -> Option<&'a str> {
    package
        .get(name)
        .map(String::as_str)
        .filter(|value| *value != "null")
}

/// The strings of `allow = [...]` in the section `[licenses]`.
fn allowed_licences(deny: &str) -> Vec<&str> {
    let section = deny.split("[licenses]").nth(1).unwrap_or("");
    let list = section.split("allow = [").nth(1).unwrap_or("");
    let list = list.split(']').next().unwrap_or("");
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether an SPDX expression can be met with the allowed licences. The old `/` means `OR`.
fn allows(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut words = words.as_slice();
    any(&mut words, allowed) && words.is_empty()
}

/// `A OR B`, of which one must be allowed.
fn any(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = all(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all(words, allowed);
    }
    met
}

/// `A AND B`, of which each must be allowed.
fn all(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

/// A licence, perhaps `WITH` an exception, or an expression in parentheses.
fn one(words: &mut &[&str], allowed: &[&str]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any(words, allowed);
            match *words {
                [")", rest @ ..] => *words = rest,
                _ => return false,
            }
            met
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(licence)
        }
        [] => false,
    }
}

/// `1.87.0` as numbers; `1.87` is the same version.
fn version(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "[licenses]\nallow = [\n    \"MIT\",\n    \"Zlib\", # short\n]\n[bans]\n";

    fn metadata(name: &str, licence: &str, rust: &str, source: &str) -> String {
        let package = |name, licence, rust, source| {
            format!(
                r#"{{"name":"{name}","version":"1.2.3","license":{licence},"rust_version":{rust},
                    "source":{source},"manifest_path":"m","targets":[{{"name":"lib"}}]}}"#
            )
        };
        let ours = package("ours", "\"MIT\"", "\"1.90\"", "null");
        let theirs = package(name, licence, rust, source);
        format!(r#"{{"packages":[{ours},{theirs}]}}"#)
    }

    #[test]
    fn a_package_that_breaks_a_rule_is_named() {
        let source = format!("\"{REGISTRY}index\"");
        let elsewhere = "\"git+https://example.org/p\"";
        for (licence, rust, from, expected) in [
            ("\"MIT\"", "null", source.as_str(), Ok("1 dependencies")),
            ("\"MIT\"", "\"1.90.0\"", &source, Ok("1 dependencies")),
            ("\"MIT\"", "\"1.91\"", &source, Err("needs Rust 1.91")),
            ("null", "null", &source, Err("p 1.2.3: no licence")),
            ("\"GPL-3.0\"", "null", &source, Err("licence `GPL-3.0`")),
            (
                "\"MIT\"",
                "null",
                elsewhere,
                Err("not come from a registry"),
            ),
        ] {
            let outcome = check(&metadata("p", licence, rust, from), DENY);
            let (text, part) = match (&outcome, expected) {
                (Ok(text), Ok(part)) | (Err(text), Err(part)) => (text, part),
                _ => panic!("{licence} {rust} {from}: {outcome:?}"),
            };
            assert!(text.contains(part), "{text}");
        }
        assert!(check(&metadata("p", "\"MIT\"", "null", &source), "").is_err());
    }

    #[test]
    fn spdx_expressions_are_evaluated() {
        let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        for met in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(allows(met, &allowed), "{met}");
        }
        for unmet in [
            "",
            "Apache-2.0",
            "MIT AND Apache-2.0",
            "(MIT OR Apache-2.0",
            "MIT Unicode-3.0",
            "Apache-2.0 WITH other-exception",
        ] {
            assert!(!allows(unmet, &allowed), "{unmet}");
        }
    }
}
