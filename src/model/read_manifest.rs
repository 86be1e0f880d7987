//! Reads a published manifest of any format from its file.

use serde::Deserialize;
use vatic_ml::artifact;

use super::manifest::{MANIFEST_FILE, MANIFEST_FORMAT, Manifest};
use super::manifest_v1::ManifestV1;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::Place;

/// Whether a model's file may have this name; a name that contains a path is refused.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.')
}

/// Whether a model's file may have this name, which may name a folder of the model first, and a folder in it: the encoder of a
/// trained model has folders, too.
fn is_plain_path(name: &str) -> bool {
    name.split('/').count() <= 3 && name.split('/').all(is_plain_name)
}

impl Manifest {
    /// Reads the manifest of a version and checks its hash.
    pub(crate) fn read(directory: &Place, sha256: &str, model: &str) -> Result<Self> {
        let corrupt = |problem: String| {
            sql_err(
                SqlState::Io,
                format!("manifest of model {model}: {problem}"),
            )
        };
        let read = directory.join(MANIFEST_FILE).read();
        let content = read.map_err(|error| io_err(format!("manifest of model {model}"), &error))?;
        if artifact::sha256(&content) != sha256 {
            return Err(corrupt(
                "its SHA-256 is not the one published; restore the file, or drop the version"
                    .into(),
            ));
        }
        Self::from_json(&content).map_err(corrupt)
    }

    fn from_json(content: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format_version: u32,
        }
        let Format { format_version } =
            serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if format_version > MANIFEST_FORMAT {
            return Err(format!(
                "format version {format_version}, this build reads up to {MANIFEST_FORMAT}; upgrade vatic"
            ));
        }
        let unreadable = |error: serde_json::Error| error.to_string();
        let manifest: Self = match format_version {
            0 | 1 => serde_json::from_slice::<ManifestV1>(content)
                .map_err(unreadable)?
                .try_into()
                .map_err(|error: vatic_ml::Error| error.to_string())?,
            _ => serde_json::from_slice(content).map_err(unreadable)?,
        };
        if let Some(file) = manifest
            .files
            .iter()
            .find(|file| !is_plain_path(&file.name))
        {
            return Err(format!(
                "\"{}\" is not the name of a file",
                file.name.escape_debug()
            ));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use vatic_ml::data::signature::{Port, PortKind};

    use vatic_ml::model::options::TrainOptions;

    use super::*;

    fn example() -> serde_json::Value {
        let port = serde_json::json!({"name": "x", "data_type": "Float64", "kind": "number"});
        let target = serde_json::json!({"name": "y", "data_type": "Int64"});
        let label = serde_json::json!({"label": {"target": target, "classes": []}});
        serde_json::json!({
            "format_version": 2, "created_at": "2026-01-01T00:00:00Z", "engine": "0.1.0", "format": "trained",
            "signature": {"inputs": [port], "outputs": [
                {"name": "predicted_y", "data_type": "Float64", "kind": label}]},
            "batching": "rows",
            "origin": {"imported": {"source": "/models/m", "licence": null, "statement": "CREATE"}},
            "files": [{"name": "model.safetensors", "bytes": 1, "sha256": "00"}],
        })
    }

    fn example_v1() -> serde_json::Value {
        let column = |name: &str| serde_json::json!({"name": name, "data_type": "Float64"});
        let list = serde_json::json!({"FixedSizeList": [
            {"name": "item", "data_type": "Float32", "nullable": true, "dict_id": 0, "dict_is_ordered": false,
             "metadata": {}}, 3]});
        serde_json::json!({
            "format_version": 1, "run_id": "r", "created_at": "2026-01-01T00:00:00Z", "engine": "0.1.0",
            "signature": {"features": [column("x"), {"name": "pixels", "data_type": list}], "target": column("y")},
            "labels": {"number": {"mean": 0.0, "std": 1.0}},
            "options": TrainOptions::default(), "training_sql": "TRAIN",
            "run": {"train_rows": 1, "eval_rows": 0, "skipped_rows": 0, "train_loss": 0.5, "eval_loss": null,
                "metrics": [], "history": [], "duration_ms": 1, "device": "cpu", "workers": 1, "shards": 8,
                "batch_size": 32, "optimizer": "adamw", "rows_hash": "00"},
            "files": [{"name": "model.safetensors", "bytes": 1, "sha256": "00"}],
        })
    }

    #[test]
    fn a_manifest_of_format_1_has_the_ports_of_its_columns() {
        let manifest = Manifest::from_json(example_v1().to_string().as_bytes()).unwrap();
        let names = |ports: &[Port]| -> Vec<String> {
            ports.iter().map(|port| port.name.clone()).collect()
        };
        assert_eq!(names(&manifest.signature.inputs), ["x", "pixels"]);
        let shape = vec![3];
        assert_eq!(manifest.signature.inputs[1].kind, PortKind::Array { shape });
        assert_eq!(names(&manifest.signature.outputs), ["predicted_y"]);
        assert_eq!(manifest.signature.labels().next().unwrap().target.name, "y");
        assert_eq!(
            (manifest.statement(), manifest.format.as_str()),
            ("TRAIN", "trained")
        );
        assert_eq!(manifest.trained().unwrap().run_id, "r");
        // A manifest is written in format 2, and reads back equal.
        let written = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::from_json(&written).unwrap(), manifest);
    }

    #[test]
    fn layers_are_read_where_earlier_builds_wrote_them() {
        let layer =
            serde_json::json!({"layer": "linear(1)", "output": [1], "parameters": 2, "flops": 2});
        let manifest = Manifest::from_json(example_v1().to_string().as_bytes()).unwrap();
        assert!(manifest.layers().is_empty());
        let mut of_earlier_build = serde_json::to_value(&manifest).unwrap();
        let mut of_this_build = of_earlier_build.clone();
        of_earlier_build["origin"]["trained"]["run"]["layers"] = serde_json::json!([layer.clone()]);
        of_this_build["layers"] = serde_json::json!([layer]);
        for manifest in [of_earlier_build, of_this_build] {
            let manifest = Manifest::from_json(manifest.to_string().as_bytes()).unwrap();
            let layers = manifest.layers().iter().map(|layer| layer.layer.as_str());
            assert_eq!(layers.collect::<Vec<_>>(), ["linear(1)"]);
        }
    }

    fn read(edit: impl FnOnce(&mut serde_json::Value)) -> Result<Manifest, String> {
        let mut value = example();
        edit(&mut value);
        Manifest::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn only_whole_and_known_manifests_are_read() {
        assert!(read(|_| {}).is_ok());
        let missing = read(|value| {
            value.as_object_mut().unwrap().remove("files");
        });
        assert!(missing.unwrap_err().contains("files"));
        assert!(
            read(|value| value["surprise"] = 1.into())
                .unwrap_err()
                .contains("surprise")
        );
        assert!(
            read(|value| value["format_version"] = 3.into())
                .unwrap_err()
                .contains("upgrade")
        );
        assert!(Manifest::from_json(b"").is_err());
        let in_folder = read(|value| value["files"][0]["name"] = "1_Pooling/config.json".into());
        assert_eq!(in_folder.unwrap().files[0].name, "1_Pooling/config.json");
        for name in [
            "../x",
            "a/..",
            "/etc/passwd",
            "a/",
            "a//b",
            "a/b/c/d",
            "a/.hidden",
            "",
            ".hidden",
            "c:x",
        ] {
            let error = read(|value| value["files"][0]["name"] = name.into()).unwrap_err();
            assert!(error.contains("not the name of a file"), "{name}: {error}");
        }
    }
}
