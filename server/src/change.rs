//! What a statement that changes what runs makes of the pipeline, and what is wrong with it before anything is stopped.

use crate::compile::Pipeline;
use crate::sql_error::{NO_TABLE, NOT_SUPPORTED, SqlError, SqlResult};
use thalweg_pipelines::catalog::is_slo;
use thalweg_pipelines::{Change, Declaration, DeclarationKind, Program};
use thalweg_schemas::error::Error;
use thalweg_schemas::notification::NotificationKind;
use thalweg_schemas::suggest::closest;

/// `duplicate_table`
const TAKEN: &str = "42P07";
/// `dependent_objects_still_exist`
const IS_READ: &str = "2BP01";
/// `wrong_object_type`
const WRONG_KIND: &str = "42809";

/// A change that was made.
pub struct Done {
    /// How it is answered.
    pub tag: &'static str,
    /// What is worth a word all the same.
    pub notices: Vec<Error>,
}

/// What is allowed in `program` but worth a word, of what `change` creates.
pub(crate) fn notices(change: &Change, program: &Program) -> Vec<Error> {
    let Change::Create { name, .. } = change else { return Vec::new() };
    let quoted = format!("\"{name}\"");
    program.warnings.iter().filter(|warning| warning.message.contains(&quoted)).cloned().collect()
}

/// That there was nothing to do.
pub(crate) fn skipped(change: &Change) -> Error {
    let missing = |names: &[String]| Error::user(format!("\"{}\" does not exist, skipping", names.join("\", \"")));
    match change {
        Change::Create { name, .. } => Error::user(format!("\"{name}\" already exists, skipping")),
        Change::Drop { names, .. } => missing(names),
        Change::Rename { name, .. } => missing(std::slice::from_ref(name)),
    }
}

/// The tag of the answer.
pub(crate) fn tag_of(change: &Change) -> &'static str {
    match change {
        Change::Create { tag, .. } | Change::Drop { tag, .. } | Change::Rename { tag, .. } => tag,
    }
}

/// What a change makes of the pipeline.
pub(crate) struct Changed<'a> {
    /// The pipeline with it.
    pub pipeline: Pipeline,
    /// The objects whose rows go with it.
    pub allowed: Vec<String>,
    /// The old and the new name.
    pub renamed: Option<(&'a str, &'a str)>,
}

/// What `change` makes of `pipeline`; `None` where there is nothing to do.
pub(crate) fn changed<'a>(
    change: &'a Change,
    program: &Program,
    pipeline: &Pipeline,
) -> SqlResult<Option<Changed<'a>>> {
    Ok(Some(match change {
        Change::Create { name, tag, if_not_exists, or_replace, text } => {
            let declared = program.declaration(name);
            match declared.map(kind_of) {
                Some(_) if *if_not_exists => return Ok(None),
                Some(kind) if *or_replace && tag.strip_prefix("CREATE ") != Some(kind) => {
                    return Err(wrong_kind(name, kind, &format!("CREATE OR REPLACE {kind} {name}")));
                }
                Some(_) if !or_replace => return Err(taken(name)),
                _ => {}
            }
            let allowed = declared.map(|_| name.clone()).into_iter().collect();
            Changed { pipeline: with_created(pipeline, program, name, text), allowed, renamed: None }
        }
        Change::Drop { .. } => {
            let gone = to_drop(change, program, pipeline)?;
            if gone.is_empty() {
                return Ok(None);
            }
            Changed { pipeline: pipeline.with_dropped(&gone), allowed: gone, renamed: None }
        }
        Change::Rename { name, to, .. } => {
            if !can_be_renamed(change, program)? {
                return Ok(None);
            }
            let pipeline = pipeline.with_renamed(name, to);
            match program.declaration(name).map(|declaration| &declaration.kind) {
                // Whoever was told of its incidents knows them by its name: they end, and those of the new one begin.
                Some(DeclarationKind::Alert { .. }) => Changed { pipeline, allowed: vec![name.clone()], renamed: None },
                _ => Changed { pipeline, allowed: Vec::new(), renamed: Some((name, to)) },
            }
        }
    }))
}

/// `pipeline` with the statement `text`, which declares `name`, in the place of what has the name.
pub(crate) fn with_created(pipeline: &Pipeline, program: &Program, name: &str, text: &str) -> Pipeline {
    match program.declaration(name) {
        Some(_) => pipeline.with_dropped(&[name.to_string()]).with_created(text),
        None => pipeline.with_created(text),
    }
}

fn taken(name: &str) -> SqlError {
    SqlError::user(TAKEN, format!("\"{name}\" already exists")).with_hint("DROP it first, or take another name.")
}

/// What a `DROP` comes down to: the names, and with `CASCADE` those of all that reads them.
fn to_drop(change: &Change, program: &Program, pipeline: &Pipeline) -> SqlResult<Vec<String>> {
    let Change::Drop { names, tag, if_exists, cascade } = change else { return Ok(Vec::new()) };
    let mut gone = Vec::new();
    for name in names {
        let Some(declaration) = program.declaration(name) else {
            if *if_exists {
                continue;
            }
            return Err(unknown(name, program));
        };
        let kind = kind_of(declaration);
        if tag.strip_prefix("DROP ") != Some(kind) {
            return Err(wrong_kind(name, kind, &format!("DROP {kind} {name}")));
        }
        // An SLO is several relations, which go together.
        let statement = &declaration.ddl;
        let together = program.declarations.iter().filter(|other| kind == SLO && other.ddl == *statement);
        gone.extend(together.map(|other| other.name.clone()).filter(|other| other != name));
        gone.push(name.clone());
    }
    let mut readers: Vec<String> = Vec::new();
    for name in &gone {
        readers.extend(pipeline.readers(name));
    }
    readers.retain(|reader| !gone.contains(reader));
    readers.dedup();
    if !readers.is_empty() && !cascade {
        let listed = readers.iter().map(|reader| format!("\"{reader}\"")).collect::<Vec<_>>().join(", ");
        let mut error = SqlError::user(IS_READ, format!("\"{}\" cannot be dropped: it is read", gone.join("\", \"")));
        error.error = error.error.with_detail(format!("It is read by {listed}."));
        return Err(error.with_hint("Drop those first, or write CASCADE to drop them too."));
    }
    gone.extend(readers);
    Ok(gone)
}

/// Whether there is what is to have another name, and that name is free.
fn can_be_renamed(change: &Change, program: &Program) -> SqlResult<bool> {
    let Change::Rename { name, to, tag, if_exists } = change else { return Ok(false) };
    let Some(declaration) = program.declaration(name) else {
        return if *if_exists { Ok(false) } else { Err(unknown(name, program)) };
    };
    let kind = kind_of(declaration);
    if tag.strip_prefix("ALTER ") != Some(kind) {
        return Err(wrong_kind(name, kind, &format!("ALTER {kind} {name} RENAME TO {to}")));
    }
    if !matches!(kind, "SOURCE" | "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "SINK" | "ALERT") {
        let error = SqlError::user(NOT_SUPPORTED, format!("{} \"{name}\" cannot be renamed", kind.to_lowercase()));
        return Err(error.with_hint(format!(
            "Others know it by its name. CREATE {kind} {to} as \"{name}\" is, and DROP {kind} {name}."
        )));
    }
    if program.declaration(to).is_some() {
        return Err(taken(to));
    }
    Ok(true)
}

pub(crate) fn is_a_column_too(name: &str) -> SqlError {
    SqlError::user(NOT_SUPPORTED, format!("\"{name}\" cannot be renamed: a column would have another name, too"))
        .with_hint("Give that column an alias, or DROP and CREATE what is to have another name.")
}

/// The error that nothing has the name.
pub(crate) fn unknown(name: &str, program: &Program) -> SqlError {
    let error = SqlError::user(NO_TABLE, format!("\"{name}\" does not exist"));
    match closest(name, program.declarations.iter().map(|declaration| declaration.name.as_str())) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error,
    }
}

/// The error that something else has the name.
pub(crate) fn wrong_kind(name: &str, kind: &str, instead: &str) -> SqlError {
    let article = if kind.starts_with(['A', 'I']) || kind == SLO { "an" } else { "a" };
    let noun = if kind == SLO { kind.to_string() } else { kind.to_lowercase() };
    SqlError::user(WRONG_KIND, format!("\"{name}\" is {article} {noun}")).with_hint(format!("Write {instead}."))
}

const SLO: &str = "SLO";

/// What it is called in statements.
pub(crate) fn kind_of(declaration: &Declaration) -> &'static str {
    if is_slo(&declaration.ddl) {
        return SLO;
    }
    match declaration.kind {
        DeclarationKind::Source { .. } => "SOURCE",
        DeclarationKind::Table { .. } => "TABLE",
        DeclarationKind::Function => "FUNCTION",
        DeclarationKind::View { .. } => "VIEW",
        DeclarationKind::MaterializedView => "MATERIALIZED VIEW",
        DeclarationKind::Alert { .. } => "ALERT",
        DeclarationKind::Sink { .. } => "SINK",
        DeclarationKind::Notification(NotificationKind::Notifier) => "NOTIFIER",
        DeclarationKind::Notification(NotificationKind::Silence) => "SILENCE",
        DeclarationKind::Notification(NotificationKind::Inhibition) => "INHIBITION",
        DeclarationKind::Notification(NotificationKind::Calendar) => "CALENDAR",
    }
}

/// One error is what the protocols carry: the first, which says how many there are.
pub(crate) fn first_of(errors: Vec<Error>) -> SqlError {
    let more = errors.len().saturating_sub(1);
    let Some(first) = errors.into_iter().next() else { return Error::bug("no error was told").into() };
    if more == 0 {
        return first.into();
    }
    let detail = first.detail.clone().map_or_else(String::new, |detail| format!("{detail} "));
    first.with_detail(format!("{detail}There are {more} more errors.")).into()
}
