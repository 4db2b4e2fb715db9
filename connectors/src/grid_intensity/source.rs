//! Handing over what is new in the answers of a service.

use super::ask::{Asking, Question};
use super::fields;
use super::shapes::{Publication, Shape};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::{Chunk, Fault, Partition, Payload, Polled, Reader, Source};

/// The source.
#[derive(Clone)]
pub(super) struct Service {
    pub shape: Shape,
    pub question: Question,
}

impl Source for Service {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        if worker.index > 0 {
            return Ok(Box::new(Nobody));
        }
        let partition = Partition { index: 0, name: self.question.address.shown().into() };
        Ok(Box::new(Listener { service: self.clone(), partition, asking: None, said: BTreeMap::new(), rows: 0 }))
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// The share of the other workers: nothing.
struct Nobody;

impl Reader for Nobody {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }
}

/// What makes two publications speak of the same.
type Subject = (String, i64, &'static str);

struct Listener {
    service: Service,
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
            None => Asking::begin(self.service.question.clone())?,
        };
        let answer = asking.answers.try_recv();
        self.asking = Some(asking);
        let (body, came_at) = match answer {
            Ok((body, came_at)) => (body?, came_at),
            Err(TryRecvError::Empty) => return Ok(Polled::Pending),
            Err(TryRecvError::Disconnected) => {
                self.asking = None;
                return Err(Error::retry(format!(
                    "source \"{}\": the thread that asks has ended",
                    self.service.question.name
                )));
            }
        };
        match self.service.shape.read(&body) {
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
        let payload = Payload::Rows(rows(&new, self.service.shape.source(), came_at)?);
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
