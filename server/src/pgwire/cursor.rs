//! Cursors: a query or a subscription that is read a few rows at a time.

use super::answer;
use super::connection::Connection;
use super::errors;
use crate::subscription::{Changes, Heard};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use pgwire::error::{PgWireError, PgWireResult};
use std::collections::VecDeque;
use std::time::Duration;

/// How many rows `FETCH ALL` of a subscription hands over at most; the rest comes with the next one.
const FETCH_ROWS_MAX: usize = 1 << 20;

/// An open cursor.
pub struct Cursor {
    /// Its columns.
    pub schema: SchemaRef,
    ready: VecDeque<RecordBatch>,
    within_epoch: bool,
    source: Source,
}

enum Source {
    Query(SendableRecordBatchStream, String),
    Changes(Changes),
    Ended,
}

impl Cursor {
    /// A cursor over the answer to the query `text`.
    pub fn over_query(rows: SendableRecordBatchStream, text: String) -> Cursor {
        Cursor { schema: rows.schema(), ready: VecDeque::new(), within_epoch: false, source: Source::Query(rows, text) }
    }

    /// A cursor over a subscription.
    pub fn over_changes(changes: Changes) -> Cursor {
        Cursor {
            schema: changes.schema.clone(),
            ready: VecDeque::new(),
            within_epoch: false,
            source: Source::Changes(changes),
        }
    }

    /// The next rows, `wanted` at most. Of a subscription: waits for a change, then hands over what has come, whole
    /// epochs as far as `wanted` allows; with `patience` nothing, where no change comes for so long.
    pub async fn fetch(
        &mut self,
        connection: &Connection,
        wanted: Option<usize>,
        patience: Option<Duration>,
    ) -> PgWireResult<Vec<RecordBatch>> {
        let until = patience.and_then(|patience| tokio::time::Instant::now().checked_add(patience));
        let wanted = wanted.unwrap_or(match self.source {
            Source::Changes(_) => FETCH_ROWS_MAX,
            Source::Query(..) | Source::Ended => usize::MAX,
        });
        while self.ready_rows() < wanted {
            let more = match &mut self.source {
                Source::Ended => false,
                Source::Query(rows, text) => match rows.next().await {
                    Some(Ok(batch)) => {
                        self.ready.push_back(batch);
                        true
                    }
                    Some(Err(error)) => return Err(answer::explained(connection.session()?.as_ref(), &error, text)),
                    None => {
                        self.source = Source::Ended;
                        false
                    }
                },
                // What was heard is kept, so it does no harm to stop listening.
                Source::Changes(_) => match until {
                    Some(until) => tokio::time::timeout_at(until, self.listen()).await.unwrap_or(Ok(false))?,
                    None => self.listen().await?,
                },
            };
            if !more {
                break;
            }
        }
        Ok(self.take(wanted))
    }

    /// Hears one event; whether to go on listening. Waits while there is nothing to hand over, and within an epoch.
    async fn listen(&mut self) -> PgWireResult<bool> {
        let Source::Changes(changes) = &mut self.source else { return Ok(false) };
        let heard = if self.ready.is_empty() || self.within_epoch {
            changes.next().await
        } else {
            let Some(heard) = changes.try_next() else { return Ok(false) };
            Some(heard)
        };
        match heard {
            Some(Ok(Heard::Changes(batch))) => {
                self.within_epoch = true;
                self.ready.push_back(batch);
                Ok(true)
            }
            Some(Ok(Heard::Progress(_))) => {
                self.within_epoch = false;
                Ok(true)
            }
            Some(Err(error)) => {
                self.source = Source::Ended;
                Err(errors::plain(error.into()))
            }
            None => {
                self.source = Source::Ended;
                Ok(false)
            }
        }
    }

    fn ready_rows(&self) -> usize {
        self.ready.iter().map(RecordBatch::num_rows).sum()
    }

    fn take(&mut self, mut wanted: usize) -> Vec<RecordBatch> {
        let mut taken = Vec::new();
        while wanted > 0
            && let Some(batch) = self.ready.pop_front()
        {
            if batch.num_rows() > wanted {
                self.ready.push_front(batch.slice(wanted, batch.num_rows() - wanted));
                taken.push(batch.slice(0, wanted));
                break;
            }
            wanted -= batch.num_rows();
            taken.push(batch);
        }
        taken
    }
}

/// There is no cursor of this name.
pub fn missing(name: &str) -> PgWireError {
    let error =
        crate::sql_error::SqlError::user(crate::sql_error::NO_CURSOR, format!("cursor \"{name}\" does not exist"));
    errors::plain(error.with_hint("DECLARE it first; it lives until CLOSE, or the end of the connection."))
}
