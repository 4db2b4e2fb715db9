//! Rows on their way to a server: bodies wait until their epoch is complete, and leave one after the other. A body goes
//! when it was taken, so that a call that is made again sends what is left.

use super::call::{Answer, Caller};
use super::options::WebhookOptions;
use crate::text::TextFormat;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, WorkerId};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::sink::{Sink, Writer};

/// Bodies that wait for their epoch; with more, the whole ones leave before.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// A server is believed to want a pause up to this long.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The sink.
pub(super) struct Webhook {
    options: WebhookOptions,
}

impl Webhook {
    pub(super) fn new(options: WebhookOptions) -> Webhook {
        Webhook { options }
    }
}

impl Sink for Webhook {
    fn writer(&self, worker: WorkerId) -> Result<Box<dyn Writer>> {
        let options = self.options.clone();
        let caller = Caller::new(options.target.clone(), &options.call)?;
        Ok(Box::new(Poster { options, caller, worker: worker.index, waiting: VecDeque::new(), not_before: None }))
    }
}

/// The rows of one request.
struct Body {
    epoch: Epoch,
    /// Its number within the epoch.
    number: usize,
    rows: usize,
    /// One object a line.
    lines: Vec<u8>,
}

struct Poster {
    options: WebhookOptions,
    caller: Caller,
    worker: usize,
    waiting: VecDeque<Body>,
    /// The server asked for a pause until then.
    not_before: Option<Instant>,
}

impl Writer for Poster {
    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        // Room first: what fails here has taken nothing of the new rows.
        if self.waiting.iter().map(|body| body.lines.len()).sum::<usize>() > WAITING_BYTES_MAX {
            self.send(1)?;
        }
        let mut lines = Vec::new();
        TextFormat::Json.append(batch, &mut lines)?;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let number = match self.waiting.back() {
                Some(last) if last.epoch == epoch && last.rows < self.options.batch_rows => None,
                Some(last) if last.epoch == epoch => Some(last.number + 1),
                _ => Some(0),
            };
            if let Some(number) = number {
                self.waiting.push_back(Body { epoch, number, rows: 0, lines: Vec::new() });
            }
            if let Some(body) = self.waiting.back_mut() {
                body.lines.extend_from_slice(line);
                body.rows += 1;
            }
        }
        Ok(())
    }

    fn commit(&mut self, _epoch: Epoch) -> Result<()> {
        self.send(0)
    }

    fn finish(&mut self) -> Result<()> {
        self.send(0)
    }
}

impl Poster {
    /// Sends bodies until `keep` are left.
    fn send(&mut self, keep: usize) -> Result<()> {
        while self.waiting.len() > keep {
            if let Some(until) = self.not_before.filter(|until| until.elapsed().is_zero()) {
                let left = until.saturating_duration_since(now()).as_secs() + 1;
                return Err(self.retry(format!("the server asked for a pause; {left} s of it are left")));
            }
            let Some(body) = self.waiting.front() else { break };
            self.post(body).map_err(|(error, pause)| {
                self.not_before = pause.map(|pause| now() + pause.min(PAUSE_MAX));
                error
            })?;
            self.not_before = None;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Makes one request; on failure the error, and the pause that the server asks for.
    fn post(&self, body: &Body) -> Result<(), (Error, Option<Duration>)> {
        let options = &self.options;
        let key = format!("{}-{}-{}-{}", options.key, self.worker, body.epoch.0, body.number);
        let mut headers = options.headers.clone();
        headers.push(("Idempotency-Key".into(), key));
        match self.caller.call(options.put, &headers, &self.payload(body)) {
            Answer::Taken { .. } => Ok(()),
            Answer::Failed { said, pause, .. } => Err((self.retry(said), pause)),
            Answer::Refused { said, .. } => {
                let error = Error::outside(format!("sink \"{}\" at {}: {said}", options.name, options.target.host()))
                    .with_hint("The server does not take these rows as they are; sending them again would not help.");
                Err((error, None))
            }
        }
    }

    fn payload(&self, body: &Body) -> Vec<u8> {
        if self.options.lines {
            return body.lines.clone();
        }
        let mut payload = Vec::with_capacity(body.lines.len() + 2);
        payload.push(b'[');
        // No line end is within an object: JSON writes those as `\n`.
        payload.extend(body.lines.trim_ascii_end().iter().map(|byte| if *byte == b'\n' { b',' } else { *byte }));
        payload.push(b']');
        payload
    }

    fn retry(&self, what: String) -> Error {
        Error::retry(format!("sink \"{}\" at {}: {what}", self.options.name, self.options.target.host()))
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a pause that a server asks for is in real time")]
    Instant::now()
}
