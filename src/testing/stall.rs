//! Stalls: holds threads at one point of a protocol, for tests. Release builds do nothing here.
//!
//! `VATIC_STALL=point:directory` holds a thread that passes the point while the directory has a file: the thread removes
//! the file, and stays until the directory is removed. So a test decides how many threads are held, and when they go on.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(5);

static STALL: LazyLock<Option<(String, PathBuf)>> = LazyLock::new(|| {
    let text = std::env::var("VATIC_STALL").ok()?;
    let (point, directory) = text.split_once(':')?;
    Some((point.to_owned(), directory.into()))
});

/// Holds the thread here, if `VATIC_STALL` names this point.
pub(crate) fn point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some((_, directory)) = STALL.as_ref().filter(|(point, _)| point == name) else {
        return;
    };
    let Ok(mut files) = std::fs::read_dir(directory) else {
        return;
    };
    // Of several threads, one removes a file.
    let is_held =
        files.any(|file| file.is_ok_and(|file| std::fs::remove_file(file.path()).is_ok()));
    while is_held && directory.exists() {
        std::thread::sleep(INTERVAL);
    }
}
