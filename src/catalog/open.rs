//! Opens the tables and views of the [`Catalog`]. External tables that were opened are remembered.

use std::sync::Arc;

use datafusion::catalog::TableProvider;

use super::external::open_external;
use super::managed::ManagedTable;
use super::missing_files::{PresentTable, present};
use super::planner::OwnerPlanner;
use super::state::{TableEntry, TableState};
use super::tables::Catalog;
use super::view::open_view;
use crate::access::Access;
use crate::error::Result;

impl Catalog {
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
                indexes,
            } => {
                let list = self.files(at.clone(), ownership.id);
                let (data, columns) = (Arc::clone(self.data()), Arc::new(columns.clone()));
                let table = ManagedTable::new(data, at, columns, files.clone(), list);
                Ok(Some(Arc::new(table.with_indexes(indexes.clone()))))
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
}
