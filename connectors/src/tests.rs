//! The list of connectors: it agrees with the folders and with the manual; and what the connectors' tests share.

use super::{ALL, by_name};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};

/// Checked options, as the planner would make them.
pub(crate) fn options(specs: &[OptionSpec], given: &[(&str, &str)]) -> Options {
    let given: Vec<GivenOption> = given
        .iter()
        .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
        .collect();
    Options::check(specs, &given, "connector under test").unwrap()
}

fn crate_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn folders_and_list_agree() {
    let folders: BTreeSet<String> = std::fs::read_dir(crate_folder().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|c| c.name.to_string()).collect();
    assert_eq!(folders, listed);
    assert_eq!(listed.len(), ALL.len(), "a name is listed twice");
}

#[test]
fn defaults_are_values_that_the_option_takes() {
    for connector in ALL {
        let sides = [connector.source, connector.table].map(|side| side.map(|s| s.options));
        let sides = sides.into_iter().chain([connector.sink.map(|s| s.options)]);
        for spec in sides.flatten().flatten() {
            let Some(default) = spec.default else { continue };
            let given = GivenOption { name: spec.name.into(), value: default.into(), position: None };
            let relaxed = OptionSpec { required: false, ..*spec };
            Options::check(&[relaxed], &[given], connector.name).unwrap();
        }
    }
}

#[test]
fn connectors_are_found_by_name() {
    assert_eq!(by_name("file").unwrap().name, "file");
    assert!(by_name("carrier_pigeon").is_none());
}

/// The table of options as the manual has it, made of the options' own descriptions.
fn options_table(options: &[OptionSpec]) -> String {
    if options.is_empty() {
        return "It has no options of its own.\n".to_string();
    }
    let mut table = "| option | default | |\n|---|---|---|\n".to_string();
    for option in options {
        let default = match option.default {
            Some(default) => format!("`{default}`"),
            None if option.required => "must be given".to_string(),
            None => String::new(),
        };
        let takes = match option.kind {
            OptionKind::OneOf(words) => {
                format!("{}. ", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "))
            }
            _ => String::new(),
        };
        table.push_str(&format!("| `{}` | {default} | {takes}{} |\n", option.name, option.doc));
    }
    table
}

#[test]
fn the_manual_describes_every_option_as_it_is() {
    for connector in ALL {
        let path = crate_folder().join("../docs/connectors").join(format!("{}.md", connector.name));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let sides = [connector.source, connector.table].map(|side| side.map(|s| s.options));
        for options in sides.into_iter().chain([connector.sink.map(|s| s.options)]).flatten() {
            let table = options_table(options);
            assert!(page.contains(&table), "{} must contain:\n{table}", path.display());
        }
    }
    let overview = std::fs::read_to_string(crate_folder().join("../docs/connectors/README.md")).unwrap();
    assert!(ALL.iter().all(|c| overview.contains(&format!("[`{0}`]({0}.md)", c.name))));
}
