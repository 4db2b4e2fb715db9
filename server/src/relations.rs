//! What SQL over a running engine can name: its views, the history of its sinks, and the system tables.

use crate::system_tables;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_connectors::objects::{self, is_url};
use thalweg_engine::engine::Engine;
use thalweg_engine::view::Snapshot;
use thalweg_notify::notifications::Notifications;
use thalweg_operators::plan::Plan;
use thalweg_pipelines::query::{AllTime, PUBLIC, Pieces, Pinned, SYSTEM, know_store};
use thalweg_pipelines::{Declaration, DeclarationKind, Program};
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;

/// A running engine as SQL sees it. Shared by all sessions.
pub struct Relations {
    /// The engine.
    pub engine: Arc<Engine>,
    /// What it runs.
    pub program: Arc<Program>,
    /// The name of what runs.
    pub pipeline: String,
    /// Who is told of its alerts, where it says so.
    pub notifications: Option<Arc<Notifications>>,
}

impl Relations {
    /// What `name` in the public schema is, unless it is a source.
    fn public(&self, name: &str) -> Option<&Declaration> {
        self.program.declaration(name).filter(|declaration| match &declaration.kind {
            DeclarationKind::View { .. }
            | DeclarationKind::MaterializedView
            | DeclarationKind::Table { .. }
            | DeclarationKind::Alert { .. } => true,
            DeclarationKind::Sink { history, .. } => history.is_some(),
            DeclarationKind::Source { .. } | DeclarationKind::Function | DeclarationKind::Notification(_) => false,
        })
    }

    /// The names of schema `schema`.
    pub fn names(&self, schema: &str) -> Vec<String> {
        match schema {
            PUBLIC => {
                let declared = self.program.declarations.iter().map(|declaration| declaration.name.clone());
                declared.filter(|name| self.public(name).is_some()).collect()
            }
            SYSTEM => system_tables::names(),
            _ => Vec::new(),
        }
    }

    /// The columns of a relation.
    pub fn schema_of(&self, schema: &str, table: &str) -> Option<SchemaRef> {
        match schema {
            PUBLIC => Some(self.public(table)?.schema.clone()),
            SYSTEM => system_tables::schema_of(table),
            _ => None,
        }
    }

    /// Whether a relation is a plain view.
    pub fn is_plain_view(&self, schema: &str, table: &str) -> bool {
        schema == PUBLIC
            && self.public(table).is_some_and(|declaration| matches!(declaration.kind, DeclarationKind::View { .. }))
    }

    /// Whether `table` is a view that the engine keeps.
    pub fn is_materialized(&self, table: &str) -> bool {
        self.public(table).is_some_and(|declaration| declaration.kind.is_kept())
    }
}

/// Makes the object stores known in which sinks of `program` keep their history, so that it can be queried.
pub fn know_stores(program: &Program) -> Result<()> {
    for declaration in &program.declarations {
        if let DeclarationKind::Sink { history: Some(place), .. } = &declaration.kind
            && is_url(place)
        {
            let (url, store, _) = objects::bucket(place)?;
            know_store(&url, store)?;
        }
    }
    Ok(())
}

/// The relations as one session reads them: pinned anew for every statement, so that all views in a statement answer
/// as of one epoch, while plans made for an earlier statement stay usable.
pub struct SessionRelations {
    relations: Arc<Relations>,
    pinned: Mutex<BTreeMap<String, Snapshot>>,
}

impl SessionRelations {
    /// Relations with nothing pinned.
    pub fn new(relations: Arc<Relations>) -> SessionRelations {
        SessionRelations { relations, pinned: Mutex::default() }
    }

    /// Pins `views` as of one common epoch, which is the answer: `as_of`, or the engine's last; lets go of what was
    /// pinned before.
    pub fn pin(&self, views: &[&str], as_of: Option<Epoch>) -> Result<Epoch> {
        let names: Vec<&str> = views.iter().copied().filter(|view| self.relations.is_materialized(view)).collect();
        let mut pinned = BTreeMap::new();
        let mut epoch = None;
        if !names.is_empty() {
            let engine = &self.relations.engine;
            let snapshots =
                as_of.map_or_else(|| engine.snapshots(&names), |epoch| engine.snapshots_as_of(&names, epoch));
            for (name, snapshot) in names.iter().zip(snapshots?) {
                epoch = Some(snapshot.epoch);
                pinned.insert(name.to_string(), snapshot);
            }
        }
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = pinned;
        Ok(epoch.unwrap_or_else(|| self.relations.engine.epoch()))
    }

    /// Lets go of the rows that the last statement read.
    pub fn unpin(&self) {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn snapshot(&self, view: &str) -> Result<Snapshot> {
        if let Some(snapshot) = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(view) {
            return Ok(snapshot.clone());
        }
        let mut snapshots = self.relations.engine.snapshots(&[view])?;
        snapshots.pop().ok_or_else(|| thalweg_schemas::error::Error::bug(format!("view \"{view}\" has no snapshot")))
    }
}

impl fmt::Debug for SessionRelations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRelations").field("pipeline", &self.relations.pipeline).finish_non_exhaustive()
    }
}

impl Pinned for SessionRelations {
    fn schemas(&self) -> Vec<String> {
        vec![PUBLIC.to_string(), SYSTEM.to_string()]
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        self.relations.names(schema)
    }

    fn schema_of(&self, schema: &str, table: &str) -> Option<SchemaRef> {
        self.relations.schema_of(schema, table)
    }

    fn streams(&self, schema: &str, table: &str) -> bool {
        schema == SYSTEM && system_tables::is_archive(table)
    }

    fn stream(&self, _schema: &str, table: &str) -> Result<Pieces> {
        system_tables::pieces_of(table, &self.relations.engine)
    }

    fn scan(&self, schema: &str, table: &str) -> Result<Vec<RecordBatch>> {
        if schema == SYSTEM {
            let facts = system_tables::facts(table, &self.relations);
            return Ok(system_tables::rows_of(table, &facts).into_iter().collect());
        }
        Ok(self.snapshot(table)?.batches)
    }

    fn history(&self, schema: &str, table: &str) -> Option<String> {
        match &self.relations.public(table).filter(|_| schema == PUBLIC)?.kind {
            DeclarationKind::Sink { history, .. } => history.clone(),
            _ => None,
        }
    }

    fn all_time(&self, view: &str) -> Option<AllTime> {
        let Program { dataflow, declarations, .. } = &*self.relations.program;
        let view = dataflow.views.iter().find(|plan| plan.name == view)?;
        let reads_it = |plan: &Plan| matches!(plan, Plan::View { name, .. } if *name == view.name);
        let has_history = |name: &str| {
            declarations
                .iter()
                .any(|d| d.name == name && matches!(&d.kind, DeclarationKind::Sink { history: Some(_), .. }))
        };
        let sink = dataflow.sinks.iter().find(|sink| reads_it(&sink.plan) && has_history(&sink.name))?;
        let schema = view.plan.schema();
        let key = view.key.as_ref().map(|key| key.iter().map(|at| schema.field(*at).name().clone()).collect());
        Some(AllTime { sink: sink.name.clone(), key })
    }

    fn query_of(&self, schema: &str, table: &str) -> Option<String> {
        match &self.relations.public(table).filter(|_| schema == PUBLIC)?.kind {
            DeclarationKind::View { query } => Some(query.clone()),
            _ => None,
        }
    }
}
