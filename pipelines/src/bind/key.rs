//! `PRIMARY KEY (...)` of a source: the columns by which its records find the row that they replace or remove.

use crate::parse::ddl::CreateSource;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{self, FormatSpec};
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::{Column, Origin};

/// The columns of the primary key, where the format's records say what becomes of the row with their key.
pub(super) fn bind(
    source: &CreateSource,
    format: Option<&FormatSpec>,
    columns: &[Column],
    is_table: bool,
    owner: &str,
) -> Result<Vec<usize>> {
    let changelog = format.filter(|format| format.changelog);
    let Some(declared) = &source.key else {
        if is_table {
            return Err(Error::user(format!("{owner} has no primary key"))
                .with_detail("A table is read again and again, and what changed of its rows is found by their key.")
                .with_hint("Write PRIMARY KEY (...) after its columns.")
                .at(source.name.position.clone()));
        }
        let Some(format) = changelog else { return Ok(Vec::new()) };
        return Err(Error::user(format!("{owner} has format '{}' and no primary key", format.name))
            .with_detail("Its records say what becomes of a row, which is found by its key.")
            .with_hint("Write PRIMARY KEY (...) after its columns.")
            .at(source.name.position.clone()));
    };
    if changelog.is_none() && !is_table {
        let formats = format::ALL.iter().filter(|format| format.changelog).map(|format| format!("'{}'", format.name));
        return Err(Error::user(format!("{owner} has a primary key, and each of its records is a row of its own"))
            .with_hint(format!(
                "Leave the clause out, or choose a format whose records replace rows: {}.",
                formats.collect::<Vec<_>>().join(" or ")
            ))
            .at(declared.position.clone()));
    }
    let mut key = Vec::new();
    for name in &declared.columns {
        let located = |error: Error| error.at(name.position.clone());
        let Some(at) = columns.iter().position(|c| c.name == name.value) else {
            let error = Error::user(format!("column \"{}\" does not exist in {owner}", name.value));
            return Err(located(match closest(&name.value, columns.iter().map(|c| c.name.as_str())) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error,
            }));
        };
        if columns[at].origin != Origin::Field {
            return Err(located(
                Error::user(format!("column \"{}\" cannot be part of a primary key", name.value))
                    .with_hint("A key is made of fields of the record."),
            ));
        }
        if key.contains(&at) {
            return Err(located(Error::user(format!("column \"{}\" is twice in the primary key", name.value))));
        }
        key.push(at);
    }
    Ok(key)
}

/// The columns that a statement names as its key, as far as they exist.
pub(super) fn stand_in(source: &CreateSource, columns: &[Column]) -> Vec<usize> {
    let named = source.key.iter().flat_map(|key| &key.columns);
    named.filter_map(|name| columns.iter().position(|c| c.name == name.value)).collect()
}
