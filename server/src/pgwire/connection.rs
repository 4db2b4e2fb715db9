//! What belongs to one connection: its session, its cursors, its way of being cancelled.

use super::cancel::Cancel;
use super::copy_in::CopyIn;
use super::cursor::Cursor;
use super::errors;
use crate::session::Session;
use pgwire::api::ClientInfo;
use pgwire::error::{PgWireError, PgWireResult};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tokio::sync::Mutex;

/// The state of a connection, kept with it.
pub struct Connection {
    session: std::sync::Mutex<Arc<Session>>,
    /// Its open cursors, by name.
    pub cursors: Mutex<BTreeMap<String, Cursor>>,
    /// The rows that it is sending, for `COPY FROM STDIN`.
    pub copy_in: Mutex<Option<CopyIn>>,
    /// How it is cancelled.
    pub cancel: Cancel,
}

impl Connection {
    /// A connection with its first session.
    pub fn new(session: Session, cancel: Cancel) -> Connection {
        let session = std::sync::Mutex::new(Arc::new(session));
        Connection { session, cursors: Mutex::default(), copy_in: Mutex::default(), cancel }
    }

    /// Its session: another one when what runs has changed.
    pub fn session(&self) -> PgWireResult<Arc<Session>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = session.successor().map_err(errors::plain)? {
            *session = Arc::new(next);
        }
        Ok(session.clone())
    }
}

/// The connection of a client that has got through its start.
pub fn of<C: ClientInfo + ?Sized>(client: &C) -> PgWireResult<Arc<Connection>> {
    client.session_extensions().get::<Connection>().ok_or(PgWireError::NotReadyForQuery)
}
