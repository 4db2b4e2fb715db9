//! The house rules, held by tests: what nobody checks is no rule.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, with a message")]

mod docs;
mod files;
mod layers;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What cargo says.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What cargo knows of the workspace; `with_dependencies` resolves the graph for this kind of machine, from the lock file
/// alone: what others would need besides is not there.
fn metadata(with_dependencies: bool) -> serde_json::Value {
    let version = String::from_utf8(cargo(&["-vV"])).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let graph: &[&str] = if with_dependencies { &["--filter-platform", host] } else { &["--no-deps"] };
    let known = cargo(&[&["metadata", "--format-version", "1", "--offline"], graph].concat());
    serde_json::from_slice(&known).unwrap()
}

/// All files below the root that end with one of `endings`, hidden folders and build output left out.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "thalweg-data" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as it is written in documents.
fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}
