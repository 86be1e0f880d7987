//! [`Catalog`]: all tables and views of a data directory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::common::{DataFusionError, ResolvedTableReference, TableReference};

use super::external::open_external;
use super::files::{ManagedFile, TableFiles, Written};
use super::managed::ManagedTable;
use super::missing_files::{PresentTable, present};
use super::name::{CATALOG, ML_SCHEMA, NAME_BYTES_MAX, decoded, encoded};
use super::planner::OwnerPlanner;
use super::state::{Creation, Stored, TableEntry, TableState, check_unchanged};
use super::view::open_view;
use crate::access::grants::{Object, Privilege};
use crate::access::ownership::Ownership;
use crate::access::{Access, Rights};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::storage::DEFAULT_SCHEMA;
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::{Log, names_in};

/// All tables and views of a data directory.
#[derive(Debug)]
pub(crate) struct Catalog {
    data: Arc<DataDir>,
    /// External tables whose files were looked at already.
    opened: Mutex<Opened>,
}

/// External tables by schema and name, with the state that they were opened for.
type Opened = HashMap<(String, String), (TableState, Arc<dyn TableProvider>)>;

impl Catalog {
    pub(crate) fn new(data: Arc<DataDir>) -> Self {
        Self {
            data,
            opened: Mutex::default(),
        }
    }

    /// Where the files of tables are.
    pub(crate) fn data(&self) -> &Arc<DataDir> {
        &self.data
    }

    fn log(&self, schema: &str, name: &str) -> Log {
        Log::new(self.data.tables(schema).join(&encoded(name)))
    }

    /// What has a name now.
    pub(crate) fn entry(&self, schema: &str, name: &str) -> Result<TableEntry> {
        let empty = |number| TableEntry {
            number,
            state: None,
            ownership: Ownership::default(),
        };
        // No file system has such a name, so there is no such table.
        if encoded(name).len() > NAME_BYTES_MAX {
            return Ok(empty(None));
        }
        let Some((number, stored)) = self.log(schema, name).latest::<Stored>()? else {
            return Ok(empty(None));
        };
        let (state, ownership) = match stored {
            Stored::Owned { state, ownership } => (state, ownership),
            Stored::Bare(state) => (state, Ownership::default()),
        };
        if state == TableState::Dropped {
            return Ok(empty(Some(number)));
        }
        Ok(TableEntry {
            number: Some(number),
            state: Some(state),
            ownership,
        })
    }

    /// The last state of a table, unless it was dropped.
    pub(crate) fn state(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<(Option<u64>, Option<TableState>)> {
        let entry = self.entry(schema, name)?;
        Ok((entry.number, entry.state))
    }

    /// Publishes the state of a name after the entry that was seen. `false` if another process was first.
    pub(crate) fn commit(
        &self,
        at: &(String, String),
        seen: &TableEntry,
        state: TableState,
        ownership: Ownership,
    ) -> Result<bool> {
        let stored = Stored::Owned { state, ownership };
        self.log(&at.0, &at.1).commit(seen.number, &stored)
    }

    /// Every table and view, and whose it is.
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

    /// The error about a table that DataFusion did not find, with the nearest name.
    pub(crate) fn not_found(&self, access: &Access, error: DataFusionError) -> DataFusionError {
        let mut found = crate::error::report(&error);
        if found.state != SqlState::NoSuchTable {
            return error;
        }
        // DataFusion's error has the name in its text, and nowhere else.
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

    /// Those of the tables of a schema that are open.
    pub(crate) fn open_names(
        &self,
        access: &Access,
        schema: &str,
        mut names: Vec<String>,
    ) -> Vec<String> {
        // What cannot be read opens nothing.
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

    /// Where a name of a statement points to.
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
            let message = format!("the name of a table has up to {NAME_BYTES_MAX} bytes");
            return Err(sql_err(SqlState::InvalidName, message));
        }
        Ok((schema.to_string(), table.to_string()))
    }

    /// Publishes the state of a table that is to be created. `Ok(false)` if it is there and may be.
    pub(crate) fn create(
        &self,
        access: &Access,
        at: &(String, String),
        state: &TableState,
        how: Creation,
    ) -> Result<bool> {
        loop {
            let seen = self.entry(&at.0, &at.1)?;
            if !how.admits(&at.1, seen.state.as_ref(), state)? {
                return Ok(false);
            }
            // Whoever replaces an object leaves it to its owner.
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

    /// Directories of files that some table names.
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

    /// What is there, in the state that was found.
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
                let list = Arc::new(LoggedFiles {
                    catalog: Arc::clone(self),
                    at: at.clone(),
                    id: ownership.id,
                });
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

    fn lock_opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list of files in the log of a table.
#[derive(Debug)]
struct LoggedFiles {
    catalog: Arc<Catalog>,
    at: (String, String),
    /// Which of the tables that had its name.
    id: Option<String>,
}

impl TableFiles for LoggedFiles {
    fn is_temporary(&self) -> bool {
        false
    }

    fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()> {
        // A failure to publish may come after the publishing, so the files must stay; if not, they are orphans.
        written.keep();
        let insertion = Insertion {
            at: &self.at,
            id: self.id.as_deref(),
            schema,
            files: &written.files,
            overwrite,
        };
        insert(&self.catalog, &insertion)
    }
}

/// Rows that were computed for a table.
#[derive(Debug)]
pub(crate) struct Insertion<'a> {
    pub(crate) at: &'a (String, String),
    /// Which table of that name it was.
    pub(crate) id: Option<&'a str>,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) files: &'a [ManagedFile],
    /// Whether they are all that is left.
    pub(crate) overwrite: bool,
}

/// Appends files to a table, or replaces its files by them.
pub(crate) fn insert(catalog: &Catalog, rows: &Insertion<'_>) -> Result<()> {
    let (schema_name, name) = rows.at;
    loop {
        let seen = catalog.entry(schema_name, name)?;
        // Another table of that name may be somebody else's.
        let is_same = seen.ownership.id.as_deref() == rows.id;
        let (current, files) = match &seen.state {
            Some(TableState::Managed { schema, files }) if is_same => (Some(schema), files.clone()),
            _ => (None, vec![]),
        };
        let current = check_unchanged(name, current, rows.schema)?;
        let kept = if rows.overwrite { Vec::new() } else { files };
        let state = TableState::Managed {
            schema: current.clone(),
            files: kept.into_iter().chain(rows.files.to_vec()).collect(),
        };
        if catalog.commit(rows.at, &seen, state, seen.ownership.clone())? {
            return Ok(());
        }
    }
}
