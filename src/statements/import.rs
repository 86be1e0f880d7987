//! CREATE MODEL … FROM: imports the files of a model as a version.
//!
//! ```text
//! directory or file ─ copy ─▶ files of a version ─ loader ─▶ signature ─▶ manifest ─▶ registry
//! ```
//! Folders in the directory are copied only if the loader of its format names them.
//! The import hashes and opens the copy, so a source that changes in the meantime cannot become another model than the
//! one that was checked.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use vatic_ml::artifact::{Files, Loader, ModelFile, describe_file};
use vatic_ml::device::DeviceName;
use vatic_ml::model::Model;
use vatic_ml::model::compute::LoadOptions;

use crate::error::{Result, SqlError, SqlState, io_err, ml_err, sql_err, with_cause};
use crate::model::{
    Imported, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, ModelRef, NewModel, Origin, Selector,
    VersionFiles, is_plain_name, publish,
};
use crate::session::Session;
use crate::sql::{ImportModel, OptionValue};
use crate::storage::{Kind, Place};

/// The maximum number of files of a model.
const FILES_MAX: usize = 1_000;
/// The names of the statement's options.
const OPTIONS: [&str; 2] = ["format", "licence"];

/// The columns of the row that an import returns.
pub(super) fn result_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        text("model"),
        count("version"),
        text("status"),
        text("format"),
        count("files"),
        count("bytes"),
    ]))
}

/// Copies, opens and publishes a model, and returns one row with the result.
pub(super) async fn import(session: &Session, statement: &ImportModel) -> Result<RecordBatch> {
    let (engine, access) = (session.engine(), session.access());
    let registry = engine.registry();
    let options = Options::of(&statement.options)?;
    engine.data().check_schema(&statement.name.schema)?;
    let new_model = NewModel {
        name: &statement.name,
        if_taken: statement.if_taken,
        comment: statement.comment.as_deref(),
    };
    if let Some(state) = new_model.existing(registry, access)? {
        let reference = ModelRef {
            name: statement.name.clone(),
            selector: Selector::Default,
        };
        let model = registry.resolve(&reference, &state)?;
        return result_row(statement, model.version, "EXISTS", &model.manifest);
    }
    engine.files().check_read(&statement.source)?;
    let files = VersionFiles::create(engine.data())?;
    let (source, into) = (statement.source.clone(), files.place().clone());
    let loaders = engine.runtime().loaders().to_vec();
    let format = options.format.clone();
    let held = engine.runtime().reservation();
    let work = move || open_copy(&source, &into, &loaders, format.as_deref(), held);
    let opened = engine
        .runtime()
        .run(DeviceName::Cpu, move || Ok(work()))
        .await??;
    let manifest = Manifest {
        format_version: MANIFEST_FORMAT,
        created_at: Utc::now(),
        engine: env!("CARGO_PKG_VERSION").into(),
        format: opened.format,
        signature: opened.model.signature().clone(),
        batching: opened.model.batching(),
        prompts: opened.model.prompts(),
        facts: opened.model.facts(),
        layers: opened.model.layers(),
        sides: opened.model.recommender().map(|of| of.sides().clone()),
        origin: Origin::Imported(Imported {
            source: statement.source.clone(),
            licence: options.licence,
            statement: statement.to_string(),
        }),
        files: opened.files,
    };
    let published = publish(registry, access, &new_model, &manifest, &files)?;
    result_row(statement, published.version, published.status(), &manifest)
}

/// The values of the statement's options.
#[derive(Debug, Default)]
struct Options {
    format: Option<String>,
    licence: Option<String>,
}

impl Options {
    fn of(given: &[(String, OptionValue)]) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in given {
            let place = match name.as_str() {
                "format" => &mut options.format,
                "licence" => &mut options.licence,
                _ => {
                    let what = format!("CREATE MODEL has no option \"{name}\"");
                    let message = with_cause(what, name, OPTIONS);
                    return Err(sql_err(SqlState::InvalidParameter, message));
                }
            };
            let OptionValue::Text(text) = value else {
                let message = format!("option \"{name}\" is {value}; expected a string");
                return Err(sql_err(SqlState::InvalidParameter, message));
            };
            *place = Some(text.clone());
        }
        Ok(options)
    }
}

/// A model, opened from the files of the version to publish.
struct Opened {
    format: String,
    model: Arc<dyn Model>,
    files: Vec<ModelFile>,
    /// The memory of the model.
    _held: MemoryReservation,
}

/// Copies the source, and opens the copy in memory that is reserved before the model is read. Runs on a worker.
fn open_copy(
    source: &str,
    into: &Place,
    loaders: &[Arc<dyn Loader>],
    format: Option<&str>,
    held: MemoryReservation,
) -> Result<Opened> {
    let failed = |error: std::io::Error| io_err(source, &error);
    let unfit = |error: vatic_ml::Error| named(source, &ml_err(error));
    let too_large = |error: DataFusionError| named(source, &error);
    let staged = into.stage().map_err(failed)?;
    let place = Place::parse(source.as_ref())?;
    let names = copy(&place, staged.path()).map_err(failed)?;
    check_count(source, names.len())?;
    let mut files = Files::new(staged.path(), describe(staged.path(), &names)?);
    let loader = loader_of(source, &files, loaders, format)?;
    let mut copied: Vec<String> = vec![];
    loop {
        // The files of a folder may name folders in it.
        let mut folders = loader.folders(&files).map_err(unfit)?;
        folders.retain(|folder| !copied.contains(folder));
        if folders.is_empty() {
            break;
        }
        let mut known = files.known().to_vec();
        for folder in &folders {
            let names = copy_folder(&place, folder, staged.path()).map_err(failed)?;
            check_count(source, known.len() + names.len())?;
            known.extend(describe(staged.path(), &names)?);
        }
        files = Files::new(staged.path(), known);
        copied.extend(folders);
    }
    let bytes = files.known().iter().map(|file| file.bytes as usize).sum();
    held.try_grow(bytes).map_err(too_large)?;
    let device = DeviceName::Cpu.open().map_err(ml_err)?;
    let model = loader.load(&files, &LoadOptions::on(&device));
    let model = model.map_err(unfit)?;
    held.try_resize(model.bytes()).map_err(too_large)?;
    into.take_in(&staged).map_err(failed)?;
    Ok(Opened {
        format: loader.format().into(),
        model,
        files: files.known().to_vec(),
        _held: held,
    })
}

/// An error of opening a source, with the name of the source.
fn named(source: &str, error: &DataFusionError) -> SqlError {
    let mut found = crate::error::report(error);
    found.message = format!("{source}: {}", found.message);
    found
}

fn check_count(source: &str, count: usize) -> Result<()> {
    if (1..=FILES_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("{source} holds {count} files; a model has 1 to {FILES_MAX}");
    Err(sql_err(SqlState::InvalidParameter, message))
}

/// The entries of these files for the manifest.
fn describe(directory: &Path, names: &[String]) -> Result<Vec<ModelFile>> {
    let known = names.iter().map(|name| describe_file(directory, name));
    known.collect::<vatic_ml::Result<_>>().map_err(ml_err)
}

/// Copies the files of a folder of the source, if there is one; their names begin with that of the folder.
fn copy_folder(source: &Place, folder: &str, into: &Path) -> std::io::Result<Vec<String>> {
    let refused = |what: &str| {
        let message = format!("the folder \"{}\" {what}", folder.escape_debug());
        std::io::Error::new(std::io::ErrorKind::InvalidInput, message)
    };
    if !folder.split('/').all(is_plain_name) {
        return Err(refused("has no valid name for a folder of a model"));
    }
    let outer = folder.match_indices('/').map(|(end, _)| &folder[..end]);
    if outer.chain([folder]).any(|folder| is_link(source, folder)) {
        return Err(refused("is a link, or in one"));
    }
    let place = source.join(folder);
    if place.kind()?.is_none() {
        return Ok(vec![]);
    }
    let into = into.join(folder);
    Place::Local(into.clone()).create_directory()?;
    let names = copy(&place, &into)?;
    std::fs::File::open(&into)?.sync_all()?;
    Ok(names
        .iter()
        .map(|name| format!("{folder}/{name}"))
        .collect())
}

/// Copies one file, or the files of a directory without its links and subdirectories.
fn copy(source: &Place, into: &Path) -> std::io::Result<Vec<String>> {
    let refused = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
    let (directory, mut names) = match source.kind()? {
        Some(Kind::Directory) => {
            let entries = source.entries()?.into_iter();
            let files = entries.filter(|(name, kind)| {
                *kind == Kind::File && name != MANIFEST_FILE && !is_link(source, name)
            });
            (source.clone(), files.map(|(name, _)| name).collect())
        }
        Some(Kind::File) => {
            let (directory, name) = source
                .split()
                .ok_or_else(|| refused("the path has no file name"))?;
            (directory, vec![name])
        }
        Some(Kind::Other) => return Err(refused("neither a file nor a directory")),
        None => {
            let what = "no such file or directory";
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, what));
        }
    };
    // Files such as `.gitattributes` do not belong to a model.
    names.retain(|name: &String| !name.starts_with('.'));
    if let Some(name) = names.iter().find(|name| !is_plain_name(name)) {
        return Err(refused(&format!(
            "\"{}\" is not a valid name for a file of a model",
            name.escape_debug()
        )));
    }
    names.sort();
    if names.len() <= FILES_MAX {
        let local = directory.fetch(names.iter().map(String::as_str))?;
        let before = changes(local.path(), &names)?;
        for name in &names {
            std::fs::copy(local.path().join(name), into.join(name))?;
            std::fs::File::open(into.join(name))?.sync_all()?;
        }
        // A copy of a file that is being written would be part of the old file and part of the new one.
        let after = changes(local.path(), &names)?;
        let mut pairs = names.iter().zip(before.iter().zip(&after));
        if let Some((name, _)) = pairs.find(|(_, (before, after))| before != after) {
            return Err(refused(&format!(
                "\"{}\" changed while it was read; run the statement again",
                name.escape_debug()
            )));
        }
    }
    Ok(names)
}

/// The length and the time of the last change of files of a directory.
fn changes(directory: &Path, names: &[String]) -> std::io::Result<Vec<(u64, SystemTime)>> {
    let found = names.iter().map(|name| {
        let metadata = std::fs::metadata(directory.join(name))?;
        Ok((metadata.len(), metadata.modified()?))
    });
    found.collect()
}

fn is_link(directory: &Place, name: &str) -> bool {
    let path = directory.as_local().map(|path| path.join(name));
    path.is_some_and(|path| path.is_symlink())
}

fn loader_of<'a>(
    source: &str,
    files: &Files,
    loaders: &'a [Arc<dyn Loader>],
    format: Option<&str>,
) -> Result<&'a dyn Loader> {
    let found = loaders.iter().find(|loader| match format {
        Some(format) => loader.format() == format,
        None => loader.takes(files),
    });
    found.map(AsRef::as_ref).ok_or_else(|| {
        let formats: Vec<&str> = loaders.iter().map(|loader| loader.format()).collect();
        let what = match format {
            Some(format) => format!("model format \"{format}\" is not supported"),
            None => {
                let names = files.known().iter().map(|file| file.name.as_str());
                let names: Vec<&str> = names.take(10).collect();
                format!(
                    "no loader knows the files of {source}: {}",
                    names.join(", ")
                )
            }
        };
        let message = format!("{what}; this build opens {}", formats.join(", "));
        sql_err(SqlState::Unsupported, message)
    })
}

fn result_row(
    statement: &ImportModel,
    version: u64,
    status: &str,
    manifest: &Manifest,
) -> Result<RecordBatch> {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let count = |count: u64| Arc::new(Int64Array::from(vec![count as i64])) as ArrayRef;
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let columns = vec![
        text(&statement.name.short()),
        count(version),
        text(status),
        text(&manifest.format),
        count(manifest.files.len() as u64),
        count(bytes),
    ];
    Ok(RecordBatch::try_new(result_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_folders_in_the_directory_are_copied() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("other/inner")).unwrap();
        std::fs::write(at("other/inner/secret"), "").unwrap();
        std::fs::create_dir_all(at("model/own/inner")).unwrap();
        std::fs::write(at("model/own/inner/a"), "").unwrap();
        std::os::unix::fs::symlink(at("other"), at("model/link")).unwrap();
        let copied = |folder: &str| {
            let source = Place::Local(at("model"));
            copy_folder(&source, folder, &at("copy")).map_err(|error| error.to_string())
        };
        assert_eq!(copied("own/inner"), Ok(vec!["own/inner/a".into()]));
        for folder in ["link", "link/inner"] {
            let error = copied(folder).unwrap_err();
            assert!(error.ends_with("is a link, or in one"), "{error}");
        }
        for folder in ["../other", "..", ".git", "own/", ""] {
            let error = copied(folder).unwrap_err();
            assert!(error.contains("has no valid name"), "{error}");
        }
        assert!(!at("copy/link").exists());
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_no_part_of_a_model() {
        let (source, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = source.path().join("config.json");
        std::fs::write(&path, "{}").unwrap();
        let place = Place::Local(source.path().to_owned());
        let copied = || copy(&place, into.path()).map_err(|error| error.to_string());
        assert_eq!(copied(), Ok(vec!["config.json".into()]));
        let is_done = AtomicBool::new(false);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                let mut second = 0;
                while !is_done.load(Ordering::Relaxed) {
                    second += 1;
                    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
                    file.set_modified(time).unwrap();
                }
            });
            // The other thread may be late.
            let found = (0..100_000).find_map(|_| copied().err());
            is_done.store(true, Ordering::Relaxed);
            found
        });
        let expected = "\"config.json\" changed while it was read; run the statement again";
        assert_eq!(found.as_deref(), Some(expected));
        assert!(copied().is_ok());
    }
}
