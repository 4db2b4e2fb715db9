//! Silences as Alertmanager's API has them, so that `amtool` and dashboards can make and end them:
//! `GET` and `POST /api/v2/silences`, `GET` and `DELETE /api/v2/silence/{id}`.

use super::problem::Problem;
use crate::live::Live;
use crate::notifications::none;
use crate::sql_error::SqlError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use thalweg_notify::notifications::Notifications;
use thalweg_notify::silence::Silence;
use thalweg_schemas::error::Error;

pub(super) fn notifications(live: &Live) -> Result<Arc<Notifications>, Problem> {
    live.sessions().relations().notifications.clone().ok_or_else(|| Problem(none()))
}

/// A silence with where it is in its life.
fn shown(silence: &Silence, now_ns: i64) -> Result<Value, Problem> {
    let fault = |error: serde_json::Error| Problem(Error::bug(format!("a silence: {error}")).into());
    let mut value = serde_json::to_value(silence).map_err(fault)?;
    value["status"] = json!({ "state": silence.phase(now_ns).name() });
    Ok(value)
}

/// All that are remembered.
pub async fn list(State(live): State<Arc<Live>>) -> Result<Response, Problem> {
    let notifications = notifications(&live)?;
    let now_ns = notifications.now_ns();
    let all = notifications.silences().iter().map(|silence| shown(silence, now_ns)).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(all).into_response())
}

/// Makes one, or changes the one whose id is given.
pub async fn make(State(live): State<Arc<Live>>, body: axum::body::Bytes) -> Result<Response, Problem> {
    let silence: Silence =
        serde_json::from_slice(&body).map_err(|error| Problem::request(format!("the body is no silence: {error}")))?;
    let silence = Silence { declared: false, ..silence };
    let id = change(notifications(&live)?, move |notifications| notifications.silence(silence)).await?;
    Ok(Json(json!({ "silenceID": id })).into_response())
}

/// One.
pub async fn one(State(live): State<Arc<Live>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let notifications = notifications(&live)?;
    match notifications.silences().iter().find(|silence| silence.id == id) {
        Some(silence) => Ok(Json(shown(silence, notifications.now_ns())?).into_response()),
        None => Ok(StatusCode::NOT_FOUND.into_response()),
    }
}

/// Ends one.
pub async fn end(State(live): State<Arc<Live>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let notifications = notifications(&live)?;
    if !notifications.silences().iter().any(|silence| silence.id == id) {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    change(notifications, move |notifications| notifications.expire(&id)).await?;
    Ok(StatusCode::OK.into_response())
}

/// Makes a change, which waits for the disk, on a thread that may.
pub(super) async fn change<T: Send + 'static, E: Into<SqlError> + From<Error> + Send + 'static>(
    notifications: Arc<Notifications>,
    change: impl FnOnce(&Notifications) -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || change(&notifications)).await;
    let done = done.unwrap_or_else(|error| Err(Error::bug(format!("a change of notifications: {error}")).into()));
    done.map_err(|error| Problem(error.into()))
}
