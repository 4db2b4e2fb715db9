//! The listening sockets, and the servers behind them.

use crate::live::Live;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};
use tokio::runtime::Runtime;

/// Takes `address` for `what`, before anything else starts, so that a second engine fails at once.
pub fn bind(option: &str, address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).map_err(|error| {
        let message = format!("address {address} for --{option} cannot be used: {error}");
        match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::user(message).with_hint(format!(
                "Another program, perhaps another thalweg, listens there: stop it, or take another with --{option} 127.0.0.1:0."
            )),
            _ => Error::user(message).with_hint(format!("Choose another address with --{option}, or --{option} off.")),
        }
    })?;
    listener.set_nonblocking(true).map_err(|error| Error::io(address, &error))?;
    Ok(Some(listener))
}

/// The address that a listener came to have.
pub fn address_of(listener: &Option<TcpListener>) -> Option<SocketAddr> {
    listener.as_ref().and_then(|listener| listener.local_addr().ok())
}

/// Serves on the sockets that there are.
pub fn spawn(runtime: &Runtime, live: Arc<Live>, pg: Option<TcpListener>, http: Option<TcpListener>) {
    if pg.is_some() || http.is_some() {
        // Before the first client needs it.
        let live = live.clone();
        runtime.spawn_blocking(move || {
            let _shared = live.sessions().warm_up();
        });
    }
    if let Some(listener) = pg {
        let live = live.clone();
        runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => crate::pgwire::serve(listener, live).await,
                Err(error) => tracing::error!(%error, "the PostgreSQL protocol is not served"),
            }
        });
    }
    if let Some(listener) = http {
        runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => crate::http::serve(listener, live).await,
                Err(error) => tracing::error!(%error, "HTTP is not served"),
            }
        });
    }
}
