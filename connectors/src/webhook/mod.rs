//! `webhook`: rows posted to a URL, as a JSON array or as lines. Each request has a key that stays the same when it is
//! sent again, so that a receiver can drop repetitions.

pub mod call;
mod options;
mod sink;
pub mod target;

use options::{OPTIONS, WebhookOptions};
use sink::Webhook;
use std::sync::Arc;
use thalweg_schemas::connector::{Changelogs, ConnectorSpec, SinkSpec};
use thalweg_schemas::error::Result;
use thalweg_schemas::sink::{Sink, SinkRequest};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "webhook",
    doc: "Posts rows to a URL as JSON, each request with a key by which repetitions are known.",
    source: None,
    table: None,
    sink: Some(SinkSpec {
        options: OPTIONS,
        formats: &[],
        changelogs: Changelogs::WhenAsked,
        history: None,
        check: Some(|request| WebhookOptions::read(request).map(drop)),
        open,
    }),
};

fn open(request: SinkRequest) -> Result<Arc<dyn Sink>> {
    Ok(Arc::new(Webhook::new(WebhookOptions::read(&request)?)))
}

#[cfg(test)]
mod tests;
