//! The sub-command `vatic user`, which changes the users file of a server.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Subcommand;
use vatic::repl::Exit;
use vatic::server::{add_token, add_user};

/// The sub-commands of `vatic user`.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add a user, or change the password of one; reads the password from standard input.
    Add {
        /// The users file; created if it does not exist.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        /// The name of the user.
        name: String,
        /// Make the user an administrator, who may do everything.
        #[arg(long)]
        admin: bool,
    },
    /// Print a new token of the user, which is valid until it is removed from the file.
    Token {
        /// The users file.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        /// The name of the user.
        name: String,
    },
}

impl User {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        match self {
            Self::Add { users, name, admin } => {
                add_user(users, name, &password()?, *admin)?;
            }
            Self::Token { users, name } => {
                let token = add_token(users, name)?;
                writeln!(std::io::stdout(), "{token}")?;
            }
        }
        Ok(Exit::Success)
    }
}

/// Reads a password from a line of standard input; in a terminal, asks for it twice, without echo.
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ")?;
    let second = rpassword::prompt_password("Repeat the password: ")?;
    if first != second {
        anyhow::bail!("the passwords differ; nothing was changed");
    }
    Ok(first)
}
