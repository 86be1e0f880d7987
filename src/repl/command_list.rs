//! [`COMMANDS`]: every command of the shell, from which help and completion derive.
//!
//! A command is a line that begins with a backslash, in a terminal and in scripts. Names with a dot are those of sqlite3
//! and duckdb. Some commands end a statement in place of its semicolon. To add a command, add it here, and its action to
//! `command::run`.

use crate::error::{Result, SqlState, sql_err, with_cause};

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    /// The names of the command; help shows the first name first.
    pub(super) names: &'static [&'static str],
    /// The arguments, for help.
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
    /// The kind of argument, for completion.
    pub(super) takes: Takes,
    pub(super) action: Action,
}

/// The kind of argument that a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    Switch,
    Table,
    Function,
    Path,
    Format,
    PrintSetting,
    Setting,
    Command,
    /// The statement before the command.
    Statement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Help,
    Quit,
    Describe,
    Tables,
    Schemas,
    Functions,
    Models,
    FunctionHelp,
    Include,
    Output,
    /// Changes the print setting of this name.
    Print(&'static str),
    PrintSetting,
    Run,
    RunExpanded,
    Watch,
    Explain,
    Plot,
    Edit,
    History,
    Set,
    Show,
    Info,
    Quiet,
    Directory,
    Program,
    Echo,
}

const fn command(
    names: &'static [&'static str],
    (usage, help): (&'static str, &'static str),
    takes: Takes,
    action: Action,
) -> Command {
    Command {
        names,
        usage,
        help,
        takes,
        action,
    }
}

/// Every command.
#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    command(&["\\?", ".help"], ("[command]", "list the commands"), Takes::Command, Action::Help),
    command(&["\\q", ".quit", ".exit"], ("", "leave"), Takes::Nothing, Action::Quit),
    command(&["\\d", ".schema"], ("[name]", "tables and models, or the columns of one"), Takes::Table, Action::Describe),
    command(&["\\dt", ".tables"], ("", "tables and views"), Takes::Nothing, Action::Tables),
    command(&["\\dm", ".models"], ("", "models"), Takes::Nothing, Action::Models),
    command(&["\\dn"], ("", "schemas"), Takes::Nothing, Action::Schemas),
    command(&["\\df"], ("[part of name]", "functions"), Takes::Function, Action::Functions),
    command(&["\\h"], ("[function]", "describe a function, or list the statements"), Takes::Function, Action::FunctionHelp),
    command(&["\\i", ".read"], ("file", "run the statements of a file"), Takes::Path, Action::Include),
    command(&["\\o", ".output"], ("[file]", "write results to a file, or to the screen again"), Takes::Path, Action::Output),
    command(&["\\g"], ("[file]", "run the statement before it, or the last one; result to a file"), Takes::Statement, Action::Run),
    command(&["\\gx", "\\G"], ("[file]", "as \\g, each row as a record"), Takes::Statement, Action::RunExpanded),
    command(&["\\watch"], ("[seconds [times]]", "run a statement repeatedly"), Takes::Statement, Action::Watch),
    command(&["\\explain"], ("[query]", "the plan of a query, or of the last one"), Takes::Statement, Action::Explain),
    command(&["\\plot"], ("[model]", "draw the losses of a model, or the result of the statement before it"), Takes::Table, Action::Plot),
    command(&["\\e", ".edit"], ("", "edit the last statement in $VISUAL or $EDITOR and run it"), Takes::Nothing, Action::Edit),
    command(&["\\s"], ("", "list the history of statements"), Takes::Nothing, Action::History),
    command(&["\\x"], ("[on|off]", "show each row as a record"), Takes::Switch, Action::Print("expanded")),
    command(&["\\pset"], ("[setting [value]]", "print settings"), Takes::PrintSetting, Action::PrintSetting),
    command(&[".mode"], ("format", "the format of results"), Takes::Format, Action::Print("format")),
    command(&[".nullvalue"], ("text", "the text for NULL"), Takes::Text, Action::Print("null")),
    command(&[".headers"], ("on|off", "show column names"), Takes::Switch, Action::Print("header")),
    command(&[".maxrows"], ("number|inf", "maximum number of table rows"), Takes::Text, Action::Print("maxrows")),
    command(&["\\timing", ".timer"], ("[on|off]", "show the time of statements"), Takes::Switch, Action::Print("timing")),
    command(&["\\quiet"], ("[on|off]", "show only results and errors"), Takes::Switch, Action::Quiet),
    command(&["\\set"], ("setting value", "change a setting of the session"), Takes::Setting, Action::Set),
    command(&["\\show"], ("[setting]", "settings of the session"), Takes::Setting, Action::Show),
    command(&["\\conninfo"], ("", "version, data directory, cores"), Takes::Nothing, Action::Info),
    command(&["\\echo", ".print"], ("text", "write a text"), Takes::Text, Action::Echo),
    command(&["\\cd", ".cd"], ("[directory]", "change the working directory"), Takes::Path, Action::Directory),
    command(&["\\!", ".shell"], ("command", "run a program"), Takes::Text, Action::Program),
];

/// The command of this name.
pub(super) fn find(name: &str) -> Result<&'static Command> {
    let names = || COMMANDS.iter().flat_map(|command| command.names);
    let found = COMMANDS
        .iter()
        .find(|command| command.names.contains(&name));
    found.ok_or_else(|| {
        let what = format!("there is no command {name}");
        let message = with_cause(what, name, names().copied());
        sql_err(
            SqlState::Syntax,
            format!("{message}; \\? lists all commands"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_the_nearest_command() {
        let error = find("\\timng").unwrap_err().to_string();
        assert!(error.contains("\\timing"), "{error}");
    }

    #[test]
    fn no_two_commands_share_a_name() {
        let mut names: Vec<_> = COMMANDS.iter().flat_map(|command| command.names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
