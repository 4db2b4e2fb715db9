//! Who may know whom: the crates of the workspace, and the outside crates that have a home.

use super::metadata;
use std::collections::BTreeSet;

/// Each crate with the crates of the workspace that it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("thalweg-schemas", &[]),
    ("thalweg-operators", &["thalweg-schemas"]),
    ("thalweg-connectors", &["thalweg-schemas"]),
    ("thalweg-notify", &["thalweg-schemas", "thalweg-connectors"]),
    ("thalweg-engine", &["thalweg-schemas", "thalweg-operators"]),
    ("thalweg-pipelines", &["thalweg-schemas", "thalweg-operators"]),
    (
        "thalweg",
        &[
            "thalweg-schemas",
            "thalweg-operators",
            "thalweg-connectors",
            "thalweg-notify",
            "thalweg-engine",
            "thalweg-pipelines",
        ],
    ),
    (
        "thalweg-bench",
        &["thalweg-schemas", "thalweg-operators", "thalweg-connectors", "thalweg-engine", "thalweg-pipelines"],
    ),
];

/// Outside crates with the crates that may name them; a name that ends with `*` stands for all that begin so.
const HOMES: &[(&str, &[&str])] = &[
    ("datafusion", &["thalweg-pipelines", "thalweg"]),
    ("datafusion-*", &["thalweg-operators", "thalweg"]),
    ("timely", &["thalweg-operators", "thalweg-engine"]),
    ("differential-dataflow", &["thalweg-operators"]),
    ("rdkafka", &["thalweg-connectors", "thalweg-bench"]),
    ("object_store", &["thalweg-connectors"]),
    ("tokio", &["thalweg-connectors", "thalweg", "thalweg-bench"]),
    ("tokio-postgres", &["thalweg-connectors", "thalweg-bench"]),
    ("tokio-rustls", &["thalweg-connectors"]),
    ("rustls-native-certs", &["thalweg-connectors"]),
    ("pgwire", &["thalweg"]),
    ("axum", &["thalweg-connectors", "thalweg"]),
    ("clap", &["thalweg", "thalweg-bench"]),
    ("promql-parser", &["thalweg-pipelines"]),
    ("saphyr", &["thalweg-pipelines"]),
];

#[test]
fn crates_depend_downwards_only_and_outside_crates_stay_at_home() {
    let metadata = metadata(false);
    let mut faults = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            faults.insert(format!("crate `{name}` has no layer: add it to LAYERS"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap();
        for dependency in dependencies.iter().filter(|d| d["kind"] != "dev") {
            let to = dependency["name"].as_str().unwrap();
            if LAYERS.iter().any(|(layer, _)| *layer == to) && !allowed.contains(&to) {
                faults.insert(format!("`{name}` may not depend on `{to}`"));
            }
            let homes = HOMES.iter().find(|(outside, _)| match outside.strip_suffix('*') {
                Some(prefix) => to.starts_with(prefix),
                None => to == *outside,
            });
            if let Some((_, homes)) = homes
                && !homes.contains(&name)
            {
                faults.insert(format!("`{to}` is at home in {homes:?}, not in `{name}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_dependency_has_a_licence_that_can_be_shipped() {
    const ALLOWED: &[&str] = &[
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "CC0-1.0",
        "0BSD",
        "MPL-2.0",
        "BSL-1.0",
        "Unlicense",
        "CDLA-Permissive-2.0",
        "MIT-0",
        "LLVM-exception",
        "bzip2-1.0.6",
    ];
    let metadata = metadata(true);
    let mut faults = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        let allowed = |term: &str| ALLOWED.contains(&term.trim_matches(['(', ')']));
        let choice = |choice: &str| choice.replace(" WITH ", " AND ").split(" AND ").all(|term| allowed(term.trim()));
        if !licence.split(" OR ").any(|part| choice(part.trim())) {
            faults.insert(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
