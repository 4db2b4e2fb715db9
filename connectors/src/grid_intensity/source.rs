//! Asking, on a thread of its own so that no worker waits, and handing over what is new.

use super::fields;
use super::shapes::{Publication, Shape};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Fault, Partition, Payload, Polled, Reader, Source};
use ureq::Agent;

/// How much of an answer is read; a forecast of three days at five minutes takes a twentieth of it.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How much of an answer that is refused is shown.
const ANSWER_CHARS: usize = 200;

/// The source.
#[derive(Clone)]
pub(super) struct Service {
    pub name: String,
    pub shape: Shape,
    pub url: String,
    pub auth: Option<(String, String)>,
    pub interval: Duration,
    pub timeout: Duration,
}

impl Source for Service {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        if worker.index > 0 {
            return Ok(Box::new(Nobody));
        }
        let partition = Partition { index: 0, name: self.host().into() };
        let shape = self.shape;
        Ok(Box::new(Listener { service: self.clone(), shape, partition, asking: None, said: BTreeMap::new(), rows: 0 }))
    }

    fn bounded(&self) -> bool {
        false
    }
}

impl Service {
    /// The address without what may be secret in it.
    fn host(&self) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('@').next().unwrap_or_default().to_string()
    }

    /// The body of one answer.
    fn ask(&self, agent: &Agent) -> Result<String> {
        let retry = |what: String| Error::retry(format!("source \"{}\" at {}: {what}", self.name, self.host()));
        let mut request = agent.get(&self.url);
        if let Some((name, value)) = &self.auth {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(|error| retry(error.to_string()))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        if status.is_success() {
            return body.map_err(|error| retry(error.to_string()));
        }
        let body = body.unwrap_or_default();
        let answer: String = body.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS).collect();
        Err(retry(format!("the service answered {status}: {answer}")))
    }
}

/// The share of the other workers: nothing.
struct Nobody;

impl Reader for Nobody {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }
}

/// An answer, and when it came.
type Answer = (Result<String>, i64);

/// The thread that asks: it ends when nobody listens any more.
struct Asking {
    answers: Receiver<Answer>,
    /// Dropped, it ends the pause between two requests.
    _stop: Sender<()>,
}

fn ask_on_a_thread(service: Service) -> Result<Asking> {
    let (answered, answers) = channel();
    let (stop, stopped) = channel::<()>();
    let config = Agent::config_builder()
        .timeout_global(Some(service.timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .build();
    let agent = config.new_agent();
    let asking = move || {
        loop {
            let answer = service.ask(&agent);
            let left = answered.send((answer, now_ns())).is_err();
            if left || stopped.recv_timeout(service.interval) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("grid_intensity".to_string())
        .spawn(asking)
        .map_err(|error| Error::io("a thread to ask for intensities", &error))?;
    Ok(Asking { answers, _stop: stop })
}

fn now_ns() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "when an answer came, where the service does not say when it published"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// What makes two publications speak of the same.
type Subject = (String, i64, &'static str);

struct Listener {
    service: Service,
    shape: Shape,
    partition: Partition,
    /// Nothing before the first poll.
    asking: Option<Asking>,
    /// What was said last of each subject; of the past it is forgotten when a service no longer speaks of it.
    said: BTreeMap<Subject, Publication>,
    rows: u64,
}

impl Reader for Listener {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        let asking = match self.asking.take() {
            Some(asking) => asking,
            None => ask_on_a_thread(self.service.clone())?,
        };
        let answer = asking.answers.try_recv();
        self.asking = Some(asking);
        let (body, came_at) = match answer {
            Ok((body, came_at)) => (body?, came_at),
            Err(TryRecvError::Empty) => return Ok(Polled::Pending),
            Err(TryRecvError::Disconnected) => {
                self.asking = None;
                return Err(Error::retry(format!("source \"{}\": the thread that asks has ended", self.service.name)));
            }
        };
        match self.shape.read(&body) {
            Ok(publications) => self.hand_over(publications, came_at),
            Err(reason) => {
                let partition = self.partition.name.clone();
                Ok(Polled::Fault(Fault { partition, offset: self.rows, reason }))
            }
        }
    }
}

impl Listener {
    fn hand_over(&mut self, publications: Vec<Publication>, came_at: i64) -> Result<Polled> {
        let mut said = BTreeMap::new();
        let mut new = Vec::new();
        for publication in publications {
            let subject = (publication.zone.clone(), publication.valid_from, publication.kind);
            if self.said.get(&subject).is_none_or(|before| !same(before, &publication)) {
                new.push(publication.clone());
            }
            said.insert(subject, publication);
        }
        self.said = said;
        if new.is_empty() {
            return Ok(Polled::Pending);
        }
        let start = self.rows;
        self.rows += new.len() as u64;
        let payload = Payload::Rows(rows(&new, self.shape.source(), came_at)?);
        Ok(Polled::Ready(Chunk { partition: self.partition.clone(), start, end: self.rows, header: None, payload }))
    }
}

/// Whether a service says what it said before; that it says so at another time is no news.
fn same(before: &Publication, now: &Publication) -> bool {
    Publication { published_at: before.published_at, ..now.clone() } == *before
}

fn rows(publications: &[Publication], source: &str, came_at: i64) -> Result<RecordBatch> {
    let text = |of: &dyn Fn(&Publication) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(publications.iter().map(of)))
    };
    let time = |of: &dyn Fn(&Publication) -> i64| -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(publications.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        text(&|p| Some(p.zone.clone())),
        time(&|p| p.valid_from),
        time(&|p| p.valid_to),
        Arc::new(Float64Array::from_iter_values(publications.iter().map(|p| p.value))),
        text(&|p| Some(p.unit.to_string())),
        text(&|p| Some(p.kind.to_string())),
        text(&|p| Some(p.signal.to_string())),
        text(&|p| Some(p.lifecycle.to_string())),
        text(&|_| Some(source.to_string())),
        text(&|p| p.version.clone()),
        time(&|p| p.published_at.unwrap_or(came_at)),
    ];
    let fields = fields().into_iter().map(|(name, data_type, nullable)| Field::new(name, data_type, nullable));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?)
}
