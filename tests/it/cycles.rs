//! Test that there are no import cycles between modules: of two modules in a cycle, neither can be read first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tidy::sources;

/// The path of a module from the root of its crate.
type Module = Vec<String>;
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_modules_import_each_other() {
    for source_dir in ["src", "ml/src", "udfs/src", "images/src", "metrics/src"] {
        let imports = imports(source_dir);
        for module in imports.keys() {
            let cycle = cycle(&imports, module);
            assert!(
                cycle.is_none(),
                "{source_dir}: {}",
                cycle.unwrap().join(" → ")
            );
        }
    }
}

/// The modules that each module of a crate imports, without its tests.
fn imports(source_dir: &str) -> Imports {
    let files: Vec<(Module, String)> = sources(source_dir)
        .into_iter()
        .map(|(path, text)| (module(path.strip_prefix(source_dir).unwrap()), text))
        .collect();
    let known: BTreeSet<&Module> = files.iter().map(|(module, _)| module).collect();
    let found = files.iter().map(|(module, text)| {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let named = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        let named = names(&named).into_iter().filter_map(|name| {
            let full = full(module, name);
            let prefixes = (1..=full.len()).rev().map(|length| full[..length].to_vec());
            let mut modules = prefixes.filter(|prefix| known.contains(prefix));
            modules.next().filter(|found| found != module)
        });
        (module.clone(), named.collect())
    });
    found.collect()
}

fn module(path: &Path) -> Module {
    let parts = path.with_extension("");
    let mut parts: Module = parts
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    parts
}

/// The path of a name from the root of the crate.
fn full(module: &Module, name: Vec<String>) -> Vec<String> {
    let mut base = module.clone();
    let mut rest = name.into_iter().peekable();
    if rest.next_if(|part| part == "crate").is_some() {
        base.clear();
    }
    while let Some(part) = rest.next_if(|part| part == "super" || part == "self") {
        if part == "super" {
            base.pop();
        }
    }
    base.extend(rest);
    base
}

/// All names in a text that begin with `crate`, `super` or `self`.
fn names(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            let before = &text[..at];
            // The match is the middle of another path, or a visibility.
            let is_other = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                || before.ends_with("pub(in ");
            if !is_other {
                read(&text[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads `a::b` or `a::{b, c::d}`, adds the paths to `found`, and returns the rest of the text.
fn read<'a>(mut text: &'a str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = prefix.len();
    loop {
        text = text.trim_start();
        if let Some(mut list) = text.strip_prefix('{') {
            while !list.is_empty() && !list.starts_with('}') {
                list = read(list, prefix, found).trim_start();
                list = list.strip_prefix(',').unwrap_or(list).trim_start();
            }
            text = list.strip_prefix('}').unwrap_or(list);
            break;
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        if name.is_empty() {
            // A `*`, or no name at all.
            text = rest
                .get(rest.chars().next().map_or(0, char::len_utf8)..)
                .unwrap();
            found.push(prefix.clone());
            break;
        }
        prefix.push(name.to_owned());
        match rest.strip_prefix("::") {
            Some(rest) => text = rest,
            None => {
                found.push(prefix.clone());
                text = rest.split_once(" as ").map_or(rest, |(between, after)| {
                    match between.is_empty() {
                        true => after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
                        false => rest,
                    }
                });
                break;
            }
        }
    }
    prefix.truncate(depth);
    text
}

/// A chain of imports from a module back to itself.
fn cycle(imports: &Imports, start: &Module) -> Option<Vec<String>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in &imports[*way.last().unwrap()] {
            let mut way = way.clone();
            way.push(next);
            if next == start {
                return Some(way.iter().map(|module| module.join("::")).collect());
            }
            if seen.insert(next) {
                ways.push(way);
            }
        }
    }
    None
}

#[test]
fn names_are_found_in_lists() {
    let found =
        names("use crate::a::{self, b, c::{D, E as F}, g::*};\nlet x = super::h::I(my_self::J);");
    let found: Vec<String> = found.iter().map(|name| name.join("::")).collect();
    assert_eq!(
        found,
        [
            "crate::a::self",
            "crate::a::b",
            "crate::a::c::D",
            "crate::a::c::E",
            "crate::a::g",
            "super::h::I"
        ]
    );
}
