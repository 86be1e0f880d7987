//! What packages install, from the program under test: the Debian package and the image run the same script.

use std::path::Path;
use std::process::Command;

use crate::text;

const INSTALLED: &str = "target/package-root/";

#[test]
fn what_packages_install_is_there_and_runs() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new("packaging/install")
        .arg(env!("CARGO_BIN_EXE_vatic"))
        .arg(root.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The manifest takes the files of the Debian package from there.
    let manifest = std::fs::read_to_string("Cargo.toml").unwrap();
    let packaged: Vec<&str> = manifest
        .split(INSTALLED)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(packaged.len(), 3, "{packaged:?}");
    for file in packaged {
        let script = std::fs::read_to_string(root.path().join(file)).unwrap();
        assert!(script.contains("completions"), "{file}");
    }
    let query = "SELECT count(*) AS flowers FROM examples.iris";
    let output = Command::new(root.path().join("usr/bin/vatic"))
        .args(["--data-dir", ":memory:", "--format", "csv", "-c", query])
        .current_dir(root.path())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "flowers\n150\n");
}

/// The second package of a build finds a program whose symbols were moved already.
#[test]
fn symbols_stay_beside_a_program_that_is_packaged_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("a.c"), folder.path().join("a"));
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.arg("-g").arg(&source).arg("-o").arg(&program);
    assert!(compiler.status().unwrap().success());
    let moved = || {
        let mut script = Command::new("packaging/symbols");
        let output = script.arg(&program).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::read(folder.path().join("a.debug")).unwrap()
    };
    let whole = std::fs::read(&program).unwrap().len();
    let symbols = moved();
    assert!(std::fs::read(&program).unwrap().len() < whole);
    assert!(moved() == symbols, "the second time lost the symbols");
    assert!(Command::new(&program).status().unwrap().success());
}

/// The image is not built here, so its steps must be those that are tested.
#[test]
fn the_image_installs_what_packages_do() {
    let steps = std::fs::read_to_string("packaging/Dockerfile").unwrap();
    let installs = "packaging/install target/dist/vatic /root-of-image";
    assert!(steps.contains(installs), "{steps}");
    let copied = steps.lines().filter(|line| line.starts_with("COPY"));
    let from: Vec<&str> = copied
        .filter_map(|line| line.split(' ').nth_back(1))
        .collect();
    assert_eq!(from, [".", "/root-of-image/"]);
    let wrong = Command::new("packaging/install")
        .arg("nowhere/vatic")
        .arg(Path::new("nowhere"))
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).starts_with("usage: packaging/install PROGRAM ROOT"));
}
