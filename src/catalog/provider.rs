//! The catalog provider for DataFusion: user schemas, `information_schema` with Vatic's tables, `ml`, and `examples`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider,
};
use datafusion::logical_expr::TableType;

use super::examples::ExampleSchema;
use super::system_tables::{self, SystemTables};
use super::temporary::TemporaryTables;
use super::{CATALOG, Catalog, OwnerPlanner, TableEntry};
use crate::access::Access;
use crate::access::grants::{Object, Privilege};
use crate::error::Result;
use crate::storage::{BUILT_IN_SCHEMAS, EXAMPLES_SCHEMA, ML_SCHEMA};

/// The table of `information_schema` that lists all others.
const TABLES: &str = "tables";

/// The catalog provider for DataFusion.
#[derive(Debug)]
pub(crate) struct VaticCatalog {
    catalog: Arc<Catalog>,
    planner: Arc<dyn OwnerPlanner>,
    system: Arc<SystemTables>,
    /// The access of the session.
    access: Access,
    /// The temporary tables of the session.
    temporary: Arc<TemporaryTables>,
    /// Whether to leave out a table that cannot be opened instead of failing: a single broken view must not hide the
    /// others from `information_schema`.
    is_lenient: bool,
}

impl VaticCatalog {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        planner: Arc<dyn OwnerPlanner>,
        system: Arc<SystemTables>,
        access: Access,
        temporary: Arc<TemporaryTables>,
    ) -> Self {
        Self {
            catalog,
            planner,
            system,
            access,
            temporary,
            is_lenient: false,
        }
    }
}

/// The catalog list for `information_schema`, which leaves out tables that cannot be opened.
#[derive(Debug)]
struct LenientCatalogs(VaticCatalog);

impl CatalogProviderList for LenientCatalogs {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.0.lenient()) as Arc<dyn CatalogProvider>)
    }
}

impl VaticCatalog {
    fn lenient(&self) -> Self {
        Self {
            catalog: Arc::clone(&self.catalog),
            planner: Arc::clone(&self.planner),
            system: Arc::clone(&self.system),
            access: self.access.clone(),
            temporary: Arc::clone(&self.temporary),
            is_lenient: true,
        }
    }

    fn system_schema(
        &self,
        name: &'static str,
        standard: Option<Standard>,
    ) -> Arc<dyn SchemaProvider> {
        Arc::new(SystemSchema {
            system: Arc::clone(&self.system),
            access: self.access.clone(),
            name,
            standard,
        })
    }

    /// The rows of `information_schema.tables`: every table, view and system table that the session may read. DataFusion's
    /// own table would leave out those that extend its information_schema.
    async fn relations(&self) -> Result<RecordBatch> {
        let mut found: Vec<(String, String, &str)> = Vec::new();
        for schema in self.schema_names() {
            let Some(tables) = self.schema(&schema) else {
                continue;
            };
            for name in tables.table_names() {
                let kind = match schema.as_str() {
                    INFORMATION_SCHEMA => Some(TableType::View),
                    ML_SCHEMA => Some(TableType::Base),
                    _ => tables.table_type(&name).await?,
                };
                // The kind is missing if the table was dropped meanwhile.
                let Some(kind) = kind else {
                    continue;
                };
                let kind = match kind {
                    TableType::Base => "BASE TABLE",
                    TableType::View => "VIEW",
                    TableType::Temporary => "LOCAL TEMPORARY",
                };
                found.push((schema.clone(), name, kind));
            }
        }
        let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let schemas = found.iter().map(|(schema, ..)| schema.as_str());
        let names = found.iter().map(|(_, name, _)| name.as_str());
        let kinds = found.iter().map(|(.., kind)| *kind);
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("table_catalog", column(vec![CATALOG; found.len()]), false),
            ("table_schema", column(schemas.collect()), false),
            ("table_name", column(names.collect()), false),
            ("table_type", column(kinds.collect()), false),
        ])?)
    }
}

impl CatalogProvider for VaticCatalog {
    fn schema_names(&self) -> Vec<String> {
        // This method cannot return errors; an error shows up when an object is used.
        let mut names = self.catalog.data().schema_names().unwrap_or_default();
        for built_in in BUILT_IN_SCHEMAS {
            if !names.iter().any(|name| name == built_in) {
                names.push(built_in.to_owned());
            }
        }
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            INFORMATION_SCHEMA => {
                let catalogs = Arc::new(LenientCatalogs(self.lenient()));
                let standard = Standard {
                    provider: InformationSchemaProvider::new(catalogs),
                    catalog: self.lenient(),
                };
                Some(self.system_schema(INFORMATION_SCHEMA, Some(standard)))
            }
            ML_SCHEMA => Some(self.system_schema(ML_SCHEMA, None)),
            _ => {
                let names = self.catalog.data().schema_names();
                let is_known = names.is_ok_and(|names| names.iter().any(|known| known == name));
                if !is_known {
                    let is_examples = name == EXAMPLES_SCHEMA;
                    return is_examples.then(|| Arc::new(ExampleSchema) as Arc<dyn SchemaProvider>);
                }
                Some(Arc::new(UserSchema {
                    catalog: Arc::clone(&self.catalog),
                    planner: Arc::clone(&self.planner),
                    access: self.access.clone(),
                    temporary: Arc::clone(&self.temporary),
                    name: name.to_owned(),
                    is_lenient: self.is_lenient,
                }))
            }
        }
    }
}

/// Tables and views of users.
#[derive(Debug)]
struct UserSchema {
    catalog: Arc<Catalog>,
    planner: Arc<dyn OwnerPlanner>,
    access: Access,
    temporary: Arc<TemporaryTables>,
    name: String,
    is_lenient: bool,
}

impl UserSchema {
    /// The entry of a name, if the session may read it.
    fn entry(&self, name: &str) -> Result<Option<TableEntry>> {
        let object = Object::table(&self.name, name);
        let entry = self.catalog.entry(&self.name, name)?;
        let may = self
            .access
            .may(Privilege::Select, &object, &entry.ownership)?;
        Ok((may && entry.state.is_some()).then_some(entry))
    }

    fn has_temporary(&self, name: &str) -> bool {
        self.temporary.has(&(self.name.clone(), name.to_owned()))
    }
}

#[async_trait]
impl SchemaProvider for UserSchema {
    fn table_names(&self) -> Vec<String> {
        let names = self.catalog.names(&self.name).unwrap_or_default();
        let open = self.catalog.open_names(&self.access, &self.name, names);
        let temporary = self.temporary.names(&self.name);
        let names: BTreeSet<String> = open.into_iter().chain(temporary).collect();
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let at = (self.name.clone(), name.to_owned());
        if let Some(table) = self.temporary.open(self.catalog.data(), &at) {
            return Ok(Some(table));
        }
        let opened = async {
            match self.entry(name)? {
                Some(entry) => self.catalog.open(self.planner.as_ref(), at, entry).await,
                None => Ok(None),
            }
        };
        match opened.await {
            Err(_) if self.is_lenient => Ok(None),
            opened => opened,
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        if self.has_temporary(name) {
            return Ok(Some(TableType::Temporary));
        }
        let state = self.entry(name)?.and_then(|entry| entry.state);
        Ok(state.map(|state| {
            if state.kind() == "view" {
                TableType::View
            } else {
                TableType::Base
            }
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        // An entry that cannot be read counts as missing.
        self.has_temporary(name) || self.entry(name).is_ok_and(|entry| entry.is_some())
    }
}

/// The tables of the standard in `information_schema`.
#[derive(Debug)]
struct Standard {
    provider: InformationSchemaProvider,
    /// What they list.
    catalog: VaticCatalog,
}

impl Standard {
    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != TABLES {
            return self.provider.table(name).await;
        }
        let batch = self.catalog.relations().await?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        Ok(Some(Arc::new(table)))
    }
}

/// A schema of tables that are computed when they are read.
#[derive(Debug)]
struct SystemSchema {
    system: Arc<SystemTables>,
    access: Access,
    name: &'static str,
    standard: Option<Standard>,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let standard = self
            .standard
            .as_ref()
            .map(|standard| standard.provider.table_names())
            .unwrap_or_default();
        standard
            .into_iter()
            .chain(system_tables::names(self.name).map(str::to_owned))
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.system.open(&self.access, self.name, name).await? {
            return Ok(Some(table));
        }
        match &self.standard {
            Some(standard) => standard.table(name).await,
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
