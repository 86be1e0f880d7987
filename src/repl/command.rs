//! Runs the commands of the shell; `command_list` lists them.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;

use super::command_list::{Action, COMMANDS, Command, find};
use super::exit::Flow;
use super::format::Format;
use super::functions;
use super::output::Target;
use super::read::read_file;
use super::shell::{Shell, say};
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::session::answer::rows;
use crate::sql::quoted;

/// The maximum depth of files that include each other.
const INCLUDES_MAX: usize = 50;

/// The outcome of a command.
#[derive(Debug)]
pub(super) enum Done {
    /// The command is complete.
    Flow(Flow),
    /// The command has read a script, which runs in its place.
    Included(String),
    /// The user has edited a script, which runs next.
    Edited(String),
}

impl From<Flow> for Done {
    fn from(flow: Flow) -> Self {
        Self::Flow(flow)
    }
}

/// Runs the command `text`, which may end the statement `pending`.
pub(super) async fn run(shell: &mut Shell, text: &str, pending: Option<&str>) -> Result<Done> {
    let text = text.trim_end().trim_end_matches(';');
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim().trim_end_matches(';').trim_end();
    let command = find(name)?;
    if let Some(statement) = pending
        && !matches!(
            command.action,
            Action::Run | Action::RunExpanded | Action::Watch | Action::Explain | Action::Plot
        )
    {
        let message =
            format!("the statement before {name} is not ended by a semicolon: {statement}");
        return Err(sql_err(SqlState::Syntax, message));
    }
    let arguments = match command.action {
        // The rest of the line is a single argument.
        Action::Explain | Action::Program => Vec::new(),
        _ => arguments(rest)?,
    };
    let first = arguments.first().map(String::as_str);
    let needs = |what: &str| sql_err(SqlState::Syntax, format!("{name} takes {what}"));
    match command.action {
        Action::Help => help(shell, first)?,
        Action::Quit => return Ok(Flow::Quit.into()),
        Action::Describe => describe(shell, Some(rest).filter(|name| !name.is_empty())).await?,
        Action::Tables => shell.query(TABLES).await?,
        Action::Models => shell.query("SHOW MODELS").await?,
        Action::Schemas => shell.query(SCHEMAS).await?,
        Action::Functions => functions::list(shell, first.unwrap_or_default()).await?,
        Action::FunctionHelp => functions::help(shell, first)?,
        Action::Include => {
            let path = first.ok_or_else(|| needs("a file"))?;
            return included(shell, path).map(Done::Included);
        }
        Action::Output => {
            shell.target = match first {
                Some(path) => Target::file(path)?,
                None => Target::Stdout,
            };
        }
        Action::Print(setting) => shell.settings.set(setting, first)?,
        Action::PrintSetting => match first {
            Some(setting) => {
                let value = arguments.get(1).map(String::as_str);
                shell.settings.set(setting, value)?;
            }
            None => print_settings(shell).await?,
        },
        Action::Run | Action::RunExpanded => {
            let is_expanded = command.action == Action::RunExpanded;
            let flow = run_statement(shell, pending, first, is_expanded).await?;
            return Ok(flow.into());
        }
        Action::Watch => return Ok(watch(shell, pending, &arguments).await?.into()),
        Action::Explain => {
            let query = match (pending, rest) {
                (Some(query), _) => query.to_owned(),
                (None, "") => shell.last()?,
                (None, query) => query.to_owned(),
            };
            return Ok(shell.statement(&format!("EXPLAIN {query}")).await.into());
        }
        Action::Plot => match (pending, first) {
            (Some(_), Some(_)) => return Err(needs("a model or follows a statement, not both")),
            (Some(query), None) => shell.plot_query(query).await?,
            (None, model) => shell.plot_model(model).await?,
        },
        Action::Edit => return edit(shell).map(Done::Edited),
        Action::History => {
            let history = shell.history.lock().map(|history| history.join("\n"));
            shell.print(&history.unwrap_or_default())?;
        }
        Action::Set => {
            let setting = first.ok_or_else(|| needs("a setting and a value"))?;
            let words = arguments.get(1..).unwrap_or_default();
            let value = match words {
                [equals, value] if equals == "=" => value,
                [value] => value,
                _ => return Err(needs("a setting and a value")),
            };
            let statement = format!("SET {setting} = {}", quoted(value));
            return Ok(shell.statement(&statement).await.into());
        }
        Action::Show => {
            let statement = format!("SHOW {}", first.unwrap_or("ALL"));
            return Ok(shell.statement(&statement).await.into());
        }
        Action::Info => {
            let info = shell.info();
            shell.print(&info)?;
        }
        Action::Quiet => {
            let is_quiet = match first {
                Some("off") => false,
                Some("on") | None => true,
                Some(_) => return Err(needs("on or off")),
            };
            shell.settings.with_footer = !is_quiet;
            shell.settings.with_timing = !is_quiet;
        }
        Action::Directory => {
            let home = dirs::home_dir().map(|home| home.to_string_lossy().into_owned());
            let path = first
                .map(str::to_owned)
                .or(home)
                .ok_or_else(|| needs("a directory"))?;
            std::env::set_current_dir(&path).map_err(|error| io_err(&path, &error))?;
        }
        Action::Program => program(shell, rest)?,
        Action::Echo => shell.print(&arguments.join(" "))?,
    }
    Ok(Flow::Next.into())
}

/// Splits arguments into words; quotes enclose a word with blanks.
fn arguments(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' | '"' => rest[1..].split_once(first).ok_or_else(|| {
                sql_err(SqlState::Syntax, format!("a quote is not closed in {text}"))
            })?,
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

const TABLES: &str = "SELECT table_schema AS schema, table_name AS name, table_type AS type FROM information_schema.tables \
                      WHERE table_schema NOT IN ('information_schema', 'ml') ORDER BY schema, name";
const SCHEMAS: &str =
    "SELECT schema_name AS schema FROM information_schema.schemata ORDER BY schema";

fn help(shell: &mut Shell, name: Option<&str>) -> Result<()> {
    let commands: Vec<&Command> = match name {
        Some(name) => {
            let with_backslash = format!("\\{name}");
            vec![find(name).or_else(|error| find(&with_backslash).map_err(|_| error))?]
        }
        None => COMMANDS.iter().collect(),
    };
    let mut text = String::new();
    if name.is_none() {
        text.push_str(
            "Type SQL and end it with a semicolon. Ctrl-C cancels what runs, Tab completes.\n\n",
        );
    }
    for command in commands {
        let names = command.names.join(" ");
        text.push_str(&format!(
            "  {names:<20} {:<20} {}\n",
            command.usage, command.help
        ));
    }
    if name.is_none() {
        text.push_str("\nFormats: ");
        text.push_str(&Format::names().join(", "));
        text.push_str("\n\\h lists statements.");
    }
    shell.print(text.trim_end())
}

async fn describe(shell: &mut Shell, name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
        shell.query(TABLES).await?;
        return shell.query("SHOW MODELS").await;
    };
    // If no table has the name, it may be a model's.
    match shell.query(&format!("DESCRIBE {name}")).await {
        Err(error) => {
            let of_model = shell.query(&format!("DESCRIBE MODEL {name}")).await;
            of_model.map_err(|_| error)
        }
        found => found,
    }
}

/// Reads the script of an included file.
fn included(shell: &Shell, path: &str) -> Result<String> {
    if shell.depth >= INCLUDES_MAX {
        let message = format!("{path}: files include each other more than {INCLUDES_MAX} deep");
        return Err(sql_err(SqlState::Io, message));
    }
    read_file(Path::new(path))
}

async fn print_settings(shell: &mut Shell) -> Result<()> {
    let all = shell.settings.describe();
    let column = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
    let names = column(all.iter().map(|(name, ..)| (*name).to_owned()).collect());
    let takes = column(all.iter().map(|(.., takes)| (*takes).to_owned()).collect());
    let values = column(all.into_iter().map(|(_, value, _)| value).collect());
    let batch =
        RecordBatch::try_from_iter([("setting", names), ("value", values), ("takes", takes)])?;
    shell.write(rows(batch)).await
}

async fn run_statement(
    shell: &mut Shell,
    pending: Option<&str>,
    file: Option<&str>,
    is_expanded: bool,
) -> Result<Flow> {
    let statement = pending.map_or_else(|| shell.last(), |pending| Ok(pending.to_owned()))?;
    let before = match file {
        Some(path) => Some(std::mem::replace(&mut shell.target, Target::file(path)?)),
        None => None,
    };
    let was_expanded = shell.settings.is_expanded;
    shell.settings.is_expanded |= is_expanded;
    let flow = shell.statement(&statement).await;
    shell.settings.is_expanded = was_expanded;
    if let Some(before) = before {
        shell.target = before;
    }
    Ok(flow)
}

async fn watch(shell: &mut Shell, pending: Option<&str>, arguments: &[String]) -> Result<Flow> {
    let statement = pending.map_or_else(|| shell.last(), |pending| Ok(pending.to_owned()))?;
    let number = |index: usize, default: f64| match arguments.get(index) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number > 0.0)
            .ok_or_else(|| {
                sql_err(
                    SqlState::Syntax,
                    format!("\\watch takes seconds and times, found {text}"),
                )
            }),
    };
    let (seconds, times) = (number(0, 2.0)?.min(86_400.0), number(1, f64::INFINITY)?);
    let mut run = 0.0;
    loop {
        let flow = shell.statement(&statement).await;
        run += 1.0;
        if !matches!(flow, Flow::Next) || run >= times {
            return Ok(flow);
        }
        let pause = tokio::time::sleep(Duration::from_secs_f64(seconds));
        tokio::select! {
            () = pause => {}
            exit = shell.signals.stopped() => return Ok(exit.flow(shell.is_interactive)),
        }
    }
}

/// Opens the last statement in an editor and returns the edited script.
fn edit(shell: &mut Shell) -> Result<String> {
    refuse_if_safe(shell, "\\e")?;
    let failed = |error: std::io::Error| io_err("editor", &error);
    let file = tempfile::Builder::new()
        .suffix(".sql")
        .tempfile()
        .map_err(failed)?;
    std::fs::write(file.path(), shell.last().unwrap_or_default()).map_err(failed)?;
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let editor = editor.unwrap_or_else(|| "vi".into());
    let mut words = editor.split_whitespace();
    let status = Process::new(words.next().unwrap_or("vi"))
        .args(words)
        .arg(file.path())
        .status()
        .map_err(|error| io_err(format!("editor {editor}"), &error))?;
    if !status.success() {
        return Err(sql_err(
            SqlState::Io,
            format!("editor {editor} ended with {status}"),
        ));
    }
    let script = read_file(file.path())?;
    // A Ctrl-C during editing was meant for the editor.
    shell.signals.forget();
    say(&format!("{}\n", script.trim_end()));
    Ok(script)
}

fn program(shell: &Shell, command: &str) -> Result<()> {
    refuse_if_safe(shell, "\\!")?;
    let status = Process::new("sh")
        .args(["-c", command])
        .stdin(if shell.is_interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .status()
        .map_err(|error| io_err("sh", &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(sql_err(
            SqlState::Io,
            format!("{command} ended with {status}"),
        )),
    }
}

fn refuse_if_safe(shell: &Shell, name: &str) -> Result<()> {
    match shell.settings.is_safe {
        true => Err(sql_err(
            SqlState::Unsupported,
            format!("{name} starts a program, which --safe forbids"),
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_words_or_quoted() {
        assert_eq!(
            arguments("null 'no value' x").unwrap(),
            ["null", "no value", "x"]
        );
        assert_eq!(arguments(" \"a b\"c ").unwrap(), ["a b", "c"]);
        assert!(arguments("'open").is_err());
    }
}
