//! The command line: `--name value`, `--name=value` and two switches, `-` and `_` alike.

use std::path::PathBuf;

use crate::plan::Size;

/// The user's options; for an absent one, the command decides.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    pub size: Option<Size>,
    pub adapter: Option<String>,
    pub output_dir: Option<PathBuf>,
    pub cache_dir: Option<PathBuf>,
    /// A built `wgrad`.
    pub wgrad: Option<PathBuf>,
    pub minutes: Option<u64>,
}

impl Options {
    /// Reads the arguments after the command's name; `accepted` are the names this command knows,
    /// written with `_`.
    pub fn parse(arguments: &[String], accepted: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_string())),
                None => (argument.as_str(), None),
            };
            let name = flag.strip_prefix("--").unwrap_or("").replace('-', "_");
            if !accepted.contains(&name.as_str()) {
                return Err(format!("`{argument}` is not an option of this command"));
            }
            if let "small" | "full" = name.as_str() {
                let size = if name == "small" {
                    Size::Small
                } else {
                    Size::Full
                };
                if inline.is_some() {
                    return Err(format!("{flag} takes no value, given `{argument}`"));
                }
                if options.size.is_some_and(|earlier| earlier != size) {
                    return Err("--small and --full exclude each other".to_string());
                }
                options.size = Some(size);
                continue;
            }
            let value = inline
                .or_else(|| arguments.next().cloned())
                .filter(|value| !value.is_empty() && !value.starts_with("--"))
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match name.as_str() {
                "adapter" => options.adapter = Some(value),
                "output_dir" => options.output_dir = Some(value.into()),
                "wgrad" => options.wgrad = Some(value.into()),
                "minutes" => {
                    let minutes = value.parse().ok().filter(|minutes| *minutes > 0);
                    let given = minutes.ok_or_else(|| {
                        format!("--minutes is a whole number from 1 on, given `{value}`")
                    })?;
                    options.minutes = Some(given);
                }
                _ => options.cache_dir = Some(value.into()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["small", "full", "adapter", "output_dir", "cache_dir"];

    fn parse(line: &str, accepted: &[&str]) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Options::parse(&words, accepted)
    }

    #[test]
    fn both_spellings_and_both_forms() {
        let expected = Options {
            size: Some(Size::Small),
            adapter: Some("llvmpipe".into()),
            output_dir: Some("o".into()),
            cache_dir: Some("c".into()),
            ..Options::default()
        };
        let spaced = "--small --adapter llvmpipe --output_dir o --cache-dir c";
        let equals = "--small --adapter=llvmpipe --output-dir=o --cache_dir=c";
        assert_eq!(parse(spaced, ALL), Ok(expected));
        assert_eq!(parse(equals, ALL), parse(spaced, ALL));
        assert_eq!(parse("", ALL), Ok(Options::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, accepted, part) in [
            ("--smal", ALL, "`--smal` is not an option"),
            ("small", ALL, "`small` is not an option"),
            ("-small", ALL, "`-small` is not an option"),
            ("--", ALL, "`--` is not an option"),
            ("--full", &["cache_dir"][..], "`--full` is not an option"),
            ("--small --full", ALL, "exclude each other"),
            ("--small=yes", ALL, "takes no value"),
            ("--adapter", ALL, "--adapter needs a value"),
            ("--adapter --small", ALL, "--adapter needs a value"),
            ("--cache-dir=", ALL, "--cache-dir needs a value"),
            (
                "--minutes=0",
                &["minutes"][..],
                "a whole number from 1 on, given `0`",
            ),
            (
                "--minutes=x",
                &["minutes"][..],
                "a whole number from 1 on, given `x`",
            ),
        ] {
            let message = parse(line, accepted).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
