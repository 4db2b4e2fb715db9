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

/// The variants of the plan, from its source.
fn plan_variants() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("operators/src/plan.rs")).unwrap();
    let (_, rest) = text.split_once("pub enum Plan {\n").unwrap();
    let variants = rest.split("\n}").next().unwrap().lines().filter_map(|line| line.strip_prefix("    "));
    let named = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    named.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_string()).collect()
}

#[test]
fn every_operator_has_its_page() {
    let list = std::fs::read_to_string(root().join("docs/operators/README.md")).unwrap();
    let variants = plan_variants();
    assert!(variants.len() > 15, "{variants:?}");
    let missing: Vec<_> = variants
        .iter()
        .filter(|name| {
            let row = list.lines().find(|line| line.starts_with("| ") && line.contains(&format!("`{name}`")));
            !row.is_some_and(|row| row.contains(".md)"))
        })
        .collect();
    assert!(missing.is_empty(), "docs/operators/README.md has no page for {missing:?}");
}

#[test]
fn a_page_about_an_operator_has_a_formula_a_source_parameters_a_cost_and_an_example_that_is_run() {
    let mut faults = Vec::new();
    let mut pages = 0;
    for path in files(&[".md"]) {
        let name = relative(&path);
        if !name.starts_with("docs/operators/") || name.ends_with("README.md") {
            continue;
        }
        pages += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["\n## Formula\n", "\nSource: ", "\n## Parameters\n", "\n## Cost\n", "\n## Worked example\n"] {
            if !text.contains(part) {
                faults.push(format!("{name} has no {:?}", part.trim()));
            }
        }
        if !["```test\n", "```worked\n", "| call | answer |\n"].iter().any(|example| text.contains(example)) {
            faults.push(format!("{name} shows nothing that a test runs"));
        }
    }
    assert!(pages > 35, "{pages}");
    assert!(faults.is_empty(), "{faults:#?}");
}
