//! What SQL files cannot say: processes, files, the terminal.

mod tidy;
