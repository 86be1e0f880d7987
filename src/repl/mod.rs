//! The shell: statements and commands from a terminal, a file, an argument or standard input.
//!
//! ```text
//! terminal ─ input ─┐
//!                   ├─ Shell: script ─ statement ─ output ─▶ screen, pager, file
//! -c, -f, pipe ─ batch ┘         └─ command
//! ```
//! * `format` the list of formats; `settings` how the shell shows things; `exit` how scripts and the program end
//! * `batch` where statements come from without a terminal; `read` the text of files and pipes
//! * `input` where they come from in a terminal; `context` what may stand at the cursor, `complete` what Tab offers there, `highlight` colours
//! * `script` the loop over the statements and commands of a script
//! * `command` the list of commands
//! * `shell` one session: statements, results, errors
//! * `signals` Ctrl-C, SIGTERM, SIGHUP
//! * `output` rows as text
//! * `progress` the line that is shown while something runs

mod batch;
mod command;
mod complete;
mod context;
mod exit;
mod format;
mod highlight;
mod input;
mod output;
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
