//! The invariants of docs/architecture.md that a text search can check.

use std::path::{Path, PathBuf};

pub(super) fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

fn check(directory: &str, allowed: &[&str], words: &[&str]) {
    for (path, text) in sources(directory) {
        if allowed.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            let found = words
                .iter()
                .find(|word| !is_comment && line.contains(**word));
            assert!(
                found.is_none(),
                "{}:{} has {found:?}, which belongs into {allowed:?}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn models_and_functions_know_no_query_engine() {
    check(
        "ml/src",
        &[],
        &["datafusion", "ballista", "tokio", "vatic_udfs"],
    );
    check(
        "udfs/src",
        &[],
        &["vatic_ml", "candle", "tokio", "ballista"],
    );
    check("images/src", &[], &["arrow", "datafusion", "candle"]);
    check("metrics/src", &[], &["arrow", "datafusion", "candle"]);
}

#[test]
fn each_outside_world_has_one_folder() {
    check("src", &["src/cluster"], &["ballista"]);
    check(
        "src",
        // Ballista's servers do not encrypt, so a cluster with a secret has its own.
        &["src/client", "src/server", "src/cluster/secure"],
        &["arrow_flight::", "tonic::"],
    );
    check(
        "src",
        // Errors are told apart by their types, also those of files.
        &["src/storage", "src/error/foreign.rs"],
        &["use object_store", "<object_store::", "AmazonS3"],
    );
    check("src", &["src/repl"], &["println!", "print!("]);
    check("src", &[], &["candle_core"]);
}

/// The manifests build no unit tests of programs, so that tests there would never run.
#[test]
fn programs_have_no_unit_tests() {
    let words = ["cfg(test)", "[test]", "tokio::test"];
    check("src/cli", &[], &words);
    check("benchmarks/load", &[], &words);
    let program = std::fs::read_to_string("src/main.rs").unwrap();
    assert!(words.iter().all(|word| !program.contains(*word)));
}

/// The top-level modules of `src/`, from top to bottom (decision 0030).
const LAYERS: &[&str] = &[
    "repl",
    "client",
    "server",
    "statements",
    "session",
    "engine",
    "catalog",
    "cluster",
    "extensions",
    "evaluate",
    "recommend",
    "predict",
    "train",
    "plan",
    "sql",
    "model",
    "access",
    "storage",
    "memory",
    "config",
    "progress",
    "own_task",
    "axis",
    "error",
    "testing",
];

/// The top-level modules of `ml/src/`, from top to bottom.
const ML_LAYERS: &[&str] = &[
    "formats",
    "pretrained",
    "artifact",
    "train",
    "models",
    "onnx",
    "model",
    "nn",
    "graph",
    "data",
    "collective",
    "worker",
    "device",
    "random",
    "bytes",
    "foreign",
    "named",
    "simd",
    "stop",
    "error",
];

/// Files that may import every module.
const ABOVE_ALL: [&str; 4] = ["src/lib.rs", "src/main.rs", "src/cli", "ml/src/lib.rs"];

#[test]
fn no_module_imports_one_above_it() {
    let mut wrong = Vec::new();
    for (source_dir, layers) in [("src", LAYERS), ("ml/src", ML_LAYERS)] {
        for (path, text) in sources(source_dir) {
            if ABOVE_ALL.iter().any(|file| path.starts_with(file)) {
                continue;
            }
            let module = path.strip_prefix(source_dir).unwrap().components().next();
            let module = module.unwrap().as_os_str().to_str().unwrap();
            wrong.extend(
                imports_above(module.trim_end_matches(".rs"), layers, &text)
                    .map(|(number, line)| format!("{}:{number}: {line}", path.display())),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that go up:\n{}",
        wrong.join("\n")
    );
}

/// Lines of a file that import a module above the file's own, and lines that hide which module they import.
fn imports_above<'a>(
    module: &str,
    layers: &'a [&str],
    text: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> {
    let layer = |module: &str| layers.iter().position(|of| *of == module);
    let own = layer(module).unwrap_or_else(|| panic!("{module} has no place among the layers"));
    // Tests may import every module.
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let is_wrong = move |line: &str| {
        line.split("crate::").skip(1).any(|part| {
            let list = part
                .strip_prefix('{')
                .map(|list| list.split('}').next().unwrap());
            let mut names = list.unwrap_or(part).split(", ").map(|name| {
                name.split(|c: char| !c.is_ascii_alphabetic() && c != '_')
                    .next()
                    .unwrap()
            });
            let goes_up = |name: &str| match layer(name) {
                Some(other) => other < own,
                // A name that lib.rs re-exports hides its module; errors and their results are at the bottom.
                None => !matches!(name, "Error" | "Result"),
            };
            match list {
                Some(_) => names.any(goes_up),
                None => names.next().is_some_and(goes_up),
            }
        })
    };
    let lines = text.lines().enumerate();
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter(move |(_, line)| is_wrong(line))
        .map(|(number, line)| (number + 1, line.trim()))
}

#[test]
fn there_is_no_unsafe_outside_of_ml() {
    check("src", &[], &["unsafe {", "unsafe fn", "unsafe impl"]);
    check("udfs/src", &[], &["unsafe {", "unsafe fn", "unsafe impl"]);
    check("images/src", &[], &["unsafe {", "unsafe fn", "unsafe impl"]);
}

#[test]
fn every_file_says_what_lives_in_it() {
    for directory in [
        "src",
        "ml/src",
        "udfs/src",
        "images/src",
        "metrics/src",
        "tests",
        "sql-tests",
        "examples",
    ] {
        for (path, text) in sources(directory) {
            let begins = text.starts_with("//!") || text.starts_with("#![doc");
            assert!(begins, "{} does not begin with //!", path.display());
        }
    }
}

#[test]
fn every_kind_of_sql_test_has_a_file() {
    for folder in [
        "language",
        "predict",
        "train",
        "model",
        "explain",
        "errors",
        "functions",
    ] {
        let path = Path::new("sql-tests").join(folder);
        let has_files = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        assert!(has_files, "{} is empty", path.display());
    }
}

/// The names in the code and in docs/sql.md must be the same.
#[test]
fn the_reference_names_every_option_code_and_setting() {
    let reference = std::fs::read_to_string("docs/sql.md").unwrap();
    for vatic::TrainOption { name, default, .. } in vatic::OPTIONS {
        assert!(
            reference.contains(&format!("| `{name}` |")),
            "option {name} is not in docs/sql.md"
        );
        assert!(
            reference.contains(default),
            "the default {default} of {name} is not in docs/sql.md"
        );
    }
    for (_, code, meaning) in vatic::SQL_STATES {
        assert!(
            reference.contains(&format!("| {code} | {meaning} |")),
            "error {code} is not in docs/sql.md"
        );
    }
    let settings = <vatic::VaticOptions as Default>::default();
    for entry in datafusion::common::config::ExtensionOptions::entries(&settings) {
        assert!(
            reference.contains(&format!("| `{}` |", entry.key)),
            "setting {} is not in docs/sql.md",
            entry.key
        );
    }
    let functions = vatic_udfs::scalar_functions();
    let mut documented: Vec<_> = functions
        .iter()
        .map(|f| f.documentation().unwrap())
        .collect();
    let aggregates = vatic_udfs::aggregate_functions();
    documented.extend(aggregates.iter().map(|f| f.documentation().unwrap()));
    for function in documented {
        let line = format!(
            "| `{}` | {} |",
            function.syntax_example, function.description
        );
        assert!(
            reference.contains(&line),
            "docs/sql.md lacks the line\n{line}"
        );
    }
    for layer in vatic::ml::models::LAYERS {
        assert!(
            reference.contains(&format!("| `{}` |", layer.written)),
            "{} is not in docs/sql.md",
            layer.written
        );
    }
    for augmentation in vatic::ml::data::augment::AUGMENTATIONS {
        assert!(
            reference.contains(&format!("| `{}` |", augmentation.written)),
            "{} is not in docs/sql.md",
            augmentation.written
        );
    }
    for (name, _) in vatic::ml::model::options::LossName::ALL {
        assert!(
            reference.contains(&format!("| `{name}` |")),
            "loss {name} is not in docs/sql.md"
        );
    }
    for model_type in vatic::ml::models::MODEL_TYPES {
        assert!(
            reference.contains(&format!("| `{}` |", model_type.name())),
            "{} is not in docs/sql.md",
            model_type.name()
        );
    }
}

#[test]
fn each_folder_lists_its_files() {
    for source_dir in ["src", "ml/src", "udfs/src", "images/src", "metrics/src"] {
        for (path, text) in sources(source_dir) {
            let name = path.file_name().unwrap().to_str().unwrap();
            // docs/architecture.md lists the folders of src/.
            let is_folder = name == "mod.rs" || (name == "lib.rs" && source_dir != "src");
            if !is_folder {
                continue;
            }
            let is_doc = |line: &&str| line.starts_with("//!");
            let chapter: String = text.lines().filter(is_doc).collect();
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in lines.iter().enumerate() {
                let module = line.trim_start_matches("pub(crate) ");
                let module = module.trim_start_matches("pub(super) ");
                let module = module.trim_start_matches("pub ").strip_prefix("mod ");
                let Some(module) = module.and_then(|rest| rest.strip_suffix(';')) else {
                    continue;
                };
                let is_test = number > 0 && lines[number - 1] == "#[cfg(test)]";
                let mut words = chapter.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let is_listed = is_test || words.any(|word| word == module);
                assert!(is_listed, "{}: no word on {module}", path.display());
            }
        }
    }
}

/// The texts of errors that are recognised all the same, and where, are in decision 0034.
#[test]
fn errors_are_told_apart_by_their_type() {
    assert!(searches_error("if error.to_string().contains(\"lost\") {"));
    assert!(!searches_error("errors.find(|error| is_peer(error))"));
    let decision = std::fs::read_to_string("docs/decisions/0034-texts-of-other-crates.md").unwrap();
    for source_dir in ["src", "ml/src", "udfs/src", "images/src", "metrics/src"] {
        for (path, text) in sources(source_dir) {
            let name = path.to_str().unwrap();
            if name.ends_with("tests.rs") || decision.contains(&format!("`{name}`")) {
                continue;
            }
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let found = chains(code).into_iter().find(|line| searches_error(line));
            assert!(found.is_none(), "{name} searches an error: {found:?}");
        }
    }
}

/// The lines of some code, each with the calls in the lines below it that go on with its chain.
fn chains(code: &str) -> Vec<String> {
    let mut chains: Vec<String> = vec![];
    for line in code.lines().map(str::trim) {
        if line.starts_with("//") {
            continue;
        }
        if line.starts_with('.')
            && let Some(chain) = chains.last_mut()
        {
            chain.push_str(line);
        } else {
            chains.push(line.to_owned());
        }
    }
    chains
}

/// Whether a line looks for words in an error.
fn searches_error(line: &str) -> bool {
    const SEARCHES: &[&str] = &[
        ".contains(",
        ".starts_with(",
        ".ends_with(",
        ".strip_prefix(",
        ".strip_suffix(",
        ".split_once(",
        ".find(",
    ];
    let is_of_value = |c: char| c.is_ascii_alphanumeric() || "_.()".contains(c);
    SEARCHES.iter().any(|search| {
        line.match_indices(search).any(|(at, _)| {
            let value = line[..at].rsplit(|c: char| !is_of_value(c)).next().unwrap();
            let names = ["error", "failure", "message", "problem"];
            // A closure looks for an element.
            let has_closure = line[at + search.len()..].starts_with('|');
            !has_closure && names.iter().any(|name| value.contains(name))
        })
    })
}

#[test]
fn the_files_that_the_architecture_names_exist() {
    let text = std::fs::read_to_string("docs/architecture.md").unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let files = quoted.filter(|word| word.ends_with(".rs") && word.contains('/'));
    let missing: Vec<&str> = files
        .filter(|file| !Path::new(file).exists() && !Path::new("src").join(file).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
