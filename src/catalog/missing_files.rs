//! Checks that a table's files exist as they were written. DataFusion's listing treats a missing file as no rows, so
//! every scan runs these checks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Constraints, DataFusionError, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::files::ManagedFile;
use super::locations::is_pattern;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::plan::scans::file_scan;
use crate::storage::{Kind, Place, is_remote};

/// The files of a managed table, with their places.
pub(crate) struct Files<'a> {
    pub(crate) files: &'a [ManagedFile],
    pub(crate) place: &'a (dyn Fn(&ManagedFile) -> Place + Sync),
}

impl Files<'_> {
    /// Checks that a scan found the files of the table. With a `limit` of rows, the scan stops listing files once it
    /// has enough rows, and the other files are not checked.
    pub(crate) fn check_scan(
        &self,
        scan: &Arc<dyn ExecutionPlan>,
        limit: Option<usize>,
    ) -> Result<()> {
        let found = files_of(scan);
        let mut rows = 0;
        for file in self.with_rows() {
            if let Some(found) = found.get(file.directory.as_str()) {
                check_bytes(&(self.place)(file), file, found.object_meta.size)?;
                check_rows(&(self.place)(file), file, found)?;
                rows += file.rows;
            }
        }
        if limit.is_some_and(|limit| rows >= limit as u64) {
            return Ok(());
        }
        let mut missing = self
            .with_rows()
            .filter(|file| !found.contains_key(file.directory.as_str()));
        match missing.next() {
            None => Ok(()),
            Some(file) => Err(missing_err(&(self.place)(file))),
        }
    }

    /// If a scan failed because a file changed, the error of the first such file; otherwise the scan's error.
    pub(crate) fn explained(&self, error: DataFusionError) -> DataFusionError {
        let check = |file: &ManagedFile| {
            let place = (self.place)(file);
            let bytes = bytes_of(&place)?;
            check_bytes(&place, file, bytes)
        };
        let wrong = self.with_rows().find_map(|file| check(file).err());
        wrong.unwrap_or(error)
    }

    fn with_rows(&self) -> impl Iterator<Item = &ManagedFile> {
        self.files.iter().filter(|file| file.rows > 0)
    }
}

/// The files that a scan reads, by the names of their directories.
fn files_of(scan: &Arc<dyn ExecutionPlan>) -> HashMap<&str, &PartitionedFile> {
    let groups = file_scan(scan.as_ref()).map_or(&[][..], |config| config.file_groups.as_slice());
    let files = groups.iter().flat_map(|group| group.iter());
    let named = files.filter_map(|file| {
        let path: &str = file.object_meta.location.as_ref();
        Some((path.rsplit('/').nth(1)?, file))
    });
    named.collect()
}

fn bytes_of(place: &Place) -> Result<u64> {
    place.bytes().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing_err(place),
        _ => io_err(place, &error),
    })
}

fn check_bytes(place: &Place, file: &ManagedFile, bytes: u64) -> Result<()> {
    match file.bytes {
        Some(written) if written != bytes => Err(changed_err(
            place,
            &format!("it has {bytes} bytes, {written} were written"),
        )),
        _ => Ok(()),
    }
}

/// Compares the number of rows with the file's footer, which the scan has already read.
fn check_rows(place: &Place, file: &ManagedFile, found: &PartitionedFile) -> Result<()> {
    let statistics = found.statistics.as_ref();
    match statistics.map(|statistics| &statistics.num_rows) {
        Some(Precision::Exact(rows)) if *rows as u64 != file.rows => Err(changed_err(
            place,
            &format!("it has {rows} rows, {} were written", file.rows),
        )),
        _ => Ok(()),
    }
}

fn missing_err(place: &Place) -> DataFusionError {
    let message = format!("{place} is missing, but the table has rows in it; restore the file");
    sql_err(SqlState::Io, message)
}

fn changed_err(place: &Place, how: &str) -> DataFusionError {
    let message = format!("{place} is not what the table wrote: {how}; restore the file");
    sql_err(SqlState::Io, message)
}

/// An external table whose locations are checked before each scan.
#[derive(Debug)]
pub(crate) struct PresentTable {
    table: Arc<dyn TableProvider>,
    places: Vec<(Place, Kind)>,
}

impl PresentTable {
    pub(crate) fn new(table: Arc<dyn TableProvider>, places: Vec<(Place, Kind)>) -> Self {
        Self { table, places }
    }

    fn check(&self) -> Result<()> {
        check_places(&self.places)
    }
}

/// The expected kinds of entries at an external table's locations, which must be absolute. Patterns may match nothing,
/// and locations that are neither on this machine nor in a store are not checked.
///
/// # Errors
/// If a location does not exist.
pub(crate) fn present(locations: &[String]) -> Result<Vec<(Place, Kind)>> {
    let mut places = Vec::new();
    for location in locations {
        let place = Place::parse(location.as_ref())?;
        let is_ours = is_remote(location) || !location.contains("://");
        let kind = match location.ends_with('/') {
            true => Kind::Directory,
            false => Kind::File,
        };
        if is_ours && !is_pattern(location) {
            places.push((place, kind));
        }
    }
    check_places(&places)?;
    Ok(places)
}

fn check_places(places: &[(Place, Kind)]) -> Result<()> {
    for (place, kind) in places {
        let what = match kind {
            Kind::Directory => "directory",
            Kind::File | Kind::Other => "file",
        };
        let found = place.kind().map_err(|error| io_err(place, &error))?;
        if found != Some(*kind) {
            let message = format!(
                "{place} of an external table is not a {what} any more; restore it, or recreate the table"
            );
            return Err(sql_err(SqlState::Io, message));
        }
    }
    Ok(())
}

#[async_trait]
impl TableProvider for PresentTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.table.constraints()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.table.get_table_definition()
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        self.table.get_logical_plan()
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.table.get_column_default(column)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.check()?;
        self.table.scan(state, projection, filters, limit).await
    }

    async fn scan_with_args<'a>(
        &self,
        state: &dyn Session,
        args: ScanArgs<'a>,
    ) -> Result<ScanResult> {
        self.check()?;
        self.table.scan_with_args(state, args).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.table.statistics()
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.table.insert_into(state, input, operation).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_that_looks_like_a_pattern_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let path = base.join("t[1].csv");
        fs::write(&path, "").unwrap();
        let location = |path: &Path| path.to_string_lossy().into_owned();
        let places = present(&[location(&path), location(&base.join("*.csv"))]).unwrap();
        assert_eq!(places, [(Place::Local(path.clone()), Kind::File)]);
        fs::remove_file(&path).unwrap();
        check_places(&places).unwrap_err();
    }
}
