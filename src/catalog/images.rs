//! `read_images('folder/')`: a table function with a row for each image file.
//!
//! The files are listed when a query is planned for execution, so each query sees the files that exist then. What is known
//! from the list (path, size, time, label) decides which files a query reads at all; [`crate::plan::images`] reads the rest.
//! Access is checked as for external tables.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit,
};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::{ListingTableUrl, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::{TableSchema, TableSchemaBuilder};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::TryStreamExt;

use super::locations::{absolute, literal};
use super::partitions::{is_of_files, kept_files};
use super::planner::OwnerPlanner;
use crate::error::{Result, SqlState, report, sql_err};
use crate::plan::images::ImageSource;
use crate::storage::{GetOptions, ObjectMeta, ObjectStore};

/// The name of the table function.
pub(crate) const READ_IMAGES: &str = "read_images";

/// The extensions of the files that a folder is searched for, in any case.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

const TIME_ZONE: &str = "UTC";

/// The table function.
#[derive(Debug)]
pub(crate) struct ReadImages {
    planner: Arc<dyn OwnerPlanner>,
}

impl ReadImages {
    pub(crate) fn new(planner: Arc<dyn OwnerPlanner>) -> Self {
        Self { planner }
    }
}

impl TableFunctionImpl for ReadImages {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let location = match args.exprs() {
            [Expr::Literal(ScalarValue::Null, _)] => None,
            [Expr::Literal(value, _)] => match value.try_as_str() {
                Some(location) => location,
                None => return Err(usage(args.exprs())),
            },
            other => return Err(usage(other)),
        };
        let url = match location {
            Some(location) => {
                // Without access, a user must not learn whether the file exists.
                self.planner.files().check_read(location)?;
                let url = ListingTableUrl::parse(literal(&absolute(location)?));
                Some(url.map_err(|error| pattern_err(location, &error))?)
            }
            None => None,
        };
        Ok(Arc::new(ImageFiles { url }))
    }
}

fn usage(found: &[Expr]) -> DataFusionError {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let message = format!(
        "{READ_IMAGES} takes a folder, a file or a pattern as a text, found ({}); use {READ_IMAGES}('photos/'), \
         {READ_IMAGES}('s3://bucket/photos/') or {READ_IMAGES}('photos/*.jpg')",
        found.join(", ")
    );
    sql_err(SqlState::Syntax, message)
}

/// The error for a location that cannot be parsed.
fn pattern_err(location: &str, error: &DataFusionError) -> DataFusionError {
    let message = format!(
        "{location} is neither there nor a pattern: {}; write [[] for a bracket of a name",
        report(error).message
    );
    sql_err(SqlState::InvalidParameter, message)
}

/// The error for a folder that cannot be listed.
fn list_err(url: &ListingTableUrl, error: DataFusionError) -> DataFusionError {
    if url.scheme() != "file" {
        return error;
    }
    let mut found = report(&error);
    found.message = format!(
        "/{} cannot be listed: {}; rename or remove what cannot be read, or name the folders beside it",
        url.prefix(),
        found.message
    );
    found.into()
}

/// The files at a location.
#[derive(Debug)]
struct ImageFiles {
    /// NULL is a location without files.
    url: Option<ListingTableUrl>,
}

/// The columns path, size, modified, bytes and label by their places in the scan, which has what is in a file before what is
/// known of it.
const PLACES: [usize; 5] = [1, 2, 3, 0, 4];

/// The columns of the scan.
fn scan_schema() -> TableSchema {
    let bytes = Field::new("bytes", DataType::BinaryView, false);
    let inner: SchemaRef = Arc::new(Schema::new(vec![bytes]));
    TableSchemaBuilder::from(&inner)
        .with_table_partition_cols(known_columns())
        .build()
}

/// What is known of a file without reading it.
fn known_columns() -> Vec<FieldRef> {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some(TIME_ZONE.into()));
    let known = [
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("modified", time, false),
        Field::new("label", DataType::Utf8, true),
    ];
    known.into_iter().map(Arc::new).collect()
}

impl ImageFiles {
    /// The files with the values of [`known_columns`].
    async fn listed(
        url: &ListingTableUrl,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<Vec<PartitionedFile>> {
        let files: Vec<ObjectMeta> = match url.is_collection() {
            true => {
                let listed: Result<Vec<ObjectMeta>, _> =
                    store.list(Some(url.prefix())).try_collect().await;
                listed.map_err(|error| list_err(url, error.into()))?
            }
            false => {
                let options = GetOptions {
                    head: true,
                    ..GetOptions::default()
                };
                vec![store.get_opts(url.prefix(), options).await?.meta]
            }
        };
        let files = files.into_iter().filter_map(|file| {
            let label = label(url, &file)?;
            let values = vec![
                ScalarValue::Utf8(Some(path(url, &file))),
                ScalarValue::Int64(Some(file.size as i64)),
                ScalarValue::TimestampMillisecond(
                    Some(file.last_modified.timestamp_millis()),
                    Some(TIME_ZONE.into()),
                ),
                ScalarValue::Utf8(label),
            ];
            Some(PartitionedFile::from(file).with_partition_values(values))
        });
        Ok(files.collect())
    }
}

/// The path as the user would write it.
fn path(url: &ListingTableUrl, file: &ObjectMeta) -> String {
    let store = url.object_store();
    let root = match url.scheme() {
        "file" => "/",
        _ => store.as_str(),
    };
    format!("{root}{}", file.location)
}

/// The label of a file: the name of the folder above it, and no name for a file right at the location. `None` if the file is
/// not one of those that the location means.
fn label(url: &ListingTableUrl, file: &ObjectMeta) -> Option<Option<String>> {
    let parts: Vec<&str> = url.strip_prefix(&file.location)?.collect();
    let Some((name, folders)) = parts.split_last() else {
        // The location is the file itself. At a folder, it is an empty object that some tools create for the folder.
        return (!url.is_collection()).then_some(None);
    };
    let is_hidden = parts.iter().any(|part| part.starts_with('.'));
    let is_meant = match url.get_glob() {
        Some(pattern) => {
            // The pattern's `*` also matches slashes; without `**` a pattern means the files at its depth.
            let depth = pattern.as_str().matches('/').count();
            let is_deep_enough = pattern.as_str().contains("**") || depth == folders.len();
            is_deep_enough && pattern.matches(&parts.join("/"))
        }
        None => has_image_name(name),
    };
    (is_meant && !is_hidden).then(|| folders.last().map(|folder| (*folder).to_owned()))
}

fn has_image_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|found| {
        let mut known = EXTENSIONS.into_iter();
        known.any(|known| known.eq_ignore_ascii_case(found))
    })
}

#[async_trait]
impl TableProvider for ImageFiles {
    fn schema(&self) -> SchemaRef {
        let scan = scan_schema();
        let fields = scan.table_schema().fields();
        let fields = PLACES.map(|place| Arc::clone(&fields[place]));
        Arc::new(Schema::new(Fields::from_iter(fields)))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let empty = || -> Result<Arc<dyn ExecutionPlan>> {
            let schema = project_schema(&self.schema(), projection)?;
            Ok(Arc::new(EmptyExec::new(schema)))
        };
        let Some(url) = &self.url else {
            return empty();
        };
        let store = state.runtime_env().object_store(url)?;
        let files = Self::listed(url, &store).await?;
        let kept = kept_files(state, &known_columns(), &files, filters)?;
        let files = files.into_iter().zip(kept);
        let files: Vec<_> = files
            .filter_map(|(file, kept)| kept.then_some(file))
            .collect();
        if files.is_empty() {
            return empty();
        }
        let schema = scan_schema();
        let mut statistics = Statistics::new_unknown(schema.table_schema());
        statistics.num_rows = Precision::Exact(files.len());
        let places = match projection {
            Some(columns) => columns.iter().map(|column| PLACES[*column]).collect(),
            None => PLACES.to_vec(),
        };
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let source = Arc::new(ImageSource::new(schema));
        let config = FileScanConfigBuilder::new(url.object_store(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(places))?
            .with_limit(limit)
            // A file is a batch, whatever the session's batches are; a filter above must not gather more.
            .with_batch_size(Some(1))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Conditions on what is known of a file are decided when the files are listed. A filter above the scan would wait until
    /// it has a whole batch of images.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let known = known_columns();
        let answers = filters
            .iter()
            .map(|filter| match is_of_files(&known, filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Unsupported,
            });
        Ok(answers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels of files by their paths, those of files that the location does not mean left out.
    fn labels(location: &str, paths: &[&str]) -> Vec<(String, Option<String>)> {
        let url = ListingTableUrl::parse(location).unwrap();
        let found = paths.iter().filter_map(|path| {
            let file = ObjectMeta {
                location: path.trim_start_matches('/').into(),
                last_modified: Default::default(),
                size: 1,
                e_tag: None,
                version: None,
            };
            Some(((*path).to_owned(), label(&url, &file)?))
        });
        found.collect()
    }

    #[track_caller]
    fn check(location: &str, paths: &[&str], expected: &[(&str, Option<&str>)]) {
        let expected = expected.iter();
        let expected = expected.map(|(path, label)| ((*path).to_owned(), label.map(str::to_owned)));
        assert_eq!(labels(location, paths), expected.collect::<Vec<_>>());
    }

    const FILES: &[&str] = &[
        "/no/photos/a.JPG",
        "/no/photos/cat/b.png",
        "/no/photos/train/dog/c.webp",
        "/no/photos/notes.txt",
        "/no/photos/cat/._b.png",
        "/no/photos/.thumbnails/b.png",
        "/no/others/d.gif",
    ];

    #[test]
    fn a_folder_means_the_images_in_it_and_labels_them_by_their_folders() {
        check(
            "/no/photos/",
            FILES,
            &[
                ("/no/photos/a.JPG", None),
                ("/no/photos/cat/b.png", Some("cat")),
                ("/no/photos/train/dog/c.webp", Some("dog")),
            ],
        );
    }

    #[test]
    fn the_object_of_a_folder_of_a_store_is_no_file() {
        check(
            "s3://lake/photos/",
            &["photos", "photos/cat", "photos/cat/a.png"],
            &[("photos/cat/a.png", Some("cat"))],
        );
        check("s3://lake/photos", &["photos"], &[("photos", None)]);
    }

    #[test]
    fn a_pattern_means_files_of_its_depth() {
        check(
            "/no/photos/*",
            FILES,
            &[("/no/photos/a.JPG", None), ("/no/photos/notes.txt", None)],
        );
        check(
            "/no/photos/*/*.png",
            FILES,
            &[("/no/photos/cat/b.png", Some("cat"))],
        );
        check(
            "/no/photos/**/*.webp",
            FILES,
            &[("/no/photos/train/dog/c.webp", Some("dog"))],
        );
    }

    #[test]
    fn a_file_means_itself() {
        check(
            "/no/photos/notes.txt",
            FILES,
            &[("/no/photos/notes.txt", None)],
        );
    }
}
