//! [`Catalog`]: the tables and views of a data directory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::common::{DataFusionError, ResolvedTableReference, TableReference};

use super::external::open_external;
use super::files::{ManagedFile, TableFiles, Written};
use super::managed::ManagedTable;
use super::merge::{Merged, merge};
use super::missing_files::{PresentTable, present};
use super::name::{CATALOG, ML_SCHEMA, NAME_BYTES_MAX, decoded, encoded};
use super::planner::OwnerPlanner;
use super::state::{Stored, TableEntry, TableState, check_unchanged, should_create};
use super::view::open_view;
use crate::access::grants::{Object, Privilege};
use crate::access::ownership::Ownership;
use crate::access::{Access, Rights};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::{Log, LogPosition, names_in};
use crate::storage::{DEFAULT_SCHEMA, IfTaken};

/// The tables and views of a data directory.
#[derive(Debug)]
pub(crate) struct Catalog {
    data: Arc<DataDir>,
    /// External tables that were opened.
    opened: Mutex<Opened>,
}

/// Opened external tables by schema and name, with the state that they were opened for.
type Opened = HashMap<(String, String), (TableState, Arc<dyn TableProvider>)>;

impl Catalog {
    pub(crate) fn new(data: Arc<DataDir>) -> Self {
        Self {
            data,
            opened: Mutex::default(),
        }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Arc<DataDir> {
        &self.data
    }

    fn log(&self, schema: &str, name: &str) -> Log {
        Log::new(self.data.tables(schema).join(&encoded(name)))
    }

    /// The latest entry of a name.
    pub(crate) fn entry(&self, schema: &str, name: &str) -> Result<TableEntry> {
        let empty = |seen| TableEntry {
            seen,
            state: None,
            ownership: Ownership::default(),
        };
        // No file system allows such a long name, so the table does not exist.
        if encoded(name).len() > NAME_BYTES_MAX {
            return Ok(empty(None));
        }
        let Some((seen, stored)) = self.log(schema, name).latest::<Stored>()? else {
            return Ok(empty(None));
        };
        let (state, ownership) = match stored {
            Stored::Owned { state, ownership } => (state, ownership),
            Stored::Bare(state) => (state, Ownership::default()),
        };
        if state == TableState::Dropped {
            return Ok(empty(Some(seen)));
        }
        Ok(TableEntry {
            seen: Some(seen),
            state: Some(state),
            ownership,
        })
    }

    /// The latest state of a table, `None` if it was dropped.
    pub(crate) fn state(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<(Option<LogPosition>, Option<TableState>)> {
        let entry = self.entry(schema, name)?;
        Ok((entry.seen, entry.state))
    }

    /// Publishes the state that follows the entry `seen`. `false` if another process was first.
    pub(crate) fn commit(
        &self,
        at: &(String, String),
        seen: &TableEntry,
        state: TableState,
        ownership: Ownership,
    ) -> Result<bool> {
        let stored = Stored::Owned { state, ownership };
        let is_first = self.log(&at.0, &at.1).commit(seen.seen.as_ref(), &stored)?;
        if is_first {
            // Nobody reads the state before any more.
            self.lock_opened().remove(at);
        }
        Ok(is_first)
    }

    /// All tables and views with their ownership.
    pub(crate) fn owned(&self) -> Result<Vec<(Object, Ownership)>> {
        let mut owned = Vec::new();
        for schema in self.data.schema_names()? {
            for name in self.names(&schema)? {
                let entry = self.entry(&schema, &name)?;
                owned.push((Object::table(&schema, &name), entry.ownership));
            }
        }
        Ok(owned)
    }

    /// Rewrites DataFusion's error about a missing table and adds the nearest name.
    pub(crate) fn not_found(&self, access: &Access, error: DataFusionError) -> DataFusionError {
        let mut found = crate::error::report(&error);
        if found.state != SqlState::NoSuchTable {
            return error;
        }
        // Only the text of DataFusion's error contains the name.
        let Some(name) = found
            .message
            .strip_prefix("table 'vatic.")
            .and_then(|rest| rest.strip_suffix("' not found"))
        else {
            return error;
        };
        let (schema, table) = name.split_once('.').unwrap_or((DEFAULT_SCHEMA, name));
        let shown = if schema == DEFAULT_SCHEMA {
            table
        } else {
            name
        };
        let known = self.names(schema).unwrap_or_default();
        let known = self.open_names(access, schema, known);
        let what = format!("table \"{shown}\" does not exist");
        found.message = with_cause(what, table, known.iter().map(String::as_str));
        found.into()
    }

    pub(crate) fn names(&self, schema: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for encoded in names_in(&self.data.tables(schema))? {
            let Some(name) = decoded(&encoded) else {
                continue;
            };
            if self.state(schema, &name)?.1.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The names of a schema's tables that the session may read.
    pub(crate) fn open_names(
        &self,
        access: &Access,
        schema: &str,
        mut names: Vec<String>,
    ) -> Vec<String> {
        // If the grants cannot be read, no table is visible.
        let Ok(rights) = access.rights() else {
            return Vec::new();
        };
        if !matches!(rights, Rights::All) {
            names.retain(|name| {
                let object = Object::table(schema, name);
                let entry = self.entry(schema, name);
                entry.is_ok_and(|entry| rights.may(Privilege::Select, &object, &entry.ownership))
            });
        }
        names
    }

    /// Resolves a name from a statement to schema and table.
    pub(crate) fn resolve(
        &self,
        default_schema: &str,
        name: TableReference,
    ) -> Result<(String, String)> {
        let ResolvedTableReference {
            catalog,
            schema,
            table,
        } = name.resolve(CATALOG, default_schema);
        if *catalog != *CATALOG {
            return Err(sql_err(
                SqlState::NoSuchTable,
                format!("catalog \"{catalog}\" does not exist"),
            ));
        }
        if [ML_SCHEMA, INFORMATION_SCHEMA].contains(&schema.as_ref()) {
            return Err(sql_err(
                SqlState::Unsupported,
                format!("schema \"{schema}\" is read-only"),
            ));
        }
        self.data.check_schema(&schema)?;
        if encoded(&table).len() > NAME_BYTES_MAX {
            let message = format!("the name of a table may have up to {NAME_BYTES_MAX} bytes");
            return Err(sql_err(SqlState::InvalidName, message));
        }
        Ok((schema.to_string(), table.to_string()))
    }

    /// Publishes the state of a new table. `Ok(false)` if the table exists and IF NOT EXISTS allows that.
    pub(crate) fn create(
        &self,
        access: &Access,
        at: &(String, String),
        state: &TableState,
        if_taken: IfTaken,
    ) -> Result<bool> {
        loop {
            let seen = self.entry(&at.0, &at.1)?;
            if !should_create(if_taken, &at.1, seen.state.as_ref(), state)? {
                return Ok(false);
            }
            // A replaced object keeps its owner.
            let ownership = match &seen.state {
                Some(_) => {
                    access.check_table(at, &seen.ownership)?;
                    access.kept_ownership(&seen.ownership)
                }
                None => access.new_ownership(),
            };
            if self.commit(at, &seen, state.clone(), ownership)? {
                return Ok(true);
            }
        }
    }

    pub(crate) fn drop_schema(
        &self,
        name: &str,
        if_exists: bool,
        cascade: bool,
        has_more: bool,
    ) -> Result<()> {
        if name == DEFAULT_SCHEMA || name == ML_SCHEMA || name == INFORMATION_SCHEMA {
            return Err(sql_err(
                SqlState::Unsupported,
                format!("schema \"{name}\" cannot be dropped"),
            ));
        }
        if if_exists && !self.data.schema_names()?.iter().any(|known| known == name) {
            return Ok(());
        }
        self.data.check_schema(name)?;
        let has_models = !names_in(&self.data.models(name))?.is_empty();
        if !cascade && (has_more || has_models || !self.names(name)?.is_empty()) {
            let message = format!(
                "schema \"{name}\" is not empty; DROP SCHEMA {name} CASCADE drops what is in it"
            );
            return Err(sql_err(SqlState::StillNeeded, message));
        }
        self.data.drop_schema(name)
    }

    /// The directories of files that some table names.
    pub(crate) fn used_directories(&self) -> Result<HashSet<String>> {
        let mut used = HashSet::new();
        for schema in self.data.schema_names()? {
            for name in self.names(&schema)? {
                if let Some(TableState::Managed { files, .. }) = self.state(&schema, &name)?.1 {
                    used.extend(files.into_iter().map(|file| file.directory));
                }
            }
        }
        Ok(used)
    }

    /// Opens a table or view in the state of its entry.
    pub(crate) async fn open(
        self: &Arc<Self>,
        planner: &dyn OwnerPlanner,
        at: (String, String),
        entry: TableEntry,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let TableEntry {
            state: Some(state),
            ownership,
            ..
        } = entry
        else {
            return Ok(None);
        };
        match &state {
            TableState::Managed {
                schema: columns,
                files,
            } => {
                let list = self.files(at.clone(), ownership.id);
                let (data, columns) = (Arc::clone(&self.data), Arc::new(columns.clone()));
                let table = ManagedTable::new(data, at, columns, files.clone(), list);
                Ok(Some(Arc::new(table)))
            }
            TableState::External { locations, .. } => {
                let places = present(locations)?;
                let known = self
                    .lock_opened()
                    .get(&at)
                    .filter(|(of, _)| *of == state)
                    .map(|(_, table)| Arc::clone(table));
                if let Some(table) = known {
                    return Ok(Some(table));
                }
                let context = planner.state(&Access::All)?;
                let table = open_external(planner, &context, &state).await?;
                let table: Arc<dyn TableProvider> = Arc::new(PresentTable::new(table, places));
                self.lock_opened().insert(at, (state, Arc::clone(&table)));
                Ok(Some(table))
            }
            TableState::View { statement } => {
                let opened = open_view(planner, planner.owner(&ownership), at, statement).await;
                opened.map(Some)
            }
            TableState::Dropped => Ok(None),
        }
    }

    /// The list of files of the managed table with this id.
    pub(super) fn files(
        self: &Arc<Self>,
        at: (String, String),
        id: Option<String>,
    ) -> Arc<dyn TableFiles> {
        Arc::new(LoggedFiles {
            catalog: Arc::clone(self),
            at,
            id,
        })
    }

    fn lock_opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list of files in the log of a table.
#[derive(Debug)]
struct LoggedFiles {
    catalog: Arc<Catalog>,
    at: (String, String),
    /// The id of the table, which distinguishes it from others with its name.
    id: Option<String>,
}

#[async_trait]
impl TableFiles for LoggedFiles {
    fn is_temporary(&self) -> bool {
        false
    }

    async fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()> {
        let seen = self.catalog.entry(&self.at.0, &self.at.1)?;
        let merged = match overwrite {
            true => None,
            false => self.merged(&seen, schema, &written).await,
        };
        // An error of the commit may come after the commit, so the files must stay; unpublished files become orphans.
        written.keep();
        if let Some(merged) = &merged {
            merged.written.keep();
        }
        let insertion = Insertion {
            at: &self.at,
            id: self.id.as_deref(),
            schema,
            files: &written.files,
            merged: merged.as_ref(),
            overwrite,
        };
        let is_merged = insert(&self.catalog, &insertion, seen)?;
        // No state ever named the other files.
        match &merged {
            Some(merged) if !is_merged => merged.written.release(),
            Some(merged) if merged.has_new => written.release(),
            _ => {}
        }
        Ok(())
    }
}

impl LoggedFiles {
    /// The small files of the table as one file, if they have become many. Rows can be inserted without.
    async fn merged(
        &self,
        seen: &TableEntry,
        schema: &SchemaRef,
        written: &Written,
    ) -> Option<Merged> {
        let Some(TableState::Managed {
            schema: current,
            files,
        }) = &seen.state
        else {
            return None;
        };
        let is_same = seen.ownership.id == self.id && current == schema.as_ref();
        if !is_same {
            return None;
        }
        let merging = merge(self.catalog.data(), schema, files, &written.files);
        match merging.await {
            Ok(merged) => merged,
            Err(error) => {
                let (schema, table) = &self.at;
                tracing::warn!(%schema, %table, %error, "small files cannot be merged");
                None
            }
        }
    }
}

/// Written files to be inserted into a table.
#[derive(Debug)]
struct Insertion<'a> {
    at: &'a (String, String),
    /// The id of the table that the rows were computed for.
    id: Option<&'a str>,
    schema: &'a SchemaRef,
    files: &'a [ManagedFile],
    /// Files of the table that were merged, maybe with the new ones.
    merged: Option<&'a Merged>,
    /// Whether the files replace the current files.
    overwrite: bool,
}

/// Appends files to a table, or replaces its files by them. Returns whether the merged files are in the new list.
fn insert(catalog: &Catalog, rows: &Insertion<'_>, mut seen: TableEntry) -> Result<bool> {
    let (schema_name, name) = rows.at;
    loop {
        // Another table with the name may have another owner.
        let is_same = seen.ownership.id.as_deref() == rows.id;
        let (current, files) = match &seen.state {
            Some(TableState::Managed { schema, files }) if is_same => {
                (Some(schema), files.as_slice())
            }
            _ => (None, &[][..]),
        };
        let current = check_unchanged(name, current, rows.schema)?;
        let kept = if rows.overwrite { &[][..] } else { files };
        let merged = rows
            .merged
            .and_then(|merged| merged.applied(kept, rows.files));
        let is_merged = merged.is_some();
        let state = TableState::Managed {
            schema: current.clone(),
            files: merged.unwrap_or_else(|| [kept, rows.files].concat()),
        };
        if catalog.commit(rows.at, &seen, state, seen.ownership.clone())? {
            return Ok(is_merged);
        }
        seen = catalog.entry(schema_name, name)?;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use futures::TryStreamExt;

    use super::*;
    use crate::Engine;
    use crate::error::report;

    fn catalog() -> Catalog {
        Catalog::new(Arc::new(DataDir::temporary().unwrap()))
    }

    fn at(name: &str) -> (String, String) {
        (DEFAULT_SCHEMA.to_owned(), name.to_owned())
    }

    fn columns(name: &str) -> Schema {
        Schema::new(vec![Field::new(name, DataType::Int64, true)])
    }

    fn table(column: &str) -> TableState {
        TableState::Managed {
            schema: columns(column),
            files: vec![],
        }
    }

    fn view() -> TableState {
        TableState::View {
            statement: "CREATE VIEW v AS SELECT 1".into(),
        }
    }

    fn create(catalog: &Catalog, state: &TableState, if_taken: IfTaken) -> Result<bool, SqlState> {
        let created = catalog.create(&Access::All, &at("t"), state, if_taken);
        created.map_err(|error| report(&error).state)
    }

    fn id(catalog: &Catalog) -> Option<String> {
        catalog.entry(DEFAULT_SCHEMA, "t").unwrap().ownership.id
    }

    fn file(name: &str) -> ManagedFile {
        serde_json::from_value(serde_json::json!({"directory": name, "rows": 1, "bytes": 1}))
            .unwrap()
    }

    fn insert_file(
        catalog: &Catalog,
        id: Option<&str>,
        column: &str,
        overwrite: bool,
    ) -> Result<(), SqlState> {
        let insertion = Insertion {
            at: &at("t"),
            id,
            schema: &Arc::new(columns(column)),
            files: &[file("new")],
            merged: None,
            overwrite,
        };
        let seen = catalog.entry(DEFAULT_SCHEMA, "t").unwrap();
        let inserted = insert(catalog, &insertion, seen);
        inserted.map(drop).map_err(|error| report(&error).state)
    }

    #[test]
    fn a_name_has_one_object_whose_kind_or_replace_does_not_change() {
        let catalog = catalog();
        assert_eq!(create(&catalog, &table("a"), IfTaken::Fail), Ok(true));
        let (first, taken) = (id(&catalog), Err(SqlState::TableExists));
        assert_eq!(create(&catalog, &table("b"), IfTaken::Fail), taken);
        assert_eq!(create(&catalog, &table("b"), IfTaken::Keep), Ok(false));
        assert_eq!(create(&catalog, &view(), IfTaken::Replace), taken);
        assert_eq!(create(&catalog, &table("b"), IfTaken::Replace), Ok(true));
        assert_eq!(
            catalog.state(DEFAULT_SCHEMA, "t").unwrap().1,
            Some(table("b"))
        );
        // A replaced table is the same object to grants.
        assert_eq!(id(&catalog), first);
        assert_eq!(catalog.names(DEFAULT_SCHEMA).unwrap(), ["t"]);
    }

    #[test]
    fn rows_go_into_the_table_that_they_were_computed_for() {
        let catalog = catalog();
        create(&catalog, &table("a"), IfTaken::Fail).unwrap();
        let of = id(&catalog);
        let files = || match catalog.state(DEFAULT_SCHEMA, "t").unwrap().1 {
            Some(TableState::Managed { files, .. }) => files.len(),
            state => panic!("{state:?}"),
        };
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        insert_file(&catalog, of.as_deref(), "a", false).unwrap();
        assert_eq!(files(), 2);
        insert_file(&catalog, of.as_deref(), "a", true).unwrap();
        assert_eq!(files(), 1);
        let lost = Err(SqlState::LostRace);
        assert_eq!(insert_file(&catalog, of.as_deref(), "b", false), lost);
        // A table of the same name and columns that came after is another one.
        let seen = catalog.entry(DEFAULT_SCHEMA, "t").unwrap();
        let dropped = catalog.commit(&at("t"), &seen, TableState::Dropped, Ownership::default());
        assert!(dropped.unwrap());
        assert_eq!(insert_file(&catalog, of.as_deref(), "a", false), lost);
        create(&catalog, &table("a"), IfTaken::Fail).unwrap();
        assert_eq!(insert_file(&catalog, of.as_deref(), "a", false), lost);
    }

    #[test]
    fn of_two_changes_to_one_state_the_second_is_refused() {
        let catalog = catalog();
        let seen = catalog.entry(DEFAULT_SCHEMA, "t").unwrap();
        let commit = |state| catalog.commit(&at("t"), &seen, state, Ownership::default());
        assert!(commit(table("a")).unwrap());
        assert!(!commit(view()).unwrap());
        assert_eq!(
            catalog.state(DEFAULT_SCHEMA, "t").unwrap().1,
            Some(table("a"))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_external_table_that_was_dropped_is_not_remembered() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let opened = || engine.catalog().lock_opened().len();
        for (statement, expected) in [
            (
                "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION 'sql-tests/data/iris.csv'",
                None,
            ),
            ("SELECT count(*) FROM e", Some(1)),
            ("DROP TABLE e", Some(0)),
        ] {
            let rows = session.sql(statement).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap();
            if let Some(expected) = expected {
                assert_eq!(opened(), expected, "{statement}");
            }
        }
    }

    #[test]
    fn names_are_those_of_this_catalog_and_of_schemas_that_can_change() {
        let catalog = catalog();
        for schema in ["s", "x"] {
            catalog.data().create_schema(schema).unwrap();
        }
        let resolve = |name: &str| {
            let resolved = catalog.resolve("s", TableReference::from(name));
            resolved.map_err(|error| report(&error).state)
        };
        assert_eq!(resolve("t"), Ok(("s".into(), "t".into())));
        assert_eq!(resolve("vatic.x.t"), Ok(("x".into(), "t".into())));
        assert_eq!(resolve("other.x.t"), Err(SqlState::NoSuchTable));
        assert_eq!(resolve("ml.models"), Err(SqlState::Unsupported));
    }
}
