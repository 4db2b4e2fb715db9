//! `GET /api/v1/subscribe`: the changes of a view as server-sent events.

use super::format::{Body as Rows, Format};
use super::problem::Problem;
use crate::live::Live;
use crate::subscription::{Changes, Heard, subscribe};
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use thalweg_pipelines::Subscribe;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;

/// What may stand behind the question mark.
#[derive(Deserialize)]
pub struct Wanted {
    view: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    #[serde(default)]
    snapshot: bool,
    as_of: Option<u64>,
}

/// Begins to tell.
pub async fn get(
    State(live): State<Arc<Live>>,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let view = wanted.view.ok_or_else(|| Problem::request("no view is named: ?view=.."))?;
    let Wanted { filter, as_of, snapshot, .. } = wanted;
    // Progress is an event of its own here.
    let request = Subscribe { view, filter, as_of, snapshot, progress: false };
    let sessions = live.sessions();
    let session = sessions.borrow()?;
    let changes = subscribe(&session, &request);
    sessions.give_back(session);
    Ok(Sse::new(events(changes?)?).keep_alive(KeepAlive::default()))
}

/// `change` for each row, `progress` for each complete epoch, `end` once the run has ended.
fn events(changes: Changes) -> Result<impl Stream<Item = Result<Event, Infallible>>, Problem> {
    let mut body =
        Rows::new(Format::Ndjson, &changes.schema, Epoch(0)).map_err(|error| Problem(Error::from(error).into()))?;
    let heard = stream::unfold(Some(changes), |changes| async {
        let mut changes = changes?;
        match changes.next().await {
            Some(heard) => Some((Some(heard), Some(changes))),
            None => Some((None, None)),
        }
    });
    let events = heard.flat_map(move |heard| {
        let events = match heard {
            None => vec![Event::default().event("end").data("{}")],
            Some(Ok(Heard::Progress(epoch))) => {
                vec![Event::default().event("progress").id(epoch.to_string()).data(format!("{{\"_epoch\":{epoch}}}"))]
            }
            Some(Ok(Heard::Changes(batch))) => match body.piece(&batch) {
                Ok(lines) => {
                    let lines = String::from_utf8_lossy(&lines);
                    lines.lines().map(|line| Event::default().event("change").data(line)).collect()
                }
                Err(error) => vec![failed(&error.into())],
            },
            Some(Err(error)) => vec![failed(&error)],
        };
        stream::iter(events.into_iter().map(Ok))
    });
    Ok(events)
}

fn failed(error: &Error) -> Event {
    let told = serde_json::json!({ "message": error.message, "detail": error.detail, "hint": error.hint });
    Event::default().event("error").data(told.to_string())
}
