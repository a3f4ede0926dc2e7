//! Flags of `transformers`' training scripts that `finetune` does not have. A table lists them. A flag that changes nothing
//! here is accepted and noted in one line; for every other, the error names what does the same here.
//!
//! Flags that `finetune` has are written as `transformers`' parser takes them: `--fp16`, `--fp16 True`.

use std::any::TypeId;
use std::collections::BTreeSet;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

const TABLE: &str = include_str!("hugging_face.tsv");

/// A line of the table.
struct Foreign {
    flag: &'static str,
    form: &'static str,
    /// Values that ask for what happens anyway.
    silent: Vec<&'static str>,
    refused: bool,
    text: &'static str,
}

fn table() -> impl Iterator<Item = Foreign> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut columns = line.split('\t');
        let mut column = || columns.next();
        Some(Foreign {
            flag: column()?,
            form: column()?,
            silent: column()?.split(',').collect(),
            refused: column()? == "use",
            text: column()?,
        })
    })
}

/// Adds the table's flags that `command` has not, and lets its own on-off flags take a value as Python writes it.
pub fn declare(command: Command) -> Command {
    let own: BTreeSet<String> = (command.get_arguments())
        .flat_map(|arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            let long = arg.get_long().map(str::to_owned);
            long.into_iter()
                .chain(aliases.into_iter().map(str::to_owned))
        })
        .collect();
    let command = command.mut_args(|arg| {
        // As in transformers, the last one counts of a flag that is given twice.
        let id = arg.get_id().clone();
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return (arg
                .overrides_with(id)
                .action(ArgAction::Set)
                .value_parser(boolean_parser()))
            .num_args(0..=1)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .value_name("BOOL");
        }
        let arg = match arg.get_action() {
            ArgAction::Set => arg.overrides_with(id),
            _ => arg,
        };
        match arg.get_value_parser().type_id() == TypeId::of::<bool>() {
            true => arg.value_parser(boolean_parser()),
            false => arg,
        }
    });
    table()
        .filter(|row| !own.contains(row.flag))
        .fold(command, |command, row| {
            // clap needs names with the lifetime of the program; the command line is built once.
            let arg = Arg::new(&*id(row.flag).leak());
            let arg = arg.long(row.flag).hide(true);
            let arg = arg.action(ArgAction::Append);
            command.arg(match row.form {
                "list" => arg.num_args(0..),
                _ => arg.num_args(0..=1),
            })
        })
}

/// What to say about the flags of the table that were given.
///
/// # Errors
/// A flag that asks for something that `finetune` does in another way, or not at all.
pub fn notes(matches: &ArgMatches) -> Result<Vec<String>, clap::Error> {
    let mut notes = Vec::new();
    for row in table() {
        // Not declared where the command has a flag of this name itself.
        let id = id(row.flag);
        let Ok(given) = matches.try_get_raw_occurrences(&id) else {
            continue;
        };
        if matches.value_source(&id) != Some(ValueSource::CommandLine) {
            continue;
        }
        for values in given.into_iter().flatten() {
            let values: Vec<_> = values.map(|v| v.to_string_lossy().to_lowercase()).collect();
            let given = values.join(" ");
            let value = match (row.form, given.as_str()) {
                ("bool", "") => "true",
                ("bool", text) => boolean(text)
                    .map(|on| if on { "true" } else { "false" })
                    .map_err(|text| usage(format!("--{}: {text}", row.flag)))?,
                (_, "" | "none" | "null") => "none",
                (_, text) => text,
            };
            let flag = match (row.form, value) {
                ("bool", "false") => format!("--{} false", row.flag),
                _ => format!("--{}", row.flag),
            };
            if row.silent.contains(&value) {
                continue;
            }
            if row.refused {
                return Err(usage(format!("there is no {flag}; use {}", row.text)));
            }
            notes.push(format!("note: {flag} changes nothing: {}", row.text));
        }
    }
    Ok(notes)
}

/// clap's name of a flag of the table, which no field of a command has.
fn id(flag: &str) -> String {
    format!("transformers {flag}")
}

fn usage(text: String) -> clap::Error {
    clap::Error::raw(ErrorKind::InvalidValue, text)
}

fn boolean_parser() -> impl TypedValueParser<Value = bool> {
    boolean as fn(&str) -> Result<bool, String>
}

/// On or off, in the words that `transformers`' parser takes.
fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "t" | "y" | "1" => Ok(true),
        "false" | "no" | "f" | "n" | "0" => Ok(false),
        _ => Err(format!("`{text}` is not true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let mut seen = BTreeSet::new();
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.clone().count(), table().count());
        for line in lines {
            let columns: Vec<&str> = line.split('\t').collect();
            let [flag, form, silent, outcome, text] = columns[..] else {
                panic!("{line}: five columns are needed");
            };
            assert!(seen.insert(flag), "{flag} is listed twice");
            assert!(["bool", "value", "list"].contains(&form), "{line}");
            assert!(["note", "use"].contains(&outcome), "{line}");
            assert!(!silent.is_empty() && !text.is_empty(), "{line}");
        }
    }

    #[test]
    fn booleans_are_those_of_python() {
        for (text, expected) in [("True", true), ("1", true), ("yes", true), ("False", false)] {
            assert_eq!(boolean(text), Ok(expected));
        }
        assert!(boolean("perhaps").is_err());
    }
}
