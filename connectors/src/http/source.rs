//! The source: one worker takes what was posted, and tells when it is durable.
//!
//! The records of a source are one partition, so one worker takes them; the sources are spread over the workers.

use super::inbox::Inbox;
use super::listener::Route;
use super::options::HttpOptions;
use std::sync::Arc;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::Result;
use thalweg_schemas::source::{Polled, Reader, Receipt, Source, Span};

/// The source.
pub(super) struct Http {
    inbox: Arc<Inbox>,
    route: Option<Route>,
}

impl Http {
    pub(super) fn open(options: HttpOptions) -> Result<Http> {
        let inbox = Arc::new(Inbox::new(options));
        let route = Route::open(&inbox)?;
        Ok(Http { inbox, route: Some(route) })
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.route.as_ref().unwrap().address()
    }

    /// What waits.
    #[cfg(test)]
    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }
}

impl Source for Http {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        // Whoever has posted already waited for what earlier runs know.
        self.inbox.begin();
        let letters = self.inbox.options.source.bytes().map(usize::from);
        if letters.sum::<usize>() % worker.peers.max(1) == worker.index {
            Ok(Box::new(Taker { inbox: self.inbox.clone() }))
        } else {
            Ok(Box::new(Nobody))
        }
    }

    fn bounded(&self) -> bool {
        false
    }

    fn durable(&self, spans: &[Span]) {
        if let Some(end) = spans.iter().map(|span| span.end).max() {
            self.inbox.durable(end);
        }
    }

    fn receipts(&self, span: &Span) -> Vec<Receipt> {
        self.inbox.receipts(span.start, span.end)
    }

    fn remember(&self, receipts: Vec<Receipt>) {
        self.inbox.remember(receipts);
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // Whoever waits is told before the server ends, which waits for them.
        self.inbox.close();
        drop(self.route.take());
    }
}

/// The share of the worker that takes the records.
struct Taker {
    inbox: Arc<Inbox>,
}

impl Reader for Taker {
    fn poll(&mut self, budget: usize) -> Result<Polled> {
        Ok(self.inbox.next(budget).map_or(Polled::Pending, Polled::Ready))
    }
}

/// The share of the others: nothing.
struct Nobody;

impl Reader for Nobody {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }
}
