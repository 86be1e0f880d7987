//! The configuration file: values of flags that are not given on the command line.
//!
//! ```toml
//! data-dir = "/shared/vatic"
//! memory-limit = "8G"
//! set = ["vatic.batch_size=1000"]
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgAction, Command};
use toml::{Table, Value};

/// Flags that choose the statements to run are not allowed in the file.
const NOT_HERE: &[&str] = &["command", "file", "config", "output", "help", "version"];

/// The command line with the flags of the configuration file inserted. A file named by `--config` must exist; the user's
/// default file need not exist and holds only for the shell.
pub(crate) fn arguments(command: &Command, given: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let role = given.get(1).and_then(|first| first.to_str());
    match role.and_then(|name| command.find_subcommand(name)) {
        Some(role) if named(&given)?.is_some() => with_flags(role, given, 2),
        // Flags of the shell in the default file must not keep another sub-command from starting.
        Some(_) => Ok(given),
        None => with_flags(command, given, 1),
    }
}

/// Inserts the flags of the file after the first `words` arguments, which are the program and its sub-command.
fn with_flags(
    command: &Command,
    given: Vec<OsString>,
    words: usize,
) -> Result<Vec<OsString>, String> {
    let path = match named(&given)? {
        Some(path) => path,
        None => match dirs::config_dir().map(|directory| directory.join("vatic/config.toml")) {
            Some(path) if path.is_file() => path,
            _ => return Ok(given),
        },
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("configuration file {}: {error}", path.display()))?;
    // A second parse of the arguments reports their errors.
    let Ok(matches) = command.clone().try_get_matches_from(&given[words - 1..]) else {
        return Ok(given);
    };
    let is_given = |argument: &clap::Arg| {
        let source = matches.value_source(argument.get_id().as_str());
        let may_repeat = matches!(argument.get_action(), ArgAction::Append);
        let from = [ValueSource::CommandLine, ValueSource::EnvVariable];
        source.is_some_and(|source| from.contains(&source)) && !may_repeat
    };
    let configured = flags(command, &path, &text)?;
    let configured = configured
        .into_iter()
        .filter(|(argument, _)| !is_given(argument))
        .map(|(_, flag)| OsString::from(flag));
    let mut given = given.into_iter();
    let program: Vec<OsString> = given.by_ref().take(words).collect();
    Ok([program, configured.collect(), given.collect()].concat())
}

/// The path given with `--config`.
fn named(given: &[OsString]) -> Result<Option<PathBuf>, String> {
    let mut arguments = given.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            let path = arguments.next().ok_or("--config needs a file")?;
            return Ok(Some(path.into()));
        }
        if let Some(path) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="))
        {
            return Ok(Some(path.into()));
        }
    }
    Ok(None)
}

/// The command line flags of a configuration, each with its clap argument.
fn flags<'a>(
    command: &'a Command,
    path: &Path,
    text: &str,
) -> Result<Vec<(&'a clap::Arg, String)>, String> {
    let wrong = |problem: &str| format!("configuration file {}: {problem}", path.display());
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(error.to_string().trim_end()))?;
    let known: Vec<&clap::Arg> = command
        .get_arguments()
        .filter(|argument| {
            argument
                .get_long()
                .is_some_and(|long| !NOT_HERE.contains(&long))
        })
        .collect();
    let mut flags = Vec::new();
    for (key, value) in table {
        let found = known
            .iter()
            .find(|argument| argument.get_long() == Some(&key));
        let Some(argument) = found else {
            let names = known.iter().filter_map(|argument| argument.get_long());
            let names: Vec<&str> = names.collect();
            let nearest = vatic::nearest(&key, names.iter().copied());
            let hint = match nearest {
                Some(name) => format!("the nearest name is \"{name}\""),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(wrong(&format!("there is no key \"{key}\"; {hint}")));
        };
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        match (value, is_switch) {
            (Value::Boolean(true), true) => flags.push((*argument, format!("--{key}"))),
            (Value::Boolean(false), true) => {}
            (value, false) => {
                let values = match value {
                    Value::Array(values) => values,
                    value => vec![value],
                };
                for value in values {
                    let text = plain(value).map_err(|text| wrong(&text))?;
                    flags.push((*argument, format!("--{key}={text}")));
                }
            }
            (value, true) => {
                let kind = value.type_str();
                return Err(wrong(&format!("{key} is true or false, found a {kind}")));
            }
        }
    }
    // Invalid values are found here, where the message can name the file.
    let arguments =
        std::iter::once("vatic".to_owned()).chain(flags.iter().map(|(_, flag)| flag.clone()));
    match command.clone().try_get_matches_from(arguments) {
        Ok(_) => Ok(flags),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(wrong(first.trim_start_matches("error: ")))
        }
    }
}

fn plain(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        other => Err(format!(
            "a text or a number is expected, found a {}",
            other.type_str()
        )),
    }
}
