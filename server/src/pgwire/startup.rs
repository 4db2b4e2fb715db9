//! The start of a connection: no password, a session, and the parameters that clients expect to hear.

use super::cancel::Cancels;
use super::connection::Connection;
use super::errors::fatal;
use crate::live::Live;
use crate::pg_catalog::SERVER_VERSION;
use async_trait::async_trait;
use futures::Sink;
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::cancel::CancelHandler;
use pgwire::api::{ClientInfo, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};

static KEYS: LazyLock<RandomPidSecretKeyGenerator> = LazyLock::new(RandomPidSecretKeyGenerator::default);

/// Opens connections, and hears those that only come to cancel.
pub struct Startup {
    /// What is served.
    pub live: Arc<Live>,
    /// Who can be cancelled.
    pub cancels: Cancels,
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = message else { return Ok(()) };
        protocol_negotiation(client, &startup).await?;
        save_startup_parameters_to_metadata(client, &startup);
        let (pid, secret) = KEYS.generate(client);
        let cancel = self.cancels.register(pid, &secret);
        client.set_pid_and_secret_key(pid, secret);
        let session = self.live.sessions().open().map_err(fatal)?;
        client.session_extensions().insert(Connection::new(session, cancel));
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.server_version = format!("{SERVER_VERSION} (Thalweg {})", env!("CARGO_PKG_VERSION"));
        finish_authentication(client, &parameters).await
    }
}

#[async_trait]
impl CancelHandler for Startup {
    async fn on_cancel_request(&self, request: CancelRequest) {
        self.cancels.ask(request.pid, &request.secret_key);
    }
}
