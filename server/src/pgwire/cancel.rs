//! Cancelling: a client asks on a second connection for the statement of the first to end.

use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::SecretKey;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::watch;

/// The connections that can be asked, by what they were told at their start.
#[derive(Default)]
pub struct Cancels {
    connections: Mutex<BTreeMap<(i32, Vec<u8>), Weak<watch::Sender<u64>>>>,
}

/// One connection's ear for it.
#[derive(Clone)]
pub struct Cancel {
    asked: Arc<watch::Sender<u64>>,
}

impl Cancels {
    /// Makes the connection with this key one that can be asked; forgets those that are gone.
    pub fn register(&self, pid: i32, secret: &SecretKey) -> Cancel {
        let asked = Arc::new(watch::Sender::new(0));
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|_, connection| connection.strong_count() > 0);
        connections.insert((pid, secret.to_bytes().to_vec()), Arc::downgrade(&asked));
        Cancel { asked }
    }

    /// Asks the connection with this key, if there is one.
    pub fn ask(&self, pid: i32, secret: &SecretKey) {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = connections.get(&(pid, secret.to_bytes().to_vec())).and_then(Weak::upgrade) {
            asked.send_modify(|times| *times += 1);
        }
    }
}

impl Cancel {
    /// Hears only what is asked from now on: to be called when a statement begins.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }
}

/// `work`, or an error as soon as it is asked to end.
pub async fn cancellable<T>(
    asked: &mut watch::Receiver<u64>,
    work: impl Future<Output = PgWireResult<T>>,
) -> PgWireResult<T> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        _ = asked.changed() => Err(PgWireError::QueryCanceled),
    }
}
