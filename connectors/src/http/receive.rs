//! One request, from its first line to its answer.

use super::answer::{Refused, Taken};
use super::body;
use super::inbox::Inbox;
use super::listener::Routes;
use super::records::records;
use super::repeats::{Fate, Seen};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// The header that tells a request from others, and its repetitions from it.
const KEY: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 255;

/// Answers any request.
pub(super) async fn receive(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let path = request.uri().path();
    let Some(inbox) = routes.find(path) else {
        return Refused::new(StatusCode::NOT_FOUND, format!("no source takes records at {path}")).into_response();
    };
    match take(&inbox, request).await {
        Ok(taken) => taken.into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn take(inbox: &Arc<Inbox>, request: Request) -> Result<Taken, Refused> {
    authorize(inbox, request.headers())?;
    if request.method() != Method::POST {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "records are taken by POST"));
    }
    let key = key(request.headers())?.map(str::to_string);
    // Before that a repetition would not be known.
    let begun = tokio::time::timeout(inbox.options.timeout, inbox.begun().wait_for(|begun| *begun)).await.is_ok();
    if !begun {
        return Err(Refused::closing());
    }
    match key.as_deref().map(|key| inbox.look(key)) {
        None => first(inbox, request, None, watch::channel(None).0).await,
        Some(Seen::First(fate)) => first(inbox, request, key, fate).await,
        Some(Seen::Before(fate)) => {
            let rows = told(inbox, fate).await?.ok_or_else(Refused::unknown)?;
            Ok(Taken { rows, repeated: true })
        }
    }
}

/// Takes the records of a request that has not been seen before, and waits until they are durable.
async fn first(
    inbox: &Arc<Inbox>,
    request: Request,
    key: Option<String>,
    fate: watch::Sender<Fate>,
) -> Result<Taken, Refused> {
    let (head, body) = request.into_parts();
    let (bytes, reservation) = body::read(inbox, &head.headers, body).await?;
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let post = tokio::task::block_in_place(|| records(&inbox.options, content_type, bytes))?;
    if post.rows == 0 {
        fate.send_replace(Some(0));
        return Ok(Taken { rows: 0, repeated: false });
    }
    let receiver = fate.subscribe();
    let Some(end) = inbox.put(post, key, reservation, fate) else { return Err(Refused::closing()) };
    match told(inbox, receiver).await? {
        Some(rows) => Ok(Taken { rows, repeated: false }),
        None if inbox.withdraw(end) => Err(Refused::busy()),
        None => Err(Refused::unknown()),
    }
}

/// Waits for what becomes of a request's records; `None` where that is not known in time.
async fn told(inbox: &Arc<Inbox>, mut fate: watch::Receiver<Fate>) -> Result<Option<usize>, Refused> {
    match tokio::time::timeout(inbox.options.timeout, fate.wait_for(Option::is_some)).await {
        Ok(Ok(rows)) => Ok(Some(rows.unwrap_or_default())),
        Ok(Err(_)) if inbox.is_closed() => Err(Refused::closing()),
        // Of a repetition: the first request was refused, or withdrawn.
        Ok(Err(_)) => Err(Refused::busy()),
        Err(_) => Ok(None),
    }
}

fn authorize(inbox: &Inbox, headers: &HeaderMap) -> Result<(), Refused> {
    let Some(token) = &inbox.options.token else { return Ok(()) };
    let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let (scheme, rest) = given.split_at(given.len().min("bearer ".len()));
    let borne = scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii());
    // How long it takes must not tell how much of the token was right.
    if borne.is_some_and(|borne| bool::from(borne.ct_eq(token.as_bytes()))) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::UNAUTHORIZED, "the request bears no token, or not the right one")
        .with_hint("Send the header 'Authorization: Bearer ...' with the token of the source."))
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key)),
        _ => Err(Refused::new(
            StatusCode::BAD_REQUEST,
            format!("Idempotency-Key takes 1 to {KEY_BYTES_MAX} printable ASCII characters"),
        )),
    }
}
