//! LOAD MODEL and UNLOAD MODEL: models in the caches of the processes that run them; and what DROP MODEL leaves there.
//!
//! ```text
//! statement ─ registry ─▶ CacheOrder ┬ in one process: ModelRuntime
//!                                    └ on a cluster: the ModelRuntime of each executor, by its next report
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use crate::access::grants::Privilege;
use crate::config::VaticOptions;
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::model::runtime::{CacheOrder, LoadOrder, ModelCopy, Pin};
use crate::model::{ModelRef, ResolvedModel, Selector};
use crate::session::Session;
use crate::sql::{LOAD_OPTIONS, LoadModel, OptionValue};
use crate::train::SlotsWanted;

/// The place of copies in the engine's process. Other places are ids of executors.
const ENGINE: &str = "engine";

/// The columns of the rows that LOAD MODEL returns.
pub(super) fn loaded_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("place", DataType::Utf8, false),
        Field::new("device", DataType::Utf8, false),
        Field::new("bytes", DataType::Int64, false),
        Field::new("was_loaded", DataType::Boolean, false),
    ]))
}

/// The columns of the rows that UNLOAD MODEL returns.
pub(super) fn unloaded_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("place", DataType::Utf8, false),
        Field::new("copies", DataType::Int64, false),
    ]))
}

/// Loads and pins a model where `predict` would run it, and returns one row for each place.
pub(super) async fn load(session: &Session, statement: &LoadModel) -> Result<RecordBatch> {
    let (device, compute) = place(&statement.options)?;
    let engine = session.engine();
    let model = resolve(session, &statement.model)?;
    model.check_device(device)?;
    forget_dropped(engine)?;
    let settings = session.settings::<VaticOptions>();
    let order = CacheOrder::Load(Box::new(LoadOrder {
        model: model.address(),
        device,
        compute,
        pin: Pin {
            data: engine.data().root().to_string(),
            reference: statement.model.to_string(),
        },
        cache_bytes: settings.cache_bytes,
    }));
    let loaded = match engine.cluster() {
        Some(cluster) => {
            let listener = session.progress();
            let wanted = SlotsWanted::AtLeast(1);
            cluster
                .slots(wanted, settings.executor_wait_s, listener.as_ref())
                .await?;
            cluster.order_executors(&order).await?
        }
        None => vec![(ENGINE.to_owned(), engine.runtime().obey(order).await?)],
    };
    if loaded.is_empty() {
        let message = format!(
            "all executors left the cluster before they had loaded model \"{}\"; load it again when others have joined",
            model.label()
        );
        return Err(sql_err(SqlState::NoResources, message));
    }
    release_if_dropped(engine, &model)?;
    loaded_rows(&model.label(), &loaded)
}

fn loaded_rows(label: &str, loaded: &[(String, Vec<ModelCopy>)]) -> Result<RecordBatch> {
    let places = loaded.iter();
    let copies: Vec<(&String, &ModelCopy)> = places
        .flat_map(|(place, copies)| copies.iter().map(move |copy| (place, copy)))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(copies.iter().map(|_| label))),
        Arc::new(StringArray::from_iter_values(
            copies.iter().map(|(place, _)| place),
        )),
        Arc::new(StringArray::from_iter_values(
            copies.iter().map(|(_, copy)| copy.device.to_string()),
        )),
        Arc::new(Int64Array::from_iter_values(
            copies.iter().map(|(_, copy)| copy.bytes as i64),
        )),
        Arc::new(BooleanArray::from_iter(
            copies.iter().map(|(_, copy)| Some(copy.was_loaded)),
        )),
    ];
    Ok(RecordBatch::try_new(loaded_schema(), columns)?)
}

/// Drops a model, in all versions if the reference names none, from the caches of all processes, and returns one row for
/// each place.
pub(super) async fn unload(session: &Session, reference: &ModelRef) -> Result<RecordBatch> {
    let engine = session.engine();
    let sha256s: HashSet<String> = match reference.selector {
        Selector::Default => {
            let access = session.access();
            let registry = engine.registry();
            let state = registry.get_for(access, Privilege::Execute, &reference.name)?;
            let versions = state.versions.into_iter();
            versions.map(|version| version.sha256).collect()
        }
        Selector::Version(_) | Selector::Alias(_) => {
            HashSet::from([resolve(session, reference)?.sha256])
        }
    };
    forget_dropped(engine)?;
    let order = CacheOrder::Unload { sha256s };
    // On a cluster, too, the engine's process runs some calls of predict.
    let mut unloaded = vec![(
        ENGINE.to_owned(),
        engine.runtime().obey(order.clone()).await?,
    )];
    if let Some(cluster) = engine.cluster() {
        unloaded.extend(cluster.order_executors(&order).await?);
    }
    let places = unloaded.iter().map(|(place, _)| place);
    let copies = unloaded.iter().map(|(_, copies)| copies.len() as i64);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(places)),
        Arc::new(Int64Array::from_iter_values(copies)),
    ];
    Ok(RecordBatch::try_new(unloaded_schema(), columns)?)
}

/// Drops versions that do not exist any more from the caches, without waiting for executors: the change is published.
pub(super) fn forget(engine: &Engine, sha256s: HashSet<String>) {
    engine.runtime().forget(&sha256s);
    if let Some(cluster) = engine.cluster() {
        cluster.order_later(CacheOrder::Unload { sha256s });
    }
}

/// Releases a model that was dropped while it was loaded.
fn release_if_dropped(engine: &Engine, model: &ResolvedModel) -> Result<()> {
    let (_, state) = engine.registry().state(&model.name)?;
    let mut versions = state.versions.iter();
    match versions.any(|version| version.sha256 == model.sha256) {
        true => Ok(()),
        // Under another name, the version may be there.
        false => forget_dropped(engine),
    }
}

/// Drops pinned versions that do not exist any more: another process, or DROP SCHEMA, may have dropped them.
pub(super) fn forget_dropped(engine: &Engine) -> Result<()> {
    let data = engine.data().root().to_string();
    let mut pinned = engine.runtime().pinned();
    if let Some(cluster) = engine.cluster() {
        pinned.extend(cluster.pinned());
    }
    pinned.retain(|version| version.data == data);
    if pinned.is_empty() {
        return Ok(());
    }
    let mut gone: HashSet<String> = pinned.into_iter().map(|version| version.sha256).collect();
    // These versions were published before they were pinned, so the registry is read later.
    for (_, state) in engine.registry().list()? {
        for version in state.versions {
            gone.remove(&version.sha256);
        }
    }
    if !gone.is_empty() {
        forget(engine, gone);
    }
    Ok(())
}

/// The version of a reference, which the session may run.
pub(super) fn resolve(session: &Session, reference: &ModelRef) -> Result<ResolvedModel> {
    let registry = session.engine().registry();
    let state = registry.get_for(session.access(), Privilege::Execute, &reference.name)?;
    registry.resolve(reference, &state)
}

/// The device of the options, and the type in which the model computes.
fn place(options: &[(String, OptionValue)]) -> Result<(DeviceName, Option<ComputeType>)> {
    let (mut device, mut compute) = (DeviceName::default(), None);
    for (name, value) in options {
        let text = match value {
            OptionValue::Text(text) => text.to_lowercase(),
            _ => String::new(),
        };
        let expected = |expected| {
            let message = format!("option \"{name}\" is {value}; expected {expected}");
            sql_err(SqlState::InvalidParameter, message)
        };
        match name.as_str() {
            "device" => {
                let found = DeviceName::parse(&text);
                device = found.ok_or_else(|| expected(DeviceName::EXPECTED))?;
            }
            "dtype" => {
                let found = ComputeType::parse(&text);
                compute = Some(found.ok_or_else(|| expected(ComputeType::EXPECTED))?);
            }
            _ => {
                let what = format!("LOAD MODEL has no option \"{name}\"");
                let message = with_cause(what, name, LOAD_OPTIONS.iter().copied());
                return Err(sql_err(SqlState::InvalidParameter, message));
            }
        }
    }
    Ok((device, compute))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn run(engine: &Engine, sql: &str) {
        let session = engine.session().unwrap();
        let rows = session.sql(sql).await.unwrap();
        rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
    }

    /// Engines of two processes.
    async fn engines(directory: &tempfile::TempDir) -> [Engine; 2] {
        let engines = [(); 2].map(|()| {
            let builder = Engine::builder().data_dir(directory.path());
            builder.build().unwrap()
        });
        run(&engines[0], "CREATE SCHEMA s").await;
        run(&engines[0], "CREATE TABLE t AS SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 20)").await;
        run(
            &engines[0],
            "TRAIN MODEL s.m TARGET y OPTIONS (model_type = 'linear_reg') AS SELECT x, y FROM t",
        )
        .await;
        engines
    }

    #[tokio::test]
    async fn a_model_that_is_dropped_while_it_is_loaded_is_released() {
        let directory = tempfile::tempdir().unwrap();
        let [engine, other] = engines(&directory).await;
        let session = engine.session().unwrap();
        let model = resolve(&session, &ModelRef::parse("s.m").unwrap()).unwrap();
        run(&engine, "LOAD MODEL s.m").await;
        run(&other, "ALTER MODEL s.m RENAME TO s.n").await;
        release_if_dropped(&engine, &model).unwrap();
        assert_eq!(
            engine.runtime().cached().len(),
            1,
            "the model has another name"
        );
        run(&other, "DROP MODEL s.n").await;
        release_if_dropped(&engine, &model).unwrap();
        assert!(engine.runtime().cached().is_empty());
    }

    #[tokio::test]
    async fn a_model_that_is_dropped_with_its_schema_is_released() {
        let directory = tempfile::tempdir().unwrap();
        let [engine, _] = engines(&directory).await;
        run(&engine, "LOAD MODEL s.m").await;
        run(&engine, "DROP SCHEMA s CASCADE").await;
        assert!(engine.runtime().cached().is_empty());
    }
}
