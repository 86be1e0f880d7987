//! The shell: statements and commands from a terminal, a file, an argument or standard input.
//!
//! ```text
//! terminal ─ input ─┐
//!                   ├─ Shell: script ─ statement ─ output ─▶ screen, pager, file
//! -c, -f, pipe ─ batch ┘         └─ command
//! ```
//! * `format` the output formats; `settings` display settings; `exit` exit codes and control flow of scripts
//! * `batch` statements from arguments, files and pipes; `read` reads files and pipes
//! * `input` statements from a terminal; `context` the context at the cursor, `complete` completion, `highlight` colours
//! * `script` the loop over the statements and commands of a script
//! * `command_list` the list of commands, `command` runs them, `functions` describes functions and statements, `arguments` their named
//!   arguments
//! * `shell` one session: statements, results, errors
//! * `signals` Ctrl-C, SIGTERM, SIGHUP
//! * `output` rows as text; `plots` drawings of losses and results
//! * `progress` the progress line of a running statement

mod arguments;
mod batch;
mod command;
mod command_list;
mod complete;
mod context;
mod exit;
mod format;
mod functions;
mod highlight;
mod input;
mod output;
mod plots;
mod progress;
mod read;
mod script;
mod settings;
mod shell;
mod signals;

pub use batch::{Source, run_batch};
pub use exit::Exit;
pub use format::Format;
pub use input::run_interactive;
pub use settings::{Settings, When, has_color};
pub use shell::Start;
