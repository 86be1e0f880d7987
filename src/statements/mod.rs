//! Execution of statements, one file per kind. [`Session::sql`] is the entry point: SQL text in, record batches out.
//!
//! * `table` CREATE TABLE, CREATE EXTERNAL TABLE, DROP TABLE and DROP VIEW
//! * `view` CREATE VIEW
//! * `index` CREATE INDEX and DROP INDEX; `index_clauses` the clauses of CREATE INDEX
//! * `schema` CREATE SCHEMA and DROP SCHEMA
//! * `grant` GRANT, REVOKE, SHOW GRANTS
//! * `model` SHOW, DESCRIBE, ALTER and DROP MODEL
//! * `train` TRAIN MODEL
//! * `import` CREATE MODEL … FROM
//! * `cache` LOAD MODEL and UNLOAD MODEL
//! * `export` EXPORT MODEL
//! * `ingest` rows that a client uploads into a new or an existing table

mod cache;
mod export;
mod grant;
mod import;
mod index;
mod index_clauses;
pub(crate) mod ingest;
pub(crate) mod model;
mod schema;
mod table;
mod train;
mod view;

#[cfg(test)]
mod rights_tests;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;

use self::index::{create_index, drop_indexes};
use self::schema::{create_schema, drop_schema};
use self::table::{create_external, create_table, drop_table};
use self::view::create_view;
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;
use crate::session::answer::{Answer, empty, later, rows};
use crate::sql::{Effect, Handling, Statement, check_text, parse, with_hint};
use crate::train::result_schema;

impl Session {
    /// Runs one statement. Rows arrive as they are computed; a training begins when the stream is first polled.
    ///
    /// # Errors
    /// Errors of syntax and planning. Errors of execution come through the stream.
    pub async fn sql(&self, text: &str) -> Result<SendableRecordBatchStream> {
        Ok(self.answer(text).await?.rows)
    }

    /// Like [`Session::sql`], and returns the effect of the statement too.
    pub(crate) async fn answer(&self, text: &str) -> Result<Answer> {
        let answer = Box::pin(self.begin(text)).await;
        answer.map_err(|error| with_hint(error, text))
    }

    async fn begin(&self, text: &str) -> Result<Answer> {
        check_text(text, self.limits())?;
        let Some(statement) = parse(text)? else {
            let (effect, rows) = (Effect::Change, empty());
            return Ok(Answer { effect, rows });
        };
        let effect = statement.effect();
        let rows = match statement {
            Statement::DataFusion(statement) => {
                return Box::pin(self.run(*statement, effect, text)).await;
            }
            Statement::Train(statement) => {
                let session = self.clone();
                let train = async move { Box::pin(train::train(&session, &statement)).await };
                later(train, result_schema())
            }
            Statement::Import(statement) => {
                let session = self.clone();
                let import = async move { Box::pin(import::import(&session, &statement)).await };
                later(import, import::result_schema())
            }
            Statement::Load(statement) => {
                let session = self.clone();
                let load = async move { Box::pin(cache::load(&session, &statement)).await };
                later(load, cache::loaded_schema())
            }
            Statement::Unload(model) => {
                let session = self.clone();
                let unload = async move { Box::pin(cache::unload(&session, &model)).await };
                later(unload, cache::unloaded_schema())
            }
            Statement::Export(statement) => {
                let session = self.clone();
                let export = async move { Box::pin(export::export(&session, &statement)).await };
                later(export, export::result_schema())
            }
            Statement::ExplainTrain(statement) => {
                rows(Box::pin(train::explain(self, &statement)).await?)
            }
            Statement::Model(statement) => Box::pin(model::run(self, statement)).await?,
            Statement::Grant(statement) => grant::run(self, statement)?,
        };
        Ok(Answer { effect, rows })
    }

    /// Runs one of DataFusion's statements.
    async fn run(&self, statement: DFStatement, effect: Effect, text: &str) -> Result<Answer> {
        let done = |rows| Ok(Answer { effect, rows });
        match Handling::of(&statement) {
            Handling::CreateExternalTable(table) => {
                create_external(self, *table, text).await?;
                return done(empty());
            }
            Handling::CreateView => {
                create_view(self, statement).await?;
                return done(empty());
            }
            Handling::CreateIndex(index) => {
                Box::pin(create_index(self, *index)).await?;
                return done(empty());
            }
            Handling::DropIndex(names, if_exists) => {
                drop_indexes(self, &names, if_exists)?;
                return done(empty());
            }
            Handling::Prepare(name) => return done(Box::pin(self.prepare(name, statement)).await?),
            Handling::Execute(name) => self.prepare_again(&name).await?,
            Handling::Deallocate(name) => self.forget_prepared(&name),
            Handling::Plan => {}
        }
        let plan = self.plan(statement).await?;
        self.check_access(&plan)?;
        match self.with_reset_as_set(plan)? {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
                Box::pin(create_table(self, table)).await?;
                done(empty())
            }
            LogicalPlan::Ddl(ddl) => {
                change(self, ddl)?;
                done(empty())
            }
            plan => self.answer_plan(plan, effect).await,
        }
    }
}

/// Runs a statement that changes the catalog and computes no rows.
fn change(session: &Session, ddl: DdlStatement) -> Result<()> {
    match ddl {
        DdlStatement::DropTable(drop) => drop_table(session, drop.name, "table", drop.if_exists),
        DdlStatement::DropView(drop) => drop_table(session, drop.name, "view", drop.if_exists),
        DdlStatement::CreateCatalogSchema(create) => create_schema(session, &create),
        DdlStatement::DropCatalogSchema(drop) => drop_schema(session, &drop),
        other => Err(sql_err(
            SqlState::Unsupported,
            format!("{} is not supported", other.name()),
        )),
    }
}
