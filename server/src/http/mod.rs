//! HTTP: SQL, subscriptions as server-sent events, health, metrics, and a console for people.

mod format;
mod incidents;
mod metrics;
mod problem;
mod silences;
mod sql;
mod subscribe;

use crate::live::Live;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::net::TcpListener;

/// How many bytes a posted query may have.
const BODY_MAX: usize = 4 << 20;

/// Serves requests until the process ends.
pub async fn serve(listener: TcpListener, live: Arc<Live>) {
    if let Err(error) = axum::serve(listener, router(live)).await {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

/// All addresses.
fn router(live: Arc<Live>) -> Router {
    Router::new()
        .route("/", get(console))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/sql", post(sql::post))
        .route("/api/v1/subscribe", get(subscribe::get))
        .route("/api/v1/incidents/{id}/acknowledge", post(incidents::acknowledge))
        .route("/api/v2/silences", get(silences::list).post(silences::make))
        .route("/api/v2/silence/{id}", get(silences::one).delete(silences::end))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(live)
}

async fn console() -> Html<&'static str> {
    Html(include_str!("console.html"))
}

async fn ready(State(live): State<Arc<Live>>) -> Response {
    if live.is_over() {
        (StatusCode::SERVICE_UNAVAILABLE, "ended\n").into_response()
    } else {
        "ready\n".into_response()
    }
}

async fn metrics(State(live): State<Arc<Live>>) -> Response {
    let text = metrics::render(&live.engine().status());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
