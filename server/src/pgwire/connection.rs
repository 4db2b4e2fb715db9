//! What belongs to one connection: its session, its cursors, its way of being cancelled.

use super::cancel::Cancel;
use super::cursor::Cursor;
use crate::session::Session;
use pgwire::api::ClientInfo;
use pgwire::error::{PgWireError, PgWireResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The state of a connection, kept with it.
pub struct Connection {
    /// Its session.
    pub session: Session,
    /// Its open cursors, by name.
    pub cursors: Mutex<BTreeMap<String, Cursor>>,
    /// How it is cancelled.
    pub cancel: Cancel,
}

/// The connection of a client that has got through its start.
pub fn of<C: ClientInfo + ?Sized>(client: &C) -> PgWireResult<Arc<Connection>> {
    client.session_extensions().get::<Connection>().ok_or(PgWireError::NotReadyForQuery)
}
