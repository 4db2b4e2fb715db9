//! Incidents over HTTP: `POST /api/v1/incidents/{id}/acknowledge`, for a button in a chat.

use super::problem::Problem;
use super::silences::{change, notifications};
use crate::live::Live;
use crate::notifications::acknowledge as accept;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use thalweg_notify::machine::acknowledgement::Acknowledgement;

/// What may be said with it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    author: String,
    comment: String,
}

/// Somebody takes care of an incident.
pub async fn acknowledge(
    State(live): State<Arc<Live>>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Response, Problem> {
    let Body { author, comment } = match body.is_empty() {
        true => Body::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| Problem::request(format!("the body is no acknowledgement: {error}")))?,
    };
    let acknowledgement = Acknowledgement { incident_id: id, author, comment };
    let id = change(notifications(&live)?, move |notifications| accept(notifications, acknowledgement)).await?;
    Ok(Json(json!({ "incident_id": id })).into_response())
}
