//! EXPORT MODEL … TO: a version as an ONNX file, or its files in a directory.
//!
//! ```text
//! version ┬ 'x.onnx' ─ loader ─▶ a graph from columns to labels ─▶ one file
//!         └ 'dir/'   ┬ its files as they are, or those that its loader makes for other programs
//!                    └ the manifest last ─▶ a directory, which CREATE MODEL … FROM opens
//! ```
//! Files are written under another name beside their place, and put there at once.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use serde::Deserialize;
use vatic_ml::artifact::{BASE_FOLDER, Files, ModelFile, NamedContent, sha256};
use vatic_ml::formats::ONNX;

use super::cache::resolve;
use crate::access::files::FileAccess;
use crate::engine::Engine;
use crate::error::{Result, SqlState, io_err, report, sql_err};
use crate::model::{MANIFEST_FILE, Manifest, ResolvedModel};
use crate::session::Session;
use crate::sql::ExportModel;
use crate::storage::{Kind, Place, Staged};

/// The end of the name of an ONNX file.
const ONNX_END: &str = ".onnx";
/// While a graph is written, the weights are there as read, in double precision, and twice in its own precision.
const ONNX_COPIES: usize = 4;
/// While a directory of an encoder is written, its weights are there as read, in layers, as a training found them in double precision, and
/// as written.
const ENCODER_COPIES: usize = 5;
/// A longer file is no manifest.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// The columns of the row that an export returns.
pub(super) fn result_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        text("model"),
        count("version"),
        text("format"),
        text("location"),
        count("bytes"),
    ]))
}

/// Writes a version to a location, and returns one row with the result.
pub(super) async fn export(session: &Session, statement: &ExportModel) -> Result<RecordBatch> {
    let engine = session.engine();
    let model = resolve(session, &statement.model)?;
    let target = Target::of(&statement.location)?;
    let place = engine.files().place_to_write(&statement.location)?;
    let failed = |error: std::io::Error| io_err(&statement.location, &error);
    target.check(&place, statement, engine.files())?;
    let (files, _held) = target.content(engine, &model).await?;
    let staged = match (target, files.as_slice()) {
        (Target::File, [(_, content), ..]) => Staged::file(&place, content).await,
        (Target::File | Target::Directory, files) => {
            Staged::directory(&place, files, statement.replaces).await
        }
    };
    // Nothing is awaited after this: an export that is in its place is never said to be cancelled.
    let staged = staged.map_err(failed)?;
    staged.put(statement.replaces).map_err(failed)?;
    let bytes = files.iter().map(|(_, content)| content.len()).sum();
    result_row(&model, target, &statement.location, bytes)
}

/// What a location names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// An ONNX file.
    File,
    /// A directory of the model's own files.
    Directory,
}

impl Target {
    fn of(location: &str) -> Result<Self> {
        let is_onnx = location.to_lowercase().ends_with(ONNX_END);
        match (location.ends_with('/'), is_onnx) {
            (true, _) => Ok(Self::Directory),
            (false, true) => Ok(Self::File),
            (false, false) => {
                let message = format!(
                    "'{location}' is neither an ONNX file nor a directory; end it with {ONNX_END} or with /"
                );
                Err(sql_err(SqlState::InvalidParameter, message))
            }
        }
    }

    /// Refuses a place that is taken by something that the statement does not replace.
    fn check(self, place: &Place, statement: &ExportModel, files: &FileAccess) -> Result<()> {
        let location = &statement.location;
        let failed = |error: std::io::Error| io_err(location, &error);
        let refused = |what: String| sql_err(SqlState::NotAllowed, format!("{location} {what}"));
        let found = place.kind().map_err(failed)?;
        let entries = match (self, found) {
            (Self::File | Self::Directory, None) => return Ok(()),
            (Self::File, Some(Kind::File)) => vec![],
            (Self::Directory, Some(Kind::Directory)) => match place.entries().map_err(failed)? {
                entries if entries.is_empty() => return Ok(()),
                entries => entries,
            },
            (Self::File, Some(Kind::Directory)) => return Err(refused("is a directory".into())),
            (Self::File, Some(Kind::Other)) | (Self::Directory, Some(_)) => {
                return Err(refused(format!("is no {}", self.noun())));
            }
        };
        if !statement.replaces {
            let noun = self.noun();
            let what = format!("exists; use EXPORT OR REPLACE MODEL, or name another {noun}");
            return Err(refused(what));
        }
        if !files.may_replace() {
            let what = "exists; EXPORT MODEL on a server replaces no file";
            return Err(refused(what.into()));
        }
        match self == Self::File || holds_export(place, &entries).map_err(failed)? {
            true => Ok(()),
            false => Err(refused(format!(
                "holds other files than those of an exported model, which EXPORT OR REPLACE MODEL does not remove; name another {}",
                self.noun()
            ))),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
        }
    }

    /// The files to write, with the memory that is reserved for them.
    async fn content(
        self,
        engine: &Engine,
        model: &ResolvedModel,
    ) -> Result<(Vec<NamedContent>, MemoryReservation)> {
        let content = match self {
            Self::File => onnx(engine, model).await,
            Self::Directory => directory(engine, model).await,
        };
        content.map_err(|error| {
            let mut found = report(&error);
            found.message = format!(
                "model \"{}\" cannot be exported: {}",
                model.label(),
                found.message
            );
            DataFusionError::from(found)
        })
    }

    /// The format of what is written.
    fn format(self, model: &ResolvedModel) -> &str {
        match self {
            Self::File => ONNX,
            Self::Directory => &model.manifest.format,
        }
    }
}

async fn onnx(
    engine: &Engine,
    model: &ResolvedModel,
) -> Result<(Vec<NamedContent>, MemoryReservation)> {
    let runtime = engine.runtime();
    let (loader, label) = (runtime.loader_of(model)?, model.label());
    let work = move |files: &Files| -> vatic_ml::Result<Vec<NamedContent>> {
        let content = loader.onnx(files, &label)?;
        Ok(vec![(ONNX.to_owned(), content)])
    };
    runtime.with_files(model, ONNX_COPIES, work).await
}

/// The files of the version, or those that its loader makes of them, and last a manifest, which lists them.
async fn directory(
    engine: &Engine,
    model: &ResolvedModel,
) -> Result<(Vec<NamedContent>, MemoryReservation)> {
    let runtime = engine.runtime();
    let (loader, of_version) = (runtime.loader_of(model)?, model.clone());
    let mut names = model.manifest.files.iter().map(|file| &file.name);
    let copies = match names.any(|name| is_in(name, BASE_FOLDER)) {
        true => ENCODER_COPIES,
        false => 1,
    };
    let work = move |files: &Files| -> vatic_ml::Result<Vec<NamedContent>> {
        let (mut written, manifest) = match loader.exported(files)? {
            Some(written) => {
                let manifest = manifest_of(&of_version, &written)?;
                (written, manifest)
            }
            None => own_files(&of_version, files)?,
        };
        written.push((MANIFEST_FILE.to_owned(), manifest));
        Ok(written)
    };
    runtime.with_files(model, copies, work).await
}

/// The files of a version and its manifest, as they are.
fn own_files(
    model: &ResolvedModel,
    files: &Files,
) -> vatic_ml::Result<(Vec<NamedContent>, Vec<u8>)> {
    let known = files.known().iter();
    let read = known.map(|file| Ok((file.name.clone(), files.read(&file.name, u64::MAX)?)));
    let read = read.collect::<vatic_ml::Result<Vec<NamedContent>>>()?;
    let manifest = model.directory.join(MANIFEST_FILE).read()?;
    if sha256(&manifest) != model.sha256 {
        let problem = "its SHA-256 is not the one published";
        let message = format!("{MANIFEST_FILE}: {problem}");
        return Err(vatic_ml::Error::Corrupt(message));
    }
    Ok((read, manifest))
}

/// The manifest of a version with other files.
fn manifest_of(model: &ResolvedModel, written: &[NamedContent]) -> vatic_ml::Result<Vec<u8>> {
    let files = written.iter().map(|(name, content)| ModelFile {
        name: name.clone(),
        bytes: content.len() as u64,
        sha256: sha256(content),
    });
    let manifest = Manifest {
        files: files.collect(),
        ..model.manifest.as_ref().clone()
    };
    let failed = |error: serde_json::Error| vatic_ml::Error::Internal(error.to_string());
    serde_json::to_vec_pretty(&manifest).map_err(failed)
}

/// Whether these entries of a directory are the files of an exported model: a manifest, and files that it lists, also in folders.
fn holds_export(place: &Place, entries: &[(String, Kind)]) -> std::io::Result<bool> {
    #[derive(Deserialize)]
    struct Listed {
        files: Vec<ModelFile>,
    }
    let manifest = place.join(MANIFEST_FILE);
    let is_there = entries.iter().any(|(name, _)| name == MANIFEST_FILE);
    if !is_there || manifest.bytes()? > MANIFEST_BYTES_MAX {
        return Ok(false);
    }
    let Ok(listed) = serde_json::from_slice::<Listed>(&manifest.read()?) else {
        return Ok(false);
    };
    let is_ours =
        |name: &str| name == MANIFEST_FILE || listed.files.iter().any(|file| file.name == name);
    let mut waiting: Vec<(String, Kind)> = entries.to_vec();
    while let Some((name, kind)) = waiting.pop() {
        match kind {
            Kind::File if is_ours(&name) => {}
            Kind::Directory if listed.files.iter().any(|file| is_in(&file.name, &name)) => {
                let within = place.join(&name).entries()?.into_iter();
                waiting.extend(within.map(|(of, kind)| (format!("{name}/{of}"), kind)));
            }
            Kind::File | Kind::Directory | Kind::Other => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether a file of this name is in a folder.
fn is_in(name: &str, folder: &str) -> bool {
    let rest = name.strip_prefix(folder);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

fn result_row(
    model: &ResolvedModel,
    target: Target,
    location: &str,
    bytes: usize,
) -> Result<RecordBatch> {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let count = |count: i64| Arc::new(Int64Array::from(vec![count])) as ArrayRef;
    let columns = vec![
        text(&model.name.short()),
        count(model.version as i64),
        text(target.format(model)),
        text(location),
        count(bytes as i64),
    ];
    Ok(RecordBatch::try_new(result_schema(), columns)?)
}
