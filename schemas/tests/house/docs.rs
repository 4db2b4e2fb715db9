//! The documents: they name what exists.

use super::{files, metadata, relative, root};
use std::collections::BTreeSet;

#[test]
fn the_architecture_names_only_paths_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut faults = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let is_path = quoted.contains('/') && quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        // `thalweg.views` and `a/b` ratios are no paths: a path begins with a folder of ours.
        let first = quoted.split('/').next().unwrap();
        if is_path && root().join(first).is_dir() && !root().join(quoted).exists() {
            faults.push(quoted.to_string());
        }
    }
    assert!(faults.is_empty(), "ARCHITECTURE.md names paths that do not exist: {faults:#?}");
}

#[test]
fn every_dependency_earns_its_place() {
    let text = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut names = BTreeSet::new();
    for package in metadata(false)["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if !name.starts_with("thalweg") {
                names.insert(name.to_string());
            }
        }
    }
    let missing: Vec<_> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no line for {missing:?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in files(&[".md"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(target).exists() {
                faults.push(format!("{}: {link}", relative(&path)));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
