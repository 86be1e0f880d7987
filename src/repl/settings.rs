//! [`Settings`]: display settings of the shell, set by flags and by `\pset`.

use std::io::{self, IsTerminal};

use super::format::Format;
use crate::error::{Result, SqlState, sql_err, with_cause};

/// The maximum number of rows of a result in a terminal.
const TERMINAL_ROWS_MAX: usize = 40;

/// Display settings of the shell.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The output format of rows.
    pub format: Format,
    /// The text for NULL; `None` means `NULL`, or nothing in CSV.
    pub null: Option<String>,
    /// The maximum number of rows of a table, half from its beginning and half from its end; no limit if `None`.
    pub rows_max: Option<usize>,
    /// The maximum width of a table in terminal columns; no limit if `None`.
    pub width_max: Option<usize>,
    /// Whether to show column names.
    pub with_header: bool,
    /// Whether a box shows the types of its columns.
    pub with_types: bool,
    /// Whether long vectors are shown in full.
    pub with_full_vectors: bool,
    /// Whether each row is shown as a record.
    pub is_expanded: bool,
    /// Whether a table becomes records if columns would be left out.
    pub folds: bool,
    /// Whether to show how long a statement took.
    pub with_timing: bool,
    /// Whether to show the number of rows.
    pub with_footer: bool,
    /// Whether long results go through a pager.
    pub with_pager: bool,
    /// Whether to draw the losses of a training and the grid of a confusion matrix.
    pub with_plots: bool,
    /// Whether to use colours.
    pub with_color: bool,
    /// Whether a script continues after an error.
    pub continues_on_error: bool,
    /// Whether starting programs is forbidden.
    pub is_safe: bool,
    /// Whether errors show their internal details.
    pub is_verbose: bool,
    /// When to show the progress line.
    pub progress: When,
}

/// When to use a feature of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// In a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Settings {
    /// The defaults: for a person in a terminal, or for programs in a pipe.
    pub fn new(is_interactive: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            format: if is_interactive {
                Format::Box
            } else {
                Format::Table
            },
            null: None,
            rows_max: is_interactive.then_some(TERMINAL_ROWS_MAX),
            width_max: None,
            with_header: true,
            with_types: true,
            with_full_vectors: !is_terminal,
            is_expanded: false,
            folds: true,
            with_timing: is_interactive,
            with_footer: is_interactive,
            with_pager: is_interactive && is_terminal,
            with_plots: is_terminal,
            with_color: has_color(When::Auto),
            continues_on_error: false,
            is_safe: false,
            is_verbose: false,
            progress: When::Auto,
        }
    }

    /// The current output format.
    pub(super) fn effective_format(&self) -> Format {
        match self.is_expanded {
            true => Format::Vertical,
            false => self.format,
        }
    }

    /// The maximum width of a table: the setting, or the terminal's width.
    pub(super) fn width(&self) -> Option<usize> {
        let of_terminal = || {
            let is_terminal = io::stdout().is_terminal();
            let size = is_terminal.then(terminal_size).flatten();
            // Some terminals report a width of 0, which means unknown.
            size.map(|(width, _)| width).filter(|width| *width > 0)
        };
        self.width_max.or_else(of_terminal)
    }

    /// Changes a print setting.
    ///
    /// # Errors
    /// The message names the nearest setting, or the values that the setting takes.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let setting = PRINT_SETTINGS
            .iter()
            .find(|(known, ..)| *known == name)
            .ok_or_else(|| {
                let names = PRINT_SETTINGS.iter().map(|(known, ..)| *known);
                let what = format!("there is no print setting \"{name}\"");
                sql_err(SqlState::InvalidParameter, with_cause(what, name, names))
            })?;
        let takes = |what: &str| {
            let found = value.unwrap_or("nothing");
            sql_err(
                SqlState::InvalidParameter,
                format!("\\pset {name} takes {what}, found {found}"),
            )
        };
        let switch = |now: bool| match value {
            None => Ok(!now),
            Some("on" | "true" | "1") => Ok(true),
            Some("off" | "false" | "0") => Ok(false),
            Some(_) => Err(takes("on or off")),
        };
        let limit = || match value {
            Some("inf" | "0") | None => Ok(None),
            Some(number) => number
                .parse()
                .map(Some)
                .map_err(|_| takes("a number or inf")),
        };
        match setting.0 {
            "format" => self.format = Format::parse(value.unwrap_or_default())?,
            "null" => self.null = value.map(str::to_owned),
            "maxrows" => self.rows_max = limit()?,
            "maxwidth" => self.width_max = limit()?,
            "header" => self.with_header = switch(self.with_header)?,
            "types" => self.with_types = switch(self.with_types)?,
            "vectors" => {
                self.with_full_vectors = match value {
                    Some("full") => true,
                    Some("short") => false,
                    _ => return Err(takes("full or short")),
                }
            }
            "expanded" => {
                (self.is_expanded, self.folds) = match value {
                    Some("auto") => (false, true),
                    Some("off" | "false" | "0") => (false, false),
                    Some("on" | "true" | "1") => (true, self.folds),
                    None => (!self.is_expanded, self.folds),
                    Some(_) => return Err(takes("on, off or auto")),
                }
            }
            "timing" => self.with_timing = switch(self.with_timing)?,
            "footer" => self.with_footer = switch(self.with_footer)?,
            "plot" => self.with_plots = switch(self.with_plots)?,
            _ => self.with_pager = switch(self.with_pager)?,
        }
        Ok(())
    }

    /// All print settings with value and allowed values.
    pub(super) fn describe(&self) -> Vec<(&'static str, String, &'static str)> {
        let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
        let limit =
            |limit: Option<usize>| limit.map_or("inf".to_owned(), |limit| limit.to_string());
        let value = |name: &str| match name {
            "format" => self.format.name().to_owned(),
            "null" => self.null.clone().unwrap_or_else(|| "(by format)".into()),
            "maxrows" => limit(self.rows_max),
            "maxwidth" => limit(self.width_max),
            "header" => on(self.with_header),
            "types" => on(self.with_types),
            "vectors" => if self.with_full_vectors {
                "full"
            } else {
                "short"
            }
            .into(),
            "expanded" if !self.is_expanded && self.folds => "auto".to_owned(),
            "expanded" => on(self.is_expanded),
            "timing" => on(self.with_timing),
            "footer" => on(self.with_footer),
            "plot" => on(self.with_plots),
            _ => on(self.with_pager),
        };
        PRINT_SETTINGS
            .iter()
            .map(|(name, takes)| (*name, value(name), *takes))
            .collect()
    }
}

/// The print settings: name, and allowed values.
pub(super) const PRINT_SETTINGS: &[(&str, &str)] = &[
    ("format", "a format"),
    ("null", "the text for NULL"),
    ("maxrows", "rows shown of a table, or inf"),
    ("maxwidth", "the width of a table, or inf"),
    ("header", "on or off"),
    ("types", "on or off"),
    ("vectors", "full or short"),
    ("expanded", "on, off or auto"),
    ("timing", "on or off"),
    ("footer", "on or off"),
    ("plot", "on or off"),
    ("pager", "on or off"),
];

/// Whether to write colours, following the conventions NO_COLOR and CLICOLOR_FORCE.
pub fn has_color(when: When) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if is_set("NO_COLOR") => false,
        When::Auto if is_set("CLICOLOR_FORCE") => true,
        When::Auto => io::stderr().is_terminal() && io::stdout().is_terminal() && !is_dumb,
    }
}

/// Columns and rows of the terminal.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let (rows, columns) = console::Term::stdout().size_checked()?;
    Some((columns.into(), rows.into()))
}
