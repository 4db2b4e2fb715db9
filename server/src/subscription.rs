//! A subscription as readers get it: the changes of a view as rows with `_epoch` and `_diff` in front.

use crate::relations::Relations;
use crate::session::{Session, Sessions};
use crate::sql_error::{NO_TABLE, NOT_SUPPORTED, SqlError, SqlResult};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_plan::PhysicalExpr;
use std::sync::Arc;
use std::time::Duration;
use thalweg_engine::view::{Begin, Event, Subscription};
use thalweg_pipelines::{Subscribe, fingerprint_of};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::suggest::closest;
use tokio::sync::mpsc;

/// How many batches may wait for a slow reader here; behind that the engine's own limit counts.
const WAITING_MAX: usize = 64;
/// How often a subscription without news looks whether its reader is still there.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What a reader hears.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Changes of one epoch, `_epoch` and `_diff` first.
    Changes(RecordBatch),
    /// Everything up to this epoch has been heard.
    Progress(Epoch),
}

/// A running subscription. Dropping it ends it.
pub struct Changes {
    /// The columns, `_epoch` and `_diff` first.
    pub schema: SchemaRef,
    heard: mpsc::Receiver<Result<Heard>>,
}

impl Changes {
    /// What comes next; `None` once the run has ended.
    pub async fn next(&mut self) -> Option<Result<Heard>> {
        self.heard.recv().await
    }

    /// What has come already.
    pub fn try_next(&mut self) -> Option<Result<Heard>> {
        self.heard.try_recv().ok()
    }
}

/// The columns of a subscription.
pub fn schema_of(session: &Session, request: &Subscribe) -> SqlResult<SchemaRef> {
    let (relations, view) = (session.relations(), request.view.as_str());
    if !relations.is_materialized(view) {
        if relations.schema_of("public", view).is_some() {
            return Err(SqlError::user(NOT_SUPPORTED, format!("\"{view}\" is no materialized view"))
                .with_hint("Only materialized views tell their changes: CREATE MATERIALIZED VIEW."));
        }
        let names = relations.names("public");
        let error = SqlError::user(NO_TABLE, format!("view \"{view}\" does not exist"));
        return Err(match closest(view, names.iter().map(String::as_str)) {
            Some(name) => error.with_hint(format!("Did you mean \"{name}\"?")),
            None => error.with_hint("SHOW VIEWS lists what there is."),
        });
    }
    let columns = relations.schema_of("public", view).unwrap_or_else(|| Arc::new(Schema::empty()));
    Ok(with_change(&columns, request.progress))
}

/// With progress there are rows that tell of no row: their columns are NULL.
fn with_change(columns: &Schema, progress: bool) -> SchemaRef {
    let change = ["_epoch", "_diff"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
    let nullable = |field: &Arc<Field>| match progress {
        true => Arc::new(field.as_ref().clone().with_nullable(true)),
        false => field.clone(),
    };
    Arc::new(Schema::new(change.into_iter().chain(columns.fields().iter().map(nullable)).collect::<Vec<_>>()))
}

/// Begins to listen.
pub fn subscribe(session: &Session, request: &Subscribe) -> SqlResult<Changes> {
    let schema = schema_of(session, request)?;
    let filter = request.filter.as_deref().map(|filter| condition(session, &request.view, filter)).transpose()?;
    let begin = Begin { after: request.as_of.map(Epoch), snapshot: request.snapshot };
    let subscription = session.relations().engine.subscribe(&request.view, begin)?;
    let (tx, heard) = mpsc::channel(WAITING_MAX);
    let (view, sessions) = (request.view.clone(), session.sessions().clone());
    let listener = Listener { view, filter, progress: request.progress, schema: schema.clone() };
    tokio::task::spawn_blocking(move || listener.listen(sessions, subscription, &tx));
    Ok(Changes { schema, heard })
}

/// The text of a condition over a view's columns as an expression.
fn condition(session: &Session, view: &str, text: &str) -> SqlResult<Arc<dyn PhysicalExpr>> {
    let columns = session.relations().schema_of("public", view).unwrap_or_else(|| Arc::new(Schema::empty()));
    let compile = || {
        let columns = DFSchema::try_from(columns.as_ref().clone())?;
        let state = session.state();
        let logical = state.create_logical_expr(text, &columns)?;
        state.create_physical_expr(logical, &columns)
    };
    let expression = compile().map_err(|error| session.explain(&error, text))?;
    match expression.data_type(&columns) {
        Ok(DataType::Boolean) => Ok(expression),
        _ => Err(SqlError::user("42804", format!("condition \"{text}\" is not true or false"))),
    }
}

/// Turns the engine's events into what readers hear, on a thread that may wait.
struct Listener {
    view: String,
    filter: Option<Arc<dyn PhysicalExpr>>,
    progress: bool,
    schema: SchemaRef,
}

impl Listener {
    fn listen(&self, mut sessions: Arc<Sessions>, mut subscription: Subscription, tx: &mpsc::Sender<Result<Heard>>) {
        let mut told = Epoch(0);
        while !tx.is_closed() {
            let Some(event) = subscription.next(LOOK_UP) else { continue };
            if let Ok(Event::Progress(epoch)) = &event {
                told = *epoch;
            }
            let heard = match event {
                Ok(Event::Ended) => match self.go_on(&sessions, told).transpose() {
                    None => return,
                    Some(Ok((next, further))) => {
                        (sessions, subscription) = (next, further);
                        Ok(None)
                    }
                    Some(Err(error)) => Err(error),
                },
                // The row is sent like any other; that nothing more comes for now is said behind it.
                Ok(Event::Progress(epoch)) if self.progress => match self.progress(epoch) {
                    Ok(row) => match tx.blocking_send(Ok(row)) {
                        Ok(()) => Ok(Some(Heard::Progress(epoch))),
                        Err(_gone) => return,
                    },
                    Err(error) => Err(error),
                },
                Ok(Event::Progress(epoch)) => Ok(Some(Heard::Progress(epoch))),
                Ok(Event::Changes(epoch, batch)) => self.changes(epoch, &batch),
                Err(error) => Err(error),
            };
            let failed = heard.is_err();
            if let Some(heard) = heard.transpose()
                && tx.blocking_send(heard).is_err()
            {
                return;
            }
            if failed {
                return;
            }
        }
    }

    /// The subscription to the same view of the engine that took the place of the one that ended; `None`: none did.
    fn go_on(&self, before: &Arc<Sessions>, told: Epoch) -> Result<Option<(Arc<Sessions>, Subscription)>> {
        let Some(next) = before.live().and_then(|live| live.after(before)) else { return Ok(None) };
        let (old, new) = (before.relations(), next.relations());
        let of = |relations: &Relations| fingerprint_of(&relations.program.dataflow, &self.view);
        let changed = |what: &str| {
            Error::user(format!("view \"{}\" {what}, so the subscription to it ends", self.view))
                .with_hint("Subscribe again, with a snapshot.")
        };
        let after = match (of(old), of(new)) {
            (_, None) => return Err(changed("was dropped")),
            // Between the last epoch of the one engine and the first of the other nothing happened.
            (was, is) if was == is && told.0 + 1 >= new.engine.began_after().0 => new.engine.began_after().max(told),
            _ => return Err(changed("was changed")),
        };
        let subscription = new.engine.subscribe(&self.view, Begin { after: Some(after), snapshot: false })?;
        Ok(Some((next, subscription)))
    }

    /// A row with `_diff` 0 and no values.
    fn progress(&self, epoch: Epoch) -> Result<Heard> {
        let number = |n: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![n])) };
        let nulls = self.schema.fields().iter().skip(2).map(|field| new_null_array(field.data_type(), 1));
        let columns = [number(epoch.0 as i64), number(0)].into_iter().chain(nulls).collect();
        Ok(Heard::Changes(RecordBatch::try_new(self.schema.clone(), columns)?))
    }

    fn changes(&self, epoch: Epoch, batch: &Batch) -> Result<Option<Heard>> {
        let kept = match &self.filter {
            None => batch.clone(),
            Some(filter) => {
                let outcome = filter.evaluate(&batch.rows).and_then(|value| value.into_array(batch.num_rows()));
                let keep = outcome.map_err(|error| Error::data(format!("condition: {error}")))?;
                batch.filter(keep.as_boolean())?
            }
        };
        if kept.is_empty() {
            return Ok(None);
        }
        let rows = kept.num_rows();
        let epochs: ArrayRef = Arc::new(Int64Array::from_value(epoch.0 as i64, rows));
        let diffs: ArrayRef = match &kept.diffs {
            Some(diffs) => Arc::new(diffs.clone()),
            None => Arc::new(Int64Array::from_value(1, rows)),
        };
        debug_assert_eq!(diffs.len(), rows);
        let columns = [epochs, diffs].into_iter().chain(kept.rows.columns().iter().cloned()).collect();
        Ok(Some(Heard::Changes(RecordBatch::try_new(self.schema.clone(), columns)?)))
    }
}
