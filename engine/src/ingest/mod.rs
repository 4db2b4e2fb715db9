//! One worker's share of one source: from what the reader hands over to rows of the declared schema.
//!
//! Each record becomes a row or a dead letter: `rows_in = rows_out + dead`, always. Event time is judged here too: how
//! far the partition's watermark has come, and whether a time lies too far in the future to be believed.

mod conform;
mod event_time;

use crate::ledger::{Ledger, lock};
use crate::status::DeadLetter;
use conform::{Conform, Facts};
use event_time::EventTime;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thalweg_operators::plan::{OnBad, SourcePlan};
use thalweg_operators::rows::Rows;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::format::{BadRecord, Decoder, RAW_BYTES_MAX};
use thalweg_schemas::source::{Chunk, Fault, Payload, Polled, Reader};

/// One worker's share of one source.
pub(crate) struct Ingest {
    source: usize,
    worker: WorkerId,
    plan: SourcePlan,
    reader: Box<dyn Reader>,
    decoder: Option<Box<dyn Decoder>>,
    conform: Conform,
    event_time: EventTime,
    ledger: Arc<Ledger>,
    ended: bool,
    /// After an error that may pass: not before this time is the reader asked again.
    pause_until_ns: i64,
    pause_ns: i64,
}

/// What one poll brought.
pub(crate) enum Intake {
    /// Rows for the dataflow.
    Rows(Rows),
    /// Something happened, but there are no rows from it.
    Nothing,
    /// Nothing is there.
    Pending,
    /// The share has ended.
    Ended,
}

/// The first pause after an error that may pass, and the longest.
const PAUSE_NS: (i64, i64) = (100_000_000, 10_000_000_000);

impl Ingest {
    pub fn new(
        source: usize,
        worker: WorkerId,
        plan: SourcePlan,
        reader: Box<dyn Reader>,
        decoder: Option<Box<dyn Decoder>>,
        ledger: Arc<Ledger>,
    ) -> Ingest {
        let conform = Conform::new(&plan);
        let event_time = EventTime::new(plan.watermark.clone());
        Ingest {
            source,
            worker,
            plan,
            reader,
            decoder,
            conform,
            event_time,
            ledger,
            ended: false,
            pause_until_ns: 0,
            pause_ns: 0,
        }
    }

    /// Asks the reader once. `now_ns` is the beginning of the current epoch.
    pub fn poll(&mut self, now_ns: i64, budget: usize) -> Result<Intake> {
        if self.ended {
            return Ok(Intake::Ended);
        }
        if now_ns < self.pause_until_ns {
            return Ok(Intake::Pending);
        }
        match self.reader.poll(budget) {
            Ok(Polled::Ready(chunk)) => {
                self.pause_ns = 0;
                self.take(chunk, now_ns)
            }
            Ok(Polled::Pending) => Ok(Intake::Pending),
            Ok(Polled::Ended) => {
                self.ended = true;
                self.event_time.end();
                self.ledger.sources[self.source].shares_ended.fetch_add(1, Ordering::AcqRel);
                Ok(Intake::Ended)
            }
            Ok(Polled::Fault(fault)) => {
                self.fault(fault, now_ns)?;
                Ok(Intake::Nothing)
            }
            Err(error) if error.kind == ErrorKind::Retry => {
                self.pause_ns = (self.pause_ns * 2).clamp(PAUSE_NS.0, PAUSE_NS.1);
                self.pause_until_ns = now_ns.saturating_add(self.pause_ns);
                tracing::warn!(source = %self.plan.name, "{error}; trying again in {} ms", self.pause_ns / 1_000_000);
                *lock(&self.book().last_error) = Some(error.to_string());
                Ok(Intake::Pending)
            }
            Err(error) => Err(error),
        }
    }

    /// What the share says of its watermark as of the end of an epoch, if that is news.
    pub fn watermark_update(&mut self, epoch_end_ns: i64) -> Option<WatermarkUpdate> {
        let (watermark, idle) = self.event_time.end_of_epoch(epoch_end_ns, self.reader.outlook())?;
        self.event_time.show(&self.ledger.sources[self.source], self.worker.index);
        Some(WatermarkUpdate {
            source: self.source as u32,
            worker: self.worker.index as u32,
            watermark_ns: watermark.0,
            idle,
        })
    }

    fn book(&self) -> &crate::ledger::SourceBook {
        &self.ledger.sources[self.source]
    }

    fn take(&mut self, chunk: Chunk, now_ns: i64) -> Result<Intake> {
        let facts = Facts { source: &self.plan.name, partition: &chunk.partition.name, start: chunk.start, now_ns };
        let mut bad = Vec::new();
        let mut bytes = chunk.end.saturating_sub(chunk.start);
        let (rows_in, rows) = match chunk.payload {
            Payload::Bytes(bytes) => {
                let decoder = self.decoder.as_mut().ok_or_else(|| no_format(&self.plan.name))?;
                if let Some(header) = &chunk.header {
                    decoder.header(header)?;
                }
                let decoded = decoder.decode(&bytes, chunk.start)?;
                let rows_in = decoded.rows.num_rows() + decoded.bad.len();
                bad = decoded.bad;
                (rows_in, self.conform.decoded(decoded.rows, &decoded.offsets, facts, &mut bad)?)
            }
            Payload::Messages(messages) => {
                let decoder = self.decoder.as_mut().ok_or_else(|| no_format(&self.plan.name))?;
                messages.iter().for_each(|message| decoder.message(message));
                let decoded = decoder.finish()?;
                let rows_in = decoded.rows.num_rows() + decoded.bad.len();
                assert!(rows_in >= messages.len(), "every message is a row or a dead letter");
                bad = decoded.bad;
                bytes = messages.byte_len() as u64;
                (rows_in, self.conform.messages(decoded.rows, &decoded.offsets, &messages, facts, &mut bad)?)
            }
            Payload::Rows(rows) => (rows.num_rows(), self.conform.typed(rows, facts, &mut bad)?),
        };
        let rows =
            self.event_time.judge(rows, chunk.partition.index, &chunk.partition.name, now_ns, facts, &mut bad)?;
        let book = self.book();
        book.rows_in.fetch_add(rows_in as u64, Ordering::AcqRel);
        book.rows_out.fetch_add(rows.num_rows() as u64, Ordering::AcqRel);
        book.bytes.fetch_add(bytes, Ordering::AcqRel);
        assert_eq!(rows_in, rows.num_rows() + bad.len(), "every record is a row or a dead letter");
        self.bury(bad, &chunk.partition.name, now_ns)?;
        if rows.num_rows() == 0 {
            return Ok(Intake::Nothing);
        }
        Ok(Intake::Rows(Rows::new(Batch::append(rows), self.event_time.bound())))
    }

    /// Keeps bad records as dead letters, or ends the run where the source says so.
    fn bury(&self, bad: Vec<BadRecord>, partition: &str, now_ns: i64) -> Result<()> {
        let Some(first) = bad.first() else { return Ok(()) };
        let place = format!("source \"{}\", {partition}, offset {}", self.plan.name, first.offset);
        if self.plan.on_bad == OnBad::Fail {
            return Err(Error::data(first.reason.clone()).with_detail(place).with_hint(
                "The source is declared with on_bad = 'fail'; with on_bad = 'dead_letter' such records are kept aside.",
            ));
        }
        let dead = &self.book().dead;
        if dead.fetch_add(bad.len() as u64, Ordering::AcqRel) == 0 {
            tracing::warn!("{place}: {} (further dead letters are counted in thalweg.sources)", first.reason);
        }
        for record in bad {
            self.ledger.keep_dead(DeadLetter {
                time_ns: now_ns,
                origin: self.plan.name.clone(),
                partition: partition.to_string(),
                offset: Some(record.offset),
                reason: record.reason,
                raw: record.raw,
            });
        }
        Ok(())
    }

    /// A partition that cannot be read further: not a record, so it counts for nothing, but it is kept and told.
    fn fault(&self, fault: Fault, now_ns: i64) -> Result<()> {
        let Fault { partition, offset, reason } = fault;
        if self.plan.on_bad == OnBad::Fail {
            return Err(Error::outside(reason).with_detail(format!("source \"{}\", {partition}", self.plan.name)));
        }
        tracing::warn!(source = %self.plan.name, %partition, offset, "{reason}");
        *lock(&self.book().last_error) = Some(format!("{partition}: {reason}"));
        self.ledger.keep_dead(DeadLetter {
            time_ns: now_ns,
            origin: self.plan.name.clone(),
            partition: partition.to_string(),
            offset: Some(offset),
            reason,
            raw: Vec::new(),
        });
        Ok(())
    }
}

fn no_format(source: &str) -> Error {
    Error::bug(format!("source \"{source}\" hands over bytes but has no format"))
}

/// A row that is typed already, as the raw form of a dead letter.
fn raw_of(rows: &arrow::record_batch::RecordBatch, row: usize) -> Vec<u8> {
    let mut raw = thalweg_operators::evaluate::row_to_json(rows, row).into_bytes();
    raw.truncate(RAW_BYTES_MAX);
    raw
}
