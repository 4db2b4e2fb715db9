//! `ENVELOPE upsert (columns) | debezium | changelog`: how a sink writes changes as rows that only ever come, and by which
//! key.

use super::Mode;
use crate::lower::Lowered;
use crate::parse::ddl::{GivenEnvelope, Name};
use arrow::datatypes::SchemaRef;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::{DELETED, Envelope, EnvelopeKind};
use thalweg_schemas::suggest::closest;

/// The kind that is none: changes as they are.
const CHANGELOG: &str = "changelog";

/// Whether a statement asks for changes as they are.
pub(super) fn asks_for_changes(given: Option<&GivenEnvelope>) -> Result<bool> {
    let Some(given) = given.filter(|given| given.kind.value == CHANGELOG) else { return Ok(false) };
    match given.key.first() {
        None => Ok(true),
        Some(column) => Err(Error::user("ENVELOPE changelog takes no columns")
            .with_detail("Every change is a row: none takes the place of another.")
            .with_hint("Leave them out.")
            .at(column.position.clone())),
    }
}

/// The envelope that a statement asks for around the rows of `input`.
pub(super) fn bind(given: &GivenEnvelope, input: &Lowered, owner: &str) -> Result<Envelope> {
    let kind = kind(&given.kind)?;
    let schema = input.plan.schema();
    let located = |error: Error| error.at(given.kind.position.clone());
    if kind == EnvelopeKind::Upsert && schema.index_of(DELETED).is_ok() {
        return Err(located(
            Error::user(format!("column \"{DELETED}\" of {owner} is one that ENVELOPE upsert adds"))
                .with_hint("Give it another name with AS."),
        ));
    }
    let key = given.key.iter().map(|name| column(name, &schema, owner)).collect::<Result<Vec<usize>>>()?;
    let known = input.key.as_ref().filter(|key| !key.is_empty());
    // Any column of each part will do, the first one is written.
    let own = || known.map(|parts| parts.iter().filter_map(|part| part.first().copied()).collect::<Vec<_>>());
    match (key.is_empty(), own(), kind) {
        (true, Some(own), _) => Ok(Envelope { kind, key: own }),
        (true, None, EnvelopeKind::Debezium) => Ok(Envelope { kind, key }),
        (true, None, EnvelopeKind::Upsert) => Err(located(
            Error::user(format!("ENVELOPE upsert of {owner} names no key"))
                .with_detail("A row takes the place of the one with its key.")
                .with_hint("Write the columns by which its rows are found: ENVELOPE upsert (host)."),
        )),
        (false, own, _) => {
            let covers = |part: &Vec<usize>| part.iter().any(|at| key.contains(at));
            let missing = known.filter(|parts| input.mode != Mode::Append && !parts.iter().all(covers));
            if missing.is_none() {
                return Ok(Envelope { kind, key });
            }
            let name = |at: &usize| schema.field(*at).name().clone();
            let names = own.iter().flatten().map(name).collect::<Vec<_>>().join(", ");
            let written = key.iter().map(name).collect::<Vec<_>>().join(", ");
            Err(Error::user(format!("rows of {owner} are not unique by ({written})"))
                .with_detail("Several rows would take each other's place.")
                .with_hint(format!("Their key is ({names})."))
                .at(given.key[0].position.clone()))
        }
    }
}

fn kind(given: &Name) -> Result<EnvelopeKind> {
    let kinds = [EnvelopeKind::Upsert, EnvelopeKind::Debezium];
    let found = kinds.into_iter().find(|kind| kind.to_string() == given.value);
    found.ok_or_else(|| {
        let error = Error::user(format!("ENVELOPE takes upsert, debezium or changelog, not \"{}\"", given.value));
        let error = error.at(given.position.clone());
        match closest(&given.value, ["upsert", "debezium", CHANGELOG]) {
            Some(near) => error.with_hint(format!("Did you mean {near}?")),
            None => error,
        }
    })
}

fn column(name: &Name, schema: &SchemaRef, owner: &str) -> Result<usize> {
    schema.index_of(&name.value).map_err(|_| {
        let error = Error::user(format!("column \"{}\" does not exist in {owner}", name.value));
        let error = error.at(name.position.clone());
        match closest(&name.value, schema.fields().iter().map(|field| field.name().as_str())) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        }
    })
}
