//! SHOW, DESCRIBE, ALTER and DROP MODEL.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::{Label, Port, PortKind, Signature};
use vatic_ml::data::types::type_name;
use vatic_ml::model::Prompt;
use vatic_ml::model::network::LayerSummary;
use vatic_ml::model::options::TrainOptions;

use super::cache;
use crate::access::grants::Privilege;
use crate::access::ownership::{Ownership, new_id};
use crate::error::{Result, SqlState, sql_err};
use crate::model::{ModelName, ModelState, Origin, ResolvedModel, RunSummary, VersionEntry};
use crate::session::Session;
use crate::session::answer::{empty, rows};
use crate::sql::{AlterModel, DropModel, ModelStatement, quoted};
use crate::storage::check_identifier;

/// Runs a statement about models.
pub(crate) async fn run(
    session: &Session,
    statement: ModelStatement,
) -> Result<SendableRecordBatchStream> {
    let (engine, access) = (session.engine(), session.access());
    let registry = engine.registry();
    let open = |name: &ModelName| registry.get_for(access, Privilege::Execute, name);
    match statement {
        ModelStatement::ShowModels { like } => {
            let filter = like.map_or(String::new(), |pattern| {
                format!("WHERE model_name LIKE {}", quoted(&pattern))
            });
            let query = format!(
                "SELECT model_schema, model_name, model_type, default_version, version_count, comment, created_at \
                 FROM information_schema.models {filter} ORDER BY model_schema, model_name"
            );
            query_rows(session, &query).await
        }
        ModelStatement::ShowVersions(name) => {
            open(&name)?;
            let query = format!(
                "SELECT version, is_default, aliases, model_type, train_rows, eval_rows, metrics, sha256, created_at \
                 FROM information_schema.model_versions WHERE model_schema = {} AND model_name = {} ORDER BY version",
                quoted(&name.schema),
                quoted(&name.name)
            );
            query_rows(session, &query).await
        }
        ModelStatement::Describe(reference) => {
            let model = open(&reference.name)?;
            Ok(rows(describe(&registry.resolve(&reference, &model)?)?))
        }
        ModelStatement::ShowCreate(reference) => {
            let model = open(&reference.name)?;
            Ok(rows(show_create(&registry.resolve(&reference, &model)?)?))
        }
        ModelStatement::Alter(name, change) => {
            registry.get_for(access, Privilege::Own, &name)?;
            alter(session, &name, &change)?;
            Ok(empty())
        }
        ModelStatement::Drop(drop) => {
            let exists = registry.exists(&drop.name)? && open(&drop.name).is_ok();
            if exists || !drop.if_exists {
                registry.get_for(access, Privilege::Own, &drop.name)?;
                drop_model(session, &drop)?;
            }
            Ok(empty())
        }
    }
}

async fn query_rows(session: &Session, query: &str) -> Result<SendableRecordBatchStream> {
    let plan = session.plan_query(query).await?;
    session.execute(plan).await
}

fn text(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

/// One row for each input and output, for each layer of a network that is a list of layers, for each head (see [`heads`]), and
/// for each property of the model.
fn describe(model: &ResolvedModel) -> Result<RecordBatch> {
    let manifest = &model.manifest;
    let signature = &manifest.signature;
    let mut described: Vec<[String; 4]> = Vec::new();
    let port = |kind: &str, port: &Port| {
        let data_type = match port.kind {
            PortKind::Probabilities { .. } | PortKind::Entities | PortKind::Tokens => {
                struct_list_name(&port.data_type)
            }
            _ => type_name(&port.data_type),
        };
        [kind.into(), port.name.clone(), data_type, String::new()]
    };
    described.extend(signature.inputs.iter().map(|input| port("feature", input)));
    described.extend(
        signature
            .outputs
            .iter()
            .map(|output| port("output", output)),
    );
    described.extend((1..).zip(manifest.layers()).map(layer));
    let labels: Vec<Label<'_>> = signature.labels().collect();
    if manifest.trained().is_some() {
        described.extend(heads(&labels));
    }
    let mut properties: Vec<(&str, String)> = Vec::new();
    let has_several = labels.len() > 1;
    let of_label = |label: &Label<'_>, text: String| match has_several {
        true => format!("{}: {text}", label.target.name),
        false => text,
    };
    for label in &labels {
        if !label.classes.is_empty() {
            let names: Vec<String> = label.classes.iter().map(ToString::to_string).collect();
            properties.push(("classes", of_label(label, names.join(", "))));
        }
        if let ([_, positive], LabelForm::Class(_)) = (label.classes, label.form()) {
            properties.push(("positive_class", of_label(label, positive.to_string())));
        }
    }
    properties.push(("model_type", manifest.model_type().to_owned()));
    properties.push(("version", model.version.to_string()));
    match &manifest.origin {
        Origin::Trained(trained) => {
            properties.extend(of_training(&trained.run));
            if let Some(base) = &trained.options.base_model {
                let hash = base.sha256.get(..12).unwrap_or_default();
                properties.push(("base_model", format!("{} ({hash})", base.model)));
            }
            properties.extend(of_images(signature, &trained.options));
        }
        Origin::Imported(imported) => {
            properties.push(("source", imported.source.clone()));
            let licence = imported.licence.iter().cloned();
            properties.extend(licence.map(|licence| ("licence", licence)));
        }
    }
    let facts = manifest.facts.iter();
    properties.extend(facts.map(|(name, value)| (name.as_str(), value.clone())));
    if !manifest.prompts.is_empty() {
        properties.push(("prompts", prompts(&manifest.prompts)));
    }
    properties.push(("sha256", model.sha256.clone()));
    let created_at = manifest.created_at;
    let created_at = created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    properties.push(("created_at", created_at));
    if let Some(trained) = manifest.trained() {
        let notices = trained.run.notices.iter().cloned();
        properties.extend(notices.map(|notice| ("notice", notice)));
    }
    described.extend(
        properties
            .into_iter()
            .map(|(name, value)| ["property".into(), name.into(), String::new(), value]),
    );
    let column = |index: usize| text(described.iter().map(|row| row[index].clone()).collect());
    Ok(RecordBatch::try_from_iter([
        ("kind", column(0)),
        ("name", column(1)),
        ("type", column(2)),
        ("value", column(3)),
    ])?)
}

/// The shape of a layer's output for one row, its weights and its operations.
fn layer((number, layer): (usize, &LayerSummary)) -> [String; 4] {
    let numbered = format!("{number} {}", layer.layer);
    let sizes = format!("{} parameters, {} FLOPs", layer.parameters, layer.flops);
    [
        "layer".into(),
        numbered,
        format!("{:?}", layer.output),
        sizes,
    ]
}

/// The outputs of the last layer for each target, if there are several targets, or the only one is a list.
fn heads(labels: &[Label<'_>]) -> Vec<[String; 4]> {
    let is_plain = |label: &Label<'_>| match label.form() {
        LabelForm::Number | LabelForm::Class(_) => true,
        LabelForm::Vector(_) | LabelForm::Set(_) => false,
    };
    if let [only] = labels
        && is_plain(only)
    {
        return vec![];
    }
    let mut first = 1;
    let head = |label: &Label<'_>| {
        let kind = match label.form() {
            LabelForm::Number => "number".to_owned(),
            LabelForm::Vector(length) => format!("list of {length} numbers"),
            LabelForm::Class(classes) => format!("{classes} classes"),
            LabelForm::Set(labels) => format!("set of {labels} labels"),
        };
        let (start, end) = (first, first + label.form().outputs() - 1);
        first = end + 1;
        let outputs = match start == end {
            true => format!("output {start}"),
            false => format!("outputs {start} to {end}"),
        };
        ["head".to_owned(), label.target.name.clone(), kind, outputs]
    };
    labels.iter().map(head).collect()
}

fn of_training(run: &RunSummary) -> Vec<(&'static str, String)> {
    let metrics = run
        .metrics
        .iter()
        .filter_map(|metric| Some(format!("{} {:.4}", metric.full_name(), metric.value?)));
    let of_split = match run.eval_rows > 0 {
        true => "eval_metrics",
        false => "train_metrics",
    };
    let mut properties = vec![
        ("optimizer", run.optimizer.clone()),
        ("train_rows", run.train_rows.to_string()),
        ("eval_rows", run.eval_rows.to_string()),
        (of_split, metrics.collect::<Vec<_>>().join(", ")),
    ];
    if let Some(refit) = run.refit {
        let plural = if refit.epochs == 1 { "" } else { "s" };
        let text = format!("on {} rows in {} epoch{plural}", refit.rows, refit.epochs);
        properties.push(("refit", text));
    }
    properties.push(("rows_hash", run.rows_hash.clone()));
    properties
}

/// How a model reads images, and what its training changed in them.
fn of_images(signature: &Signature, options: &TrainOptions) -> Vec<(&'static str, String)> {
    let mut properties = vec![];
    let mut inputs = signature.inputs.iter();
    if inputs.any(|port| port.kind == PortKind::Image) {
        properties.push(("input_shape", format!("{:?}", options.input_shape)));
        properties.push(("image_resize", options.image.resize.name().to_owned()));
        properties.push(("image_filter", options.image.filter.to_string()));
    }
    if !options.augment.is_empty() {
        properties.push(("augment", options.augment.join(", ")));
    }
    properties
}

/// A list of structs by the names of their fields: their types would fill lines.
fn struct_list_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => {
                let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                format!("list(struct({}))", names.join(", "))
            }
            other => format!("list({})", type_name(other)),
        },
        other => type_name(other),
    }
}

/// The names of prompts with their texts, the default one marked.
fn prompts(prompts: &[Prompt]) -> String {
    let shown = prompts.iter().map(|prompt| {
        let note = if prompt.is_default { " (default)" } else { "" };
        format!("{}: {:?}{note}", prompt.name, prompt.text)
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn show_create(model: &ResolvedModel) -> Result<RecordBatch> {
    let statement = model.manifest.statement().to_owned();
    Ok(RecordBatch::try_from_iter([
        ("model", text(vec![model.label()])),
        ("statement", text(vec![statement])),
    ])?)
}

fn alter(session: &Session, name: &ModelName, change: &AlterModel) -> Result<()> {
    let engine = session.engine();
    let registry = engine.registry();
    let check = |state: &ModelState| {
        let access = session.access();
        registry.check_for(access, Privilege::Own, name, state)
    };
    match change {
        AlterModel::Rename(to) => {
            let claimed = |state: &ModelState| {
                check(state)?;
                claimed(session, name, state)
            };
            let (before, after) = registry.rename(name, to, claimed)?;
            let (from, to) = (name.object(), to.object());
            engine.grants().rename((&from, &before), (&to, &after))
        }
        AlterModel::Comment(comment) => registry.alter(name, |state| {
            check(state)?;
            state.comment = Some(comment.clone());
            Ok(())
        }),
        AlterModel::DefaultVersion(version) => registry.alter(name, |state| {
            check(state)?;
            check_version(name, state, *version)?;
            state.default_version = *version;
            Ok(())
        }),
        AlterModel::Alias { version, alias } => {
            check_identifier("alias", alias)?;
            let alias = alias.to_lowercase();
            registry.alter(name, |state| {
                check(state)?;
                check_version(name, state, *version)?;
                for entry in &mut state.versions {
                    entry.aliases.retain(|known| *known != alias);
                    if entry.version == *version {
                        entry.aliases.push(alias.clone());
                    }
                }
                Ok(())
            })
        }
    }
}

/// The ownership of a model that is renamed. Older states have no owner: it comes from the grants on the old name.
fn claimed(session: &Session, name: &ModelName, state: &ModelState) -> Result<Ownership> {
    let mut ownership = state.ownership.clone();
    if ownership.id.is_none() {
        let object = name.object();
        let grants = session.engine().grants().all()?;
        let mut own = grants.iter().filter(|grant| {
            grant.privilege == Privilege::Own && grant.is_on(&object, &state.ownership)
        });
        ownership.owner = own.next().map(|grant| grant.to.clone());
        ownership.id = Some(new_id());
    }
    Ok(ownership)
}

fn check_version(name: &ModelName, state: &ModelState, version: u64) -> Result<()> {
    if state.versions.iter().any(|entry| entry.version == version) {
        return Ok(());
    }
    let known: Vec<String> = state
        .versions
        .iter()
        .map(|entry| entry.version.to_string())
        .collect();
    let message = format!(
        "model \"{}\" has no version {version}; it has {}",
        name.short(),
        known.join(", ")
    );
    Err(sql_err(SqlState::NoSuchModel, message))
}

fn drop_model(session: &Session, drop: &DropModel) -> Result<()> {
    let engine = session.engine();
    let registry = engine.registry();
    if drop.if_exists && !registry.exists(&drop.name)? {
        return Ok(());
    }
    let dropped = Cell::new(None);
    let sha256s = Cell::new(HashSet::new());
    registry.alter(&drop.name, |state| {
        let access = session.access();
        registry.check_for(access, Privilege::Own, &drop.name, state)?;
        let is_gone =
            |entry: &&VersionEntry| drop.version.is_none_or(|version| version == entry.version);
        let gone = state.versions.iter().filter(is_gone);
        sha256s.set(gone.map(|entry| entry.sha256.clone()).collect());
        let Some(version) = drop.version else {
            state.is_dropped = true;
            state.versions.clear();
            dropped.set(Some(std::mem::take(&mut state.ownership)));
            return Ok(());
        };
        if drop.if_exists && !state.versions.iter().any(|entry| entry.version == version) {
            return Ok(());
        }
        check_version(&drop.name, state, version)?;
        if state.versions.len() == 1 {
            state.is_dropped = true;
            dropped.set(Some(std::mem::take(&mut state.ownership)));
        } else if state.default_version == version {
            let message = format!(
                "version {version} is the default of model \"{name}\" and others exist; set another with ALTER MODEL \
                 {name} SET DEFAULT_VERSION = n, or DROP MODEL {name}",
                name = drop.name.short()
            );
            return Err(sql_err(SqlState::StillNeeded, message));
        }
        state.versions.retain(|entry| entry.version != version);
        Ok(())
    })?;
    cache::forget(engine, sha256s.take());
    match dropped.take() {
        Some(ownership) => {
            let grants = engine.grants();
            grants.forget(&drop.name.object(), &ownership)
        }
        None => Ok(()),
    }
}
