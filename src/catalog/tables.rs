//! [`Catalog`]: the tables and views of a data directory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, ResolvedTableReference, TableReference};

use super::examples;
use super::name::{CATALOG, NAME_BYTES_MAX, decoded, encoded};
use super::state::{Stored, TableEntry, TableState, should_create};
use crate::access::grants::{Object, Privilege};
use crate::access::ownership::Ownership;
use crate::access::{Access, Rights};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::{Log, LogPosition, names_in};
use crate::storage::{BUILT_IN_SCHEMAS, DEFAULT_SCHEMA, EXAMPLES_SCHEMA, IfTaken};

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
        let mut known = self.open_names(access, schema, known);
        if schema == EXAMPLES_SCHEMA {
            known.extend(examples::names().map(str::to_owned));
        }
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
        let is_known = self.data.schema_names()?.iter().any(|known| known == name);
        if name == DEFAULT_SCHEMA || (BUILT_IN_SCHEMAS.contains(&name) && !is_known) {
            return Err(sql_err(
                SqlState::Unsupported,
                format!("schema \"{name}\" cannot be dropped"),
            ));
        }
        if if_exists && !is_known {
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
                if let Some(TableState::Managed { files, indexes, .. }) =
                    self.state(&schema, &name)?.1
                {
                    used.extend(files.into_iter().map(|file| file.directory));
                    let graphs = indexes.into_iter().flat_map(|index| index.graphs);
                    used.extend(graphs.map(|graphs| graphs.directory));
                }
            }
        }
        Ok(used)
    }

    /// The external tables that were opened.
    pub(super) fn lock_opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
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
            indexes: vec![],
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
