//! Reading of scripts: files as a whole, pipes statement by statement.

use std::fs::{self, File};
use std::io::{BufRead, Read};
use std::path::Path;

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::sql::script::is_complete;

/// A longer statement is an error: the input is probably not a script.
const STATEMENT_BYTES_MAX: u64 = 64 << 20;

/// Cuts a stream of bytes into texts that end with a complete statement.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Lines and bytes returned so far.
    lines: u64,
    bytes: u64,
}

impl Lines {
    /// The next statements, and the line that they begin on, from 0.
    pub(super) fn next(&mut self, input: &mut impl BufRead) -> Result<Option<(String, u64)>> {
        let mut text = String::new();
        let mut lines = 0;
        loop {
            let mut line = Vec::new();
            let left = STATEMENT_BYTES_MAX.saturating_sub(text.len() as u64);
            let read = input
                .take(left + 1)
                .read_until(b'\n', &mut line)
                .map_err(|error| io_err("the script", &error))?;
            if read as u64 > left {
                let message = format!(
                    "a statement is longer than {} MiB, from line {} on",
                    STATEMENT_BYTES_MAX >> 20,
                    self.lines + 1
                );
                return Err(sql_err(SqlState::Syntax, message));
            }
            let line = self.text_of(line, lines, text.len())?;
            text.push_str(&line);
            lines += u64::from(line.ends_with('\n'));
            let may_end =
                line.contains(';') || line.contains('\\') || line.trim_start().starts_with('.');
            if read == 0 || (may_end && is_complete(&text)) {
                break;
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        let begins = self.lines;
        self.lines += lines;
        self.bytes += text.len() as u64;
        Ok(Some((text, begins)))
    }

    fn text_of(&self, mut line: Vec<u8>, lines: u64, bytes: usize) -> Result<String> {
        // A byte order mark is redundant in UTF-8.
        if self.bytes == 0 && bytes == 0 && line.starts_with(&[0xef, 0xbb, 0xbf]) {
            line.drain(..3);
        }
        String::from_utf8(line).map_err(|error| {
            let at = self.bytes + bytes as u64 + error.utf8_error().valid_up_to() as u64;
            let message = format!(
                "the script is not UTF-8: byte {at}, in line {}",
                self.lines + lines + 1
            );
            sql_err(SqlState::Syntax, message)
        })
    }
}

/// Opens a script.
pub(super) fn open(path: &Path) -> Result<File> {
    let failed = |error: std::io::Error| io_err(path.display(), &error);
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let message = format!("{}: it is a directory", path.display());
        return Err(sql_err(SqlState::Io, message));
    }
    File::open(path).map_err(failed)
}

/// Reads a script.
pub(super) fn read_file(path: &Path) -> Result<String> {
    let mut content = Vec::new();
    let read = open(path)?
        .take(STATEMENT_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|error| io_err(path.display(), &error))?;
    if read as u64 > STATEMENT_BYTES_MAX {
        let message = format!(
            "{}: the file is larger than {} MiB, too large for a script",
            path.display(),
            STATEMENT_BYTES_MAX >> 20
        );
        return Err(sql_err(SqlState::Syntax, message));
    }
    Lines::default().text_of(content, 0, 0)
}
