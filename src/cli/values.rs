//! The values of arguments: limits, sizes, settings, and the data directory; and a command to show.

use std::path::PathBuf;

/// A number, or no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) Option<usize>);

/// Parses a limit: a number, or `inf`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "inf" | "none" => Ok(Limit(None)),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(Limit(Some(number))),
            _ => Err("a whole number from 1, or inf".into()),
        },
    }
}

/// Parses a size in bytes, such as `500M`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..]
        .to_uppercase()
        .trim_end_matches(['B', 'I'])
    {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1u64 << 40,
        _ => return Err("a size such as 500M or 8G".into()),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let size = number.and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| "a size such as 500M or 8G".into())
}

/// Parses `name=value`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.into())),
        _ => Err("a setting and its value, such as vatic.batch_size=1000".into()),
    }
}

/// The data directory, or `None` for `:memory:`.
pub(crate) fn data_dir(given: Option<&PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    match given {
        Some(path) if path.as_os_str() == ":memory:" => Ok(None),
        Some(url) if url.to_str().is_some_and(vatic::is_remote) => Ok(Some(url.clone())),
        // An absolute path, so that --data-path does not move the directory.
        Some(path) => Ok(Some(std::path::absolute(path)?)),
        None => match dirs::data_dir() {
            Some(directory) => Ok(Some(directory.join("vatic"))),
            None => anyhow::bail!(
                "there is no data folder for this user; name one with --data-dir, or use :memory:"
            ),
        },
    }
}
