//! The notifications of a program: started with it, asked and changed through SQL and HTTP.

use crate::prepared::{Answer, Prepared, Work};
use crate::session::Session;
use crate::sql_error::{DUPLICATE, NO_OBJECT, NOT_SUPPORTED, SqlError, SqlResult};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_engine::clock::Clock;
use thalweg_engine::engine::Engine;
use thalweg_notify::config::Escalation;
use thalweg_notify::machine::acknowledgement::Acknowledgement;
use thalweg_notify::notifications::{Notifications, Surroundings};
use thalweg_notify::silence::Silence;
use thalweg_notify::statements::{Routes, SPEC, silence};
use thalweg_pipelines::{DeclarationKind, Program, fingerprint_of};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::notification::{NOTIFICATIONS, NotificationKind};
use thalweg_schemas::options::{GivenOption, Options};
use thalweg_schemas::sink::Sink;

/// What stays the same while what runs is changed.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the outbox; `None`: it does not outlive the process.
    pub folder: Option<PathBuf>,
    /// Where people find the engine.
    pub http: Option<SocketAddr>,
}

/// The notifications as the sink that the engine hands alert events to.
pub fn sinks(notifications: Option<&Arc<Notifications>>) -> BTreeMap<String, Arc<dyn Sink>> {
    notifications.map(|sink| (NOTIFICATIONS.to_string(), sink.clone() as Arc<dyn Sink>)).into_iter().collect()
}

/// Starts the notifications of a program, where it says anything about them.
pub fn start(program: &Program, place: &Place, clock: Arc<dyn Clock>) -> Result<Option<Arc<Notifications>>> {
    if program.notifications.is_empty() {
        return Ok(None);
    }
    let surroundings = Surroundings {
        clock: Arc::new(move || clock.now_ns()),
        folder: place.folder.clone(),
        external_url: place.http.map_or_else(|| "http://localhost".to_string(), |address| format!("http://{address}")),
    };
    let mut routes = Routes::default();
    for declaration in &program.declarations {
        if let DeclarationKind::Alert { notify, escalations, .. } = &declaration.kind {
            let steps = escalations.iter();
            let steps = steps.map(|step| Escalation { after_ns: step.after_ns, notifiers: step.notifiers.clone() });
            let rule = fingerprint_of(&program.dataflow, &declaration.name);
            routes.rules.extend(rule.map(|rule| (declaration.name.clone(), rule)));
            routes.notifiers.insert(declaration.name.clone(), notify.clone());
            routes.escalations.insert(declaration.name.clone(), steps.collect());
        }
    }
    Notifications::start(&program.notifications, routes, surroundings).map(Some)
}

/// Lets notifications see whether the engine, which was started after them, is at work.
pub fn watch(notifications: Option<&Arc<Notifications>>, engine: &Arc<Engine>) {
    if let Some(notifications) = notifications {
        // The engine holds its sinks: neither is to outlive the other by this.
        let engine = Arc::downgrade(engine);
        notifications.watch(move || engine.upgrade().map_or(0, |engine| engine.epoch().0));
    }
}

/// A change that a reader asks for.
#[derive(Clone, Debug)]
pub enum Change {
    /// `CREATE SILENCE name WITH (..)`
    CreateSilence(String, Vec<GivenOption>),
    /// `DROP SILENCE name`
    DropSilence(String),
    /// `ACKNOWLEDGE INCIDENT 'id'`
    Acknowledge(Acknowledgement),
}

impl Change {
    /// The column of the answer, which names what the change was about.
    fn column(&self) -> &'static str {
        match self {
            Change::CreateSilence(..) | Change::DropSilence(_) => "silence",
            Change::Acknowledge(_) => "incident_id",
        }
    }
}

/// A statement that makes a change when it is run.
pub fn prepare(text: &str, change: Change) -> Arc<Prepared> {
    let schema = Schema::new(vec![Field::new(change.column(), DataType::Utf8, false)]);
    Arc::new(Prepared {
        text: text.to_string(),
        work: Work::Notification(change),
        views: Vec::new(),
        parameters: Vec::new(),
        schema: Arc::new(schema),
        reads_history: false,
        as_of: None,
        generation: None,
    })
}

impl Session {
    /// Makes a change; one row names what it was about.
    pub(crate) fn notification(&self, wanted: &Change) -> SqlResult<Answer> {
        let relations = self.relations();
        let name: ArrayRef = Arc::new(StringArray::from(vec![change(relations.notifications.as_ref(), wanted)?]));
        let row = RecordBatch::try_from_iter_with_nullable([(wanted.column(), name, false)]).map_err(Error::from)?;
        Answer::of_row(relations.engine.epoch(), row)
    }
}

/// Makes a change; the answer is what it was about. It is durable on return.
pub fn change(notifications: Option<&Arc<Notifications>>, change: &Change) -> SqlResult<String> {
    let notifications = notifications.ok_or_else(none)?;
    match change {
        Change::CreateSilence(name, given) => create_silence(notifications, name, given),
        Change::DropSilence(name) => drop_silence(notifications, name).map(|()| name.clone()),
        Change::Acknowledge(acknowledgement) => acknowledge(notifications, acknowledgement.clone()),
    }
}

/// What is to be said where nothing notifies.
pub fn none() -> SqlError {
    SqlError::user(NOT_SUPPORTED, "the pipeline has no notifiers, so nobody is told of anything")
        .with_hint("Declare one in it: CREATE NOTIFIER ops WITH (type = 'webhook', url = '...').")
}

/// Makes the silence of `CREATE SILENCE name WITH (..)` on a running engine; it lasts from now where no start is given.
fn create_silence(notifications: &Notifications, name: &str, given: &[GivenOption]) -> SqlResult<String> {
    let specs = (SPEC.options)(NotificationKind::Silence, "");
    let options =
        Options::check(&specs, given, &format!("silence \"{name}\"")).map_err(|mut errors| errors.remove(0))?;
    let silence = silence(name, &options, notifications.now_ns())?;
    if let Some(known) = find(notifications, name).filter(|known| known.ends_at_ns > notifications.now_ns()) {
        let error = SqlError::user(DUPLICATE, format!("silence \"{}\" exists already", known.id));
        return Err(error.with_hint("DROP SILENCE ends it; or take another name."));
    }
    Ok(notifications.silence(silence)?)
}

/// Ends the silence of that name.
fn drop_silence(notifications: &Notifications, name: &str) -> SqlResult<()> {
    if find(notifications, name).is_none() {
        return Err(SqlError::user(NO_OBJECT, format!("silence \"{name}\" does not exist"))
            .with_hint("SHOW SILENCES lists those that there are."));
    }
    Ok(notifications.expire(name)?)
}

/// Says that somebody takes care of an incident; the answer is its id.
pub fn acknowledge(notifications: &Notifications, acknowledgement: Acknowledgement) -> SqlResult<String> {
    let incident = acknowledgement.incident_id.clone();
    if !notifications.is_open(&incident) {
        return Err(SqlError::user(NO_OBJECT, format!("incident \"{incident}\" does not exist, or is over"))
            .with_hint(
                "SELECT incident_id, alert, key FROM thalweg.alerts WHERE state = 'firing' lists those that go on.",
            ));
    }
    notifications.acknowledge(acknowledgement)?;
    Ok(incident)
}

fn find(notifications: &Notifications, name: &str) -> Option<Silence> {
    notifications.silences().into_iter().find(|silence| silence.id == name)
}
