//! The PostgreSQL wire protocol: psql, drivers and dashboards read the engine as if it were a PostgreSQL.

mod answer;
mod cancel;
mod connection;
mod copy;
mod copy_in;
mod cursor;
mod errors;
mod extended;
mod maps;
mod prepared;
mod settings;
mod simple;
mod startup;
mod statement;
mod text_rows;

pub use settings::default_setting;

use crate::live::Live;
use cancel::Cancels;
use pgwire::api::PgWireServerHandlers;
use pgwire::tokio::process_socket;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves connections until the process ends.
pub async fn serve(listener: TcpListener, live: Arc<Live>) {
    let handlers = Arc::new(Handlers {
        startup: Arc::new(startup::Startup { live, cancels: Cancels::default() }),
        queries: Arc::new(Queries),
    });
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let handlers = handlers.clone();
                tokio::spawn(async move {
                    if let Err(error) = process_socket(socket, None, handlers).await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may close theirs.
                tracing::warn!(%error, "a PostgreSQL client could not connect");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Answers statements; all state is in the connection.
#[derive(Debug)]
struct Queries;

struct Handlers {
    startup: Arc<startup::Startup>,
    queries: Arc<Queries>,
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl pgwire::api::query::SimpleQueryHandler> {
        self.queries.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl pgwire::api::query::ExtendedQueryHandler> {
        self.queries.clone()
    }

    fn copy_handler(&self) -> Arc<impl pgwire::api::copy::CopyHandler> {
        self.queries.clone()
    }

    fn startup_handler(&self) -> Arc<impl pgwire::api::auth::StartupHandler> {
        self.startup.clone()
    }

    fn cancel_handler(&self) -> Arc<impl pgwire::api::cancel::CancelHandler> {
        self.startup.clone()
    }
}
