//! Tests of access control: random statements of several users, with crashes between the steps of publishing, compared
//! with a reference model ([`World`]); and races between statements.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use futures::{FutureExt, TryStreamExt};

use crate::access::Access;
use crate::access::grants::{Grant, Object, Privilege};
use crate::catalog::TableState;
use crate::engine::Engine;
use crate::error::{Result, report};
use crate::model::{ModelName, NewVersion};
use crate::session::Session;
use crate::storage::IfTaken;
use crate::storage::state_log::Log;
use crate::testing::crash::here;

/// Two users, one of whom has a role, and an administrator.
const USERS: [(&str, &[&str]); 3] = [("ada", &[]), ("bob", &["analyst"]), ("root", &[])];
const GRANTEES: [&str; 4] = ["ada", "bob", "analyst", "public"];
const SCHEMAS: [&str; 2] = ["public", "s"];
const NAMES: [&str; 2] = ["x", "y"];
const SEEDS: u64 = 24;
const STATEMENTS: usize = 40;

fn access(engine: &Engine, user: &str) -> Access {
    let (name, roles) = USERS.iter().find(|(name, _)| *name == user).unwrap();
    match *name {
        "root" => Access::All,
        name => {
            let roles = roles.iter().map(ToString::to_string).collect();
            Access::user(name.into(), roles, Arc::clone(engine.grants()))
        }
    }
}

fn engine() -> (tempfile::TempDir, Engine) {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder()
        .data_dir(directory.path())
        .build()
        .unwrap();
    (directory, engine)
}

fn session(engine: &Engine, user: &str) -> Session {
    engine.session_as(access(engine, user)).unwrap()
}

async fn run(session: &Session, sql: &str) -> Result<()> {
    let rows: Vec<_> = session.sql(sql).await?.try_collect().await?;
    drop(rows);
    Ok(())
}

async fn code(session: &Session, sql: &str) -> String {
    let error = run(session, sql).await.unwrap_err();
    report(&error).state.code().to_owned()
}

fn model_name(schema: &str, name: &str) -> ModelName {
    let (schema, name) = (schema.into(), name.into());
    ModelName { schema, name }
}

/// Publishes a version, as a training does at its end.
fn train(session: &Session, name: &ModelName, if_taken: IfTaken) -> Result<()> {
    let new = NewVersion {
        directory: "files".into(),
        sha256: "hash".into(),
        comment: None,
        if_taken,
        ownership: session.access().new_ownership(),
    };
    let registry = session.engine().registry();
    registry.publish_for(session.access(), name, &new).map(drop)
}

/// An object in the reference model.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    what: &'static str,
    owner: &'static str,
    granted: BTreeSet<&'static str>,
}

type At = (&'static str, &'static str);

/// The reference model: all objects that should exist.
#[derive(Debug, Clone, PartialEq, Default)]
struct World {
    has_schema: bool,
    tables: BTreeMap<At, Known>,
    models: BTreeMap<At, Known>,
}

#[derive(Debug, Clone, Copy)]
enum Statement {
    CreateTable,
    ReplaceTable,
    CreateView,
    Insert,
    DropTable,
    GrantSelect(&'static str),
    RevokeSelect(&'static str),
    Train,
    Retrain,
    Comment,
    Rename(At),
    DropModel,
    GrantExecute(&'static str),
    RevokeExecute(&'static str),
    CreateSchema,
    DropSchema,
}

impl Known {
    fn new(what: &'static str, user: &'static str) -> Self {
        let granted = BTreeSet::new();
        Self {
            what,
            owner: user,
            granted,
        }
    }

    fn is_owned_by(&self, user: &str) -> bool {
        user == "root" || self.owner == user
    }

    fn is_open_to(&self, user: &str) -> bool {
        let (_, roles) = USERS.iter().find(|(name, _)| *name == user).unwrap();
        let is = |to: &&str| *to == "public" || *to == user || roles.contains(to);
        self.is_owned_by(user) || self.granted.iter().any(is)
    }
}

impl World {
    /// The world after a statement; `None` if the statement is refused.
    fn after(&self, user: &'static str, at: At, statement: Statement) -> Option<Self> {
        let mut world = self.clone();
        let has_schema = |at: At| at.0 == "public" || self.has_schema;
        let table = world.tables.get_mut(&at);
        let model = world.models.get_mut(&at);
        match statement {
            Statement::CreateSchema | Statement::DropSchema => {
                let creates = matches!(statement, Statement::CreateSchema);
                if user != "root" || self.has_schema == creates {
                    return None;
                }
                world.has_schema = creates;
                world.tables.retain(|at, _| at.0 == "public");
                world.models.retain(|at, _| at.0 == "public");
            }
            _ if !has_schema(at) => return None,
            Statement::CreateTable | Statement::CreateView | Statement::ReplaceTable => {
                let what = match statement {
                    Statement::CreateView => "view",
                    _ => "table",
                };
                let replaces = matches!(statement, Statement::ReplaceTable);
                match table {
                    Some(known) if replaces && known.what == "table" && known.is_owned_by(user) => {
                    }
                    Some(_) => return None,
                    None => drop(world.tables.insert(at, Known::new(what, user))),
                }
            }
            Statement::Insert => {
                table.filter(|known| known.what == "table" && known.is_owned_by(user))?;
            }
            Statement::DropTable => {
                table.filter(|known| known.what == "table" && known.is_owned_by(user))?;
                world.tables.remove(&at);
            }
            Statement::GrantSelect(to) => {
                table
                    .filter(|known| known.is_owned_by(user))?
                    .granted
                    .insert(to);
            }
            Statement::RevokeSelect(to) => {
                table
                    .filter(|known| known.is_owned_by(user))?
                    .granted
                    .remove(to);
            }
            Statement::Train | Statement::Retrain => match model {
                Some(_) if matches!(statement, Statement::Train) => return None,
                Some(known) if !known.is_owned_by(user) => return None,
                Some(_) => {}
                None => drop(world.models.insert(at, Known::new("model", user))),
            },
            Statement::Comment => {
                model.filter(|known| known.is_owned_by(user))?;
            }
            Statement::DropModel => {
                model.filter(|known| known.is_owned_by(user))?;
                world.models.remove(&at);
            }
            Statement::GrantExecute(to) => {
                model
                    .filter(|known| known.is_owned_by(user))?
                    .granted
                    .insert(to);
            }
            Statement::RevokeExecute(to) => {
                model
                    .filter(|known| known.is_owned_by(user))?
                    .granted
                    .remove(to);
            }
            Statement::Rename(to) => {
                model.filter(|known| known.is_owned_by(user))?;
                if !has_schema(to) || world.models.contains_key(&to) {
                    return None;
                }
                let known = world.models.remove(&at)?;
                world.models.insert(to, known);
            }
        }
        Some(world)
    }

    /// The first difference between the privileges in the engine and those in this world.
    fn differs(&self, engine: &Engine) -> Option<String> {
        for (schema, name) in all_names() {
            for (user, _) in USERS {
                let access = access(engine, user);
                let entry = engine.catalog().entry(schema, name).unwrap();
                let (_, state) = engine.registry().state(&model_name(schema, name)).unwrap();
                let table = Object::table(schema, name);
                let model = model_name(schema, name).object();
                let known = |objects: &BTreeMap<At, Known>, owns: bool| {
                    let known = objects.get(&(schema, name));
                    known.is_some_and(|known| match owns {
                        true => known.is_owned_by(user),
                        false => known.is_open_to(user),
                    })
                };
                for (owns, of_table, of_model) in [
                    (true, Privilege::Own, Privilege::Own),
                    (false, Privilege::Select, Privilege::Execute),
                ] {
                    let may = access.may(of_table, &table, &entry.ownership).unwrap();
                    let may_table = may && entry.state.is_some();
                    let may = access.may(of_model, &model, &state.ownership).unwrap();
                    let may_model = may && !state.is_dropped;
                    let wanted = (known(&self.tables, owns), known(&self.models, owns));
                    if (may_table, may_model) != wanted {
                        return Some(format!(
                            "{user} owns: {owns}, {schema}.{name}: table and model are {:?}, expected {wanted:?}",
                            (may_table, may_model)
                        ));
                    }
                }
            }
        }
        None
    }
}

fn all_names() -> impl Iterator<Item = At> {
    SCHEMAS
        .into_iter()
        .flat_map(|schema| NAMES.map(|name| (schema, name)))
}

/// Pseudo-random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn any<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

fn any_name(random: &mut Random) -> At {
    (random.any(&SCHEMAS), random.any(&NAMES))
}

fn any_statement(random: &mut Random) -> Statement {
    let to = random.any(&GRANTEES);
    let name = any_name(random);
    random.any(&[
        Statement::CreateTable,
        Statement::ReplaceTable,
        Statement::CreateView,
        Statement::Insert,
        Statement::DropTable,
        Statement::DropTable,
        Statement::GrantSelect(to),
        Statement::GrantSelect(to),
        Statement::RevokeSelect(to),
        Statement::Train,
        Statement::Retrain,
        Statement::Comment,
        Statement::Rename(name),
        Statement::Rename(name),
        Statement::DropModel,
        Statement::GrantExecute(to),
        Statement::GrantExecute(to),
        Statement::RevokeExecute(to),
        Statement::CreateSchema,
        Statement::DropSchema,
    ])
}

async fn execute(session: &Session, at: At, statement: Statement) -> Result<()> {
    let (schema, name) = at;
    let at = format!("{schema}.{name}");
    let sql = match statement {
        Statement::CreateTable => format!("CREATE TABLE {at} (a BIGINT)"),
        Statement::ReplaceTable => format!("CREATE OR REPLACE TABLE {at} (a BIGINT)"),
        Statement::CreateView => format!("CREATE VIEW {at} AS SELECT 1 AS a"),
        Statement::Insert => format!("INSERT INTO {at} VALUES (1)"),
        Statement::DropTable => format!("DROP TABLE {at}"),
        Statement::GrantSelect(to) => format!("GRANT SELECT ON {at} TO {to}"),
        Statement::RevokeSelect(to) => format!("REVOKE SELECT ON {at} FROM {to}"),
        Statement::Train => return train(session, &model_name(schema, name), IfTaken::Fail),
        Statement::Retrain => return train(session, &model_name(schema, name), IfTaken::Replace),
        Statement::Comment => format!("ALTER MODEL {at} SET COMMENT = 'c'"),
        Statement::Rename((schema, name)) => format!("ALTER MODEL {at} RENAME TO {schema}.{name}"),
        Statement::DropModel => format!("DROP MODEL {at}"),
        Statement::GrantExecute(to) => format!("GRANT EXECUTE ON MODEL {at} TO {to}"),
        Statement::RevokeExecute(to) => format!("REVOKE EXECUTE ON MODEL {at} FROM {to}"),
        Statement::CreateSchema => "CREATE SCHEMA s".into(),
        Statement::DropSchema => "DROP SCHEMA s CASCADE".into(),
    };
    run(session, &sql).await
}

/// The worlds that a crash may leave: all or nothing was done, or a renamed model exists under both names.
fn left_by_crash(before: &World, after: &World, at: At, statement: Statement) -> Vec<World> {
    let mut left = vec![after.clone(), before.clone()];
    if let (Statement::Rename(to), Some(known)) = (statement, before.models.get(&at)) {
        let mut both = before.clone();
        both.models.insert(to, known.clone());
        left.push(both);
    }
    left
}

#[tokio::test]
async fn users_may_do_what_the_model_says_whatever_crashes() {
    let mut crashes = 0;
    for seed in 0..SEEDS {
        let (_directory, engine) = engine();
        let mut random = Random(seed);
        let mut world = World::default();
        let mut done = Vec::new();
        for _ in 0..STATEMENTS {
            let (user, _) = random.any(&USERS);
            let (at, statement) = (any_name(&mut random), any_statement(&mut random));
            done.push((user, at, statement));
            let after = world.after(user, at, statement);
            let is_armed = random.below(3) == 0;
            if is_armed {
                here::arm("commit", 1 + random.below(2) as u32);
            }
            let session = session(&engine, user);
            let executing = AssertUnwindSafe(execute(&session, at, statement));
            let result = executing.catch_unwind().await;
            let crashed = is_armed && !here::disarm();
            crashes += u32::from(crashed);
            let candidates = match (&after, crashed) {
                (Some(after), true) => left_by_crash(&world, after, at, statement),
                (Some(after), false) => vec![after.clone()],
                (None, _) => vec![world.clone()],
            };
            if !crashed {
                let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                let is_as_expected = result.is_ok() == after.is_some();
                assert!(is_as_expected, "seed {seed}: {done:?}: {result:?}");
            }
            let found = candidates
                .iter()
                .find(|world| world.differs(&engine).is_none());
            let Some(found) = found else {
                let difference = candidates[0].differs(&engine);
                panic!("seed {seed}: {done:?}: {difference:?}");
            };
            world = found.clone();
        }
    }
    assert!(crashes > 10, "{crashes} crashes");
}

#[tokio::test]
async fn a_training_does_not_replace_what_became_the_model_of_another() {
    let (_directory, engine) = engine();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    let name = model_name("public", "m");
    train(&ada, &name, IfTaken::Fail).unwrap();
    // While ada trains the model again, it is dropped, and bob creates a model of the same name.
    run(&ada, "DROP MODEL m").await.unwrap();
    train(&bob, &name, IfTaken::Fail).unwrap();
    let error = train(&ada, &name, IfTaken::Replace).unwrap_err();
    assert_eq!(report(&error).state.code(), "42710");
    assert_eq!(code(&ada, "DROP MODEL m").await, "42704");
    // Bob's model is version 2, and bob is its owner.
    run(&bob, "ALTER MODEL m SET COMMENT = 'mine'")
        .await
        .unwrap();
}

#[tokio::test]
async fn rows_do_not_go_to_the_next_table_of_a_name() {
    let (_directory, engine) = engine();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    run(&ada, "CREATE TABLE t (a BIGINT)").await.unwrap();
    let rows = ada.sql("INSERT INTO t VALUES (1)").await.unwrap();
    run(&ada, "DROP TABLE t").await.unwrap();
    run(&bob, "CREATE TABLE t (a BIGINT)").await.unwrap();
    let inserted: Result<Vec<_>> = rows.try_collect().await;
    assert_eq!(report(&inserted.unwrap_err()).state.code(), "40001");
    assert_eq!(code(&ada, "SELECT * FROM t").await, "42P01");
}

#[tokio::test]
async fn a_privilege_that_comes_late_is_not_on_the_next_object_of_the_name() {
    let (_directory, engine) = engine();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    run(&bob, "CREATE TABLE t (a BIGINT)").await.unwrap();
    let id = engine.catalog().entry("public", "t").unwrap().ownership.id;
    run(&bob, "DROP TABLE t").await.unwrap();
    run(&ada, "CREATE TABLE t (a BIGINT)").await.unwrap();
    let (privilege, object) = (Privilege::Select, Object::table("public", "t"));
    let to = "bob".into();
    let late = Grant {
        privilege,
        object,
        id,
        to,
    };
    engine.grants().add(&late).unwrap();
    assert_eq!(code(&bob, "SELECT * FROM t").await, "42P01");
}

/// A view does not return rows that its owner may no longer read.
#[tokio::test]
async fn a_view_reads_with_the_rights_of_its_owner() {
    let (_directory, engine) = engine();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    run(&bob, "CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    run(&bob, "CREATE VIEW v AS SELECT * FROM t").await.unwrap();
    run(&bob, "GRANT SELECT ON v TO ada").await.unwrap();
    run(&ada, "SELECT * FROM v").await.unwrap();
    run(&bob, "DROP TABLE t").await.unwrap();
    run(&ada, "CREATE TABLE t AS SELECT 2 AS a").await.unwrap();
    assert_eq!(code(&bob, "SELECT * FROM v").await, "42P01");
    run(&ada, "GRANT SELECT ON t TO analyst").await.unwrap();
    run(&bob, "SELECT * FROM v").await.unwrap();
}

/// An index belongs to its table: who may read the table does not change its indexes, and others do not learn of them.
#[tokio::test]
async fn only_the_owner_of_a_table_changes_its_indexes() {
    let (_directory, engine) = engine();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    run(&ada, "CREATE TABLE t AS SELECT 1 AS id, [1.0, 2.0] AS v")
        .await
        .unwrap();
    let create = "CREATE INDEX near ON t USING hnsw (v)";
    assert_eq!(code(&bob, create).await, "42P01");
    run(&ada, create).await.unwrap();
    assert_eq!(code(&bob, "DROP INDEX near").await, "42704");
    run(&ada, "GRANT SELECT ON t TO bob").await.unwrap();
    assert_eq!(
        code(&bob, "CREATE INDEX two ON t USING hnsw (v)").await,
        "42501"
    );
    assert_eq!(code(&bob, "DROP INDEX near").await, "42501");
    run(&bob, "SET vatic.vector_index = 'on'").await.unwrap();
    let near = "SELECT id FROM t ORDER BY cosine_distance(v, [1.0, 1.0]) LIMIT 1";
    run(&bob, near).await.unwrap();
    run(&ada, "DROP INDEX near").await.unwrap();
    assert_eq!(code(&ada, "DROP INDEX near").await, "42704");
}

/// A data directory of an older version: states without ownership, and owners stored as privileges.
#[tokio::test]
async fn old_states_and_privileges_hold_until_their_objects_go() {
    let (directory, engine) = engine();
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
    let old = TableState::Managed {
        schema,
        files: vec![],
        indexes: vec![],
    };
    let data = engine.data();
    Log::new(data.tables("public").join("t"))
        .commit(None, &old)
        .unwrap();
    let model = serde_json::json!({
        "is_dropped": false, "comment": null, "created_at": "2025-01-01T00:00:00Z", "default_version": 1,
        "last_version": 1,
        "versions": [{"version": 1, "directory": "files", "sha256": "hash", "aliases": []}],
    });
    Log::new(data.models("public").join("m"))
        .commit(None, &model)
        .unwrap();
    let grant = |privilege: &str, kind: &str, name: &str, to: &str| {
        let object = serde_json::json!({"kind": kind, "schema": "public", "name": name});
        serde_json::json!({"privilege": privilege, "object": object, "to": to})
    };
    let grants = [
        grant("own", "table", "t", "ada"),
        grant("select", "table", "t", "bob"),
        grant("own", "model", "m", "ada"),
        grant("execute", "model", "m", "bob"),
    ];
    Log::new(data.grants()).commit(None, &grants).unwrap();
    drop(engine);
    let engine = Engine::builder()
        .data_dir(directory.path())
        .build()
        .unwrap();
    let (ada, bob) = (session(&engine, "ada"), session(&engine, "bob"));
    run(&bob, "SELECT * FROM t").await.unwrap();
    assert_eq!(code(&bob, "INSERT INTO t VALUES (1)").await, "42501");
    run(&ada, "INSERT INTO t VALUES (1)").await.unwrap();
    run(&ada, "GRANT SELECT ON t TO analyst").await.unwrap();
    run(&ada, "REVOKE SELECT ON t FROM bob").await.unwrap();
    run(&bob, "SELECT * FROM t").await.unwrap();
    // The user who replaces the object becomes its owner, with whose rights a view would read.
    run(&ada, "CREATE OR REPLACE TABLE t (a BIGINT)")
        .await
        .unwrap();
    let ownership = engine.catalog().entry("public", "t").unwrap().ownership;
    assert_eq!(ownership.owner.as_deref(), Some("ada"));
    run(&bob, "SELECT * FROM t").await.unwrap();
    // A renamed model keeps its owner and its privileges.
    run(&ada, "ALTER MODEL m RENAME TO n").await.unwrap();
    let execute = |session: Session| {
        let (name, privilege) = (model_name("public", "n"), Privilege::Execute);
        let found = session
            .engine()
            .registry()
            .get_for(session.access(), privilege, &name);
        found.map(drop)
    };
    execute(bob.clone()).unwrap();
    run(&ada, "ALTER MODEL n SET COMMENT = 'mine'")
        .await
        .unwrap();
    // The process ends after it dropped the table, and before it removed the privileges.
    here::arm("commit", 1);
    let dropping = AssertUnwindSafe(run(&ada, "DROP TABLE t")).catch_unwind();
    assert!(dropping.await.is_err());
    let root = session(&engine, "root");
    run(&root, "CREATE TABLE t (a BIGINT)").await.unwrap();
    assert_eq!(code(&bob, "SELECT * FROM t").await, "42P01");
    assert_eq!(code(&ada, "DROP TABLE t").await, "42P01");
}
