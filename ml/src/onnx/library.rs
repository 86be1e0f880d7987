//! The library of onnxruntime that the user names. A process opens one, and keeps it: its code cannot be replaced while models use it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::worker::catch;
use crate::{Error, Result};

/// The library that is open, and what it needs for all models.
static OPEN: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Opens the library at this path, unless it is open.
///
/// # Errors
/// [`Error::Unsupported`] if it is no library of onnxruntime or too old, or if another one is open.
pub(super) fn environment(path: &Path) -> Result<Environment> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*open {
        Some((known, environment)) if known == path => return Ok(environment.clone()),
        Some((known, _)) => {
            return Err(wrong(
                path,
                &format!("this process has opened {}, and opens one", known.display()),
            ));
        }
        None => {}
    }
    if !path.is_file() {
        return Err(wrong(
            path,
            "there is no such file; give the path of libonnxruntime",
        ));
    }
    // The crate panics where a library answers what none of onnxruntime does.
    let opened = catch(|| open_first(path)).map_err(|error| match error {
        Error::Internal(problem) => wrong(path, &problem),
        other => other,
    })?;
    *open = Some((path.to_owned(), opened.clone()));
    Ok(opened)
}

fn open_first(path: &Path) -> Result<Environment> {
    // The crate looks for a relative path beside the program first.
    let builder = ort::init_from(std::path::absolute(path)?).map_err(|error| {
        let problem = match error {
            LoadDynamicError::Dlopen { error, .. } => format!("it cannot be opened: {error}"),
            LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
                "it is not a library of onnxruntime".to_owned()
            }
            LoadDynamicError::BadVersion { version_str, .. } => format!(
                "it has the version {version_str}; 1.{} or newer is needed",
                ort::MINOR_VERSION
            ),
        };
        wrong(path, &problem)
    })?;
    let log = |level: LogLevel, _: &str, _: &str, _: &str, text: &str| {
        tracing::debug!(?level, text, "onnxruntime says");
    };
    let built = builder
        .with_name("vatic")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build();
    let environment = built.map_err(|error| wrong(path, error.message()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

fn wrong(path: &Path, problem: &str) -> Error {
    Error::Unsupported(format!(
        "the library of onnxruntime {}: {problem}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("libonnxruntime.so");
        std::fs::write(&text, "no library").unwrap();
        let cases = [
            (directory.path().join("nothing.so"), "there is no such file"),
            (directory.path().to_owned(), "there is no such file"),
            (text, "it cannot be opened"),
        ];
        for (path, expected) in cases {
            let error = environment(&path).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
    }
}
