//! One worker's share of one source: from what the reader hands over to rows of the declared schema.
//!
//! Each record becomes a row or a dead letter: `rows_in = rows_out + dead`, always. Event time is judged here too: how
//! far the partition's watermark has come, and whether a time lies too far in the future to be believed.

mod conform;
mod decoders;
mod event_time;
mod letters;
mod returned;

use crate::archive::letter::{Form, Letter};
use crate::archive::returns::Group;
use crate::durability::manifest::PartitionTime;
use crate::durability::record::{Entry, EpochRecord, Taken};
use crate::ledger::{Ledger, lock};
use conform::{Conform, Facts};
use decoders::Decoders;
use event_time::EventTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thalweg_operators::plan::{OnBad, SourcePlan};
use thalweg_operators::rows::Rows;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::epoch::{Watermark, WorkerId};
use thalweg_schemas::error::{Error, ErrorKind, Result};
use thalweg_schemas::format::{Decoded, RAW_BYTES_MAX};
use thalweg_schemas::questions::Questions;
use thalweg_schemas::source::{Chunk, Fault, Payload, Polled, Reader, Source, Span};

/// One worker's share of one source.
pub(crate) struct Ingest {
    source: usize,
    worker: WorkerId,
    plan: SourcePlan,
    outside: Arc<dyn Source>,
    reader: Box<dyn Reader>,
    decoders: Decoders,
    /// A chunk that could not be decoded for a reason that may pass.
    held: Option<Chunk>,
    /// Dead letters that could not be decoded again for a reason that may pass.
    held_letters: Option<Group>,
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
        outside: Arc<dyn Source>,
        ledger: Arc<Ledger>,
    ) -> Result<Ingest> {
        let conform = Conform::new(&plan);
        let event_time = match plan.is_table {
            true => EventTime::of_table(),
            false => EventTime::new(plan.watermark.clone()),
        };
        Ok(Ingest {
            source,
            worker,
            reader: outside.reader(worker)?,
            decoders: Decoders::new(&plan, outside.as_ref())?,
            held: None,
            held_letters: None,
            plan,
            outside,
            conform,
            event_time,
            ledger,
            ended: false,
            pause_until_ns: 0,
            pause_ns: 0,
        })
    }

    /// Asks the reader once. `now_ns` is the beginning of the current epoch. What comes is noted in `entry`, if there is
    /// one, before it is taken in.
    pub fn poll(&mut self, now_ns: i64, budget: usize, entry: Option<&mut Entry>) -> Result<Intake> {
        if self.ended {
            return Ok(Intake::Ended);
        }
        if now_ns < self.pause_until_ns {
            return Ok(Intake::Pending);
        }
        if let Some(group) = self.next_returned() {
            return self.take_back(group, now_ns, entry);
        }
        let polled = match self.held.take() {
            Some(chunk) => Ok(Polled::Ready(chunk)),
            None => self.reader.poll(budget),
        };
        match polled.and_then(|polled| self.accept(polled, now_ns, entry)) {
            Err(error) => self.pause(error, now_ns),
            answer => answer,
        }
    }

    /// Whether it is of a table outside.
    pub fn is_table(&self) -> bool {
        self.plan.is_table
    }

    /// What is asked of it, where it is a table that is asked for the rows of keys.
    pub fn questions(&self) -> Option<Arc<Questions>> {
        self.outside.questions()
    }

    /// Ends a share of a table that has been read, since nobody is left who looks anything up in it; whether it has ended.
    pub fn end_table(&mut self) -> bool {
        if !self.ended && self.event_time.said().0 == Watermark::MAX {
            self.end();
        }
        self.ended
    }

    /// Whether the share has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn end(&mut self) {
        self.ended = true;
        self.event_time.end();
        self.ledger.sources[self.source].shares_ended.fetch_add(1, Ordering::AcqRel);
    }

    /// After an error that may pass nothing is asked for a while.
    fn pause(&mut self, error: Error, now_ns: i64) -> Result<Intake> {
        if error.kind != ErrorKind::Retry {
            return Err(error);
        }
        self.pause_ns = (self.pause_ns * 2).clamp(PAUSE_NS.0, PAUSE_NS.1);
        self.pause_until_ns = now_ns.saturating_add(self.pause_ns);
        tracing::warn!(source = %self.plan.name, "{error}; trying again in {} ms", self.pause_ns / 1_000_000);
        *lock(&self.book().last_error) = Some(error.to_string());
        Ok(Intake::Pending)
    }

    fn accept(&mut self, polled: Polled, now_ns: i64, entry: Option<&mut Entry>) -> Result<Intake> {
        match polled {
            Polled::Ready(chunk) => match self.decode(&chunk) {
                Ok(decoded) => {
                    self.pause_ns = 0;
                    match entry {
                        Some(entry) => {
                            entry.take(self.source, &chunk, !self.outside.replayable())?;
                            let receipts = self.outside.receipts(&span_of(&chunk));
                            entry.receipts.extend(receipts.into_iter().map(|receipt| (self.source, receipt)));
                        }
                        // Nothing survives a crash, and this is as far as records come.
                        None => self.outside.durable(&[span_of(&chunk)]),
                    }
                    self.take(chunk, decoded, now_ns)
                }
                Err(error) => {
                    self.held = Some(chunk);
                    Err(error)
                }
            },
            Polled::Pending => {
                self.event_time.note_rest(now_ns);
                Ok(Intake::Pending)
            }
            Polled::Ended => {
                self.end();
                Ok(Intake::Ended)
            }
            Polled::Fault(fault) => {
                self.fault(fault, now_ns)?;
                Ok(Intake::Nothing)
            }
        }
    }

    /// What the share says of its watermark as of the end of an epoch, if that is news; before the end how far it came.
    pub fn watermark_updates(&mut self, epoch_end_ns: i64) -> Vec<WatermarkUpdate> {
        let partitions = self.reader.partitions();
        if let Some(partitions) = &partitions {
            self.event_time.meet(partitions, epoch_end_ns);
        }
        let last = self.event_time.last_promise().map(|watermark| self.update((watermark, false)));
        let Some(news) = self.event_time.end_of_epoch(self.reader.outlook(), partitions.is_some()) else {
            return Vec::new();
        };
        self.event_time.show(&self.ledger.sources[self.source], self.worker.index);
        last.into_iter().chain([self.update(news)]).collect()
    }

    fn update(&self, (watermark, idle): (Watermark, bool)) -> WatermarkUpdate {
        let (source, worker) = (self.source as u32, self.worker.index as u32);
        WatermarkUpdate { source, worker, watermark_ns: watermark.0, idle }
    }

    /// What the share said of its watermark last, for a checkpoint.
    pub fn said(&self) -> WatermarkUpdate {
        self.update(self.event_time.said())
    }

    /// The event time of the partitions, for a checkpoint.
    pub fn partition_times(&self) -> impl Iterator<Item = (usize, Arc<str>, PartitionTime)> {
        self.event_time.partition_times().map(|(name, time)| (self.source, name, time))
    }

    /// Goes on from an earlier run.
    pub fn restore(&mut self, known: BTreeMap<String, PartitionTime>, floor: Watermark) {
        self.event_time.restore(known, floor);
    }

    /// Goes on by itself, after what an earlier run took in, with what all its shares had promised.
    pub fn go_on(&mut self, promise: WatermarkUpdate) {
        self.event_time.go_on(Watermark(promise.watermark_ns), promise.idle);
    }

    /// This was said on behalf of the share, by the epoch log.
    pub fn note_said(&mut self, said: WatermarkUpdate) {
        self.event_time.note_said(Watermark(said.watermark_ns), said.idle);
    }

    /// Takes in once more what an earlier run took in: the next chunk of `taken`, and the offset after it. Its epoch began
    /// at `epoch_ns`; the clock says `now_ns`.
    pub fn replay(
        &mut self,
        (record, taken): (&EpochRecord, &Taken),
        from: u64,
        (epoch_ns, now_ns): (i64, i64),
        budget: usize,
    ) -> Result<(Intake, u64)> {
        if now_ns < self.pause_until_ns {
            return Ok((Intake::Pending, from));
        }
        if taken.is_returned() {
            let group = Group { letters: record.returned(taken)?, ticket: Default::default() };
            let intake = self.take_back(group, epoch_ns, None)?;
            // What could not be decoded yet is asked for again, out of the record.
            self.held_letters = None;
            return Ok((intake, taken.end));
        }
        let chunk = match (&taken.kept, self.held.take()) {
            (_, Some(chunk)) => chunk,
            (Some(kept), None) => record.kept_chunk(taken, kept)?,
            (None, None) => {
                let span = Span { partition: taken.partition.as_str().into(), start: from, end: taken.end };
                match self.reader.replay(&span, budget) {
                    Ok(Polled::Ready(chunk)) => chunk,
                    Ok(Polled::Pending) => return Ok((Intake::Pending, from)),
                    Ok(Polled::Fault(fault)) => return Err(self.gone(&span, &fault.reason)),
                    Ok(Polled::Ended) => return Err(self.gone(&span, "the source has ended before them")),
                    Err(error) => return Ok((self.pause(error, now_ns)?, from)),
                }
            }
        };
        let end = chunk.end.max(from);
        match self.accept(Polled::Ready(chunk), epoch_ns, None) {
            Ok(intake) => Ok((intake, end)),
            Err(error) => Ok((self.pause(error, now_ns)?, from)),
        }
    }

    fn gone(&self, span: &Span, why: &str) -> Error {
        Error::outside(format!("source \"{}\" cannot be read again: {why}", self.plan.name))
            .with_detail(format!(
                "{}, offsets {} to {}, which the epoch log names",
                span.partition, span.start, span.end
            ))
            .with_hint("Bring the records back, or start anew with another --data folder.")
    }

    fn book(&self) -> &crate::ledger::SourceBook {
        &self.ledger.sources[self.source]
    }

    /// What the records of a chunk come to; nothing for rows, which are typed already.
    fn decode(&mut self, chunk: &Chunk) -> Result<Option<Decoded>> {
        let (decoder, bytes) = match &chunk.payload {
            Payload::Rows(_) | Payload::Changes { .. } => return Ok(None),
            Payload::Messages(messages) => {
                let decoder = self.decoders.own()?;
                messages.iter().for_each(|message| decoder.message(message));
                return decoder.finish().map(Some);
            }
            Payload::Bytes(bytes) => (self.decoders.own()?, bytes),
            Payload::Formatted { format, bytes } => (self.decoders.of(format)?, bytes),
        };
        if let Some(header) = &chunk.header {
            decoder.header(header)?;
        }
        decoder.decode(bytes, chunk.start).map(Some)
    }

    fn take(&mut self, chunk: Chunk, decoded: Option<Decoded>, now_ns: i64) -> Result<Intake> {
        let facts = Facts { source: &self.plan.name, partition: &chunk.partition.name, start: chunk.start, now_ns };
        let mut bytes = chunk.end.saturating_sub(chunk.start);
        let mut bad = Vec::new();
        let mut undecoded = 0;
        // What says that all rows are removed is no record.
        let mut marks = 0;
        let (rows_in, rows) = match (decoded, &chunk.payload) {
            (Some(mut decoded), payload) => {
                let rows_in = decoded.rows.num_rows() + decoded.bad.len();
                bad = std::mem::take(&mut decoded.bad);
                undecoded = bad.len();
                let messages = match payload {
                    Payload::Messages(messages) => {
                        bytes = messages.byte_len() as u64;
                        Some(messages)
                    }
                    _ => None,
                };
                (rows_in, self.conform.decoded(decoded, messages, facts, &mut bad)?)
            }
            (None, Payload::Rows(rows)) => (rows.num_rows(), self.conform.typed(rows, None, facts, &mut bad)?),
            (None, Payload::Changes { rows, diffs }) => {
                marks = diffs.values().iter().filter(|diff| **diff == 0).count();
                (rows.num_rows() - marks, self.conform.typed(rows, Some(diffs), facts, &mut bad)?)
            }
            (None, _) => return Err(Error::bug("records were not decoded")),
        };
        let partition = (chunk.partition.index, &chunk.partition.name);
        let rows = self.event_time.judge(rows, Some(partition), now_ns, facts, &mut bad)?;
        let book = self.book();
        book.rows_in.fetch_add(rows_in as u64, Ordering::AcqRel);
        let rows_out = rows.num_rows() - marks;
        book.rows_out.fetch_add(rows_out as u64, Ordering::AcqRel);
        book.bytes.fetch_add(bytes, Ordering::AcqRel);
        assert_eq!(rows_in, rows_out + bad.len(), "every record is a row or a dead letter");
        if !bad.is_empty() {
            let letters = letters::of_chunk(bad, undecoded, &chunk);
            self.bury(letters, now_ns)?;
        }
        if rows.num_rows() == 0 {
            return Ok(Intake::Nothing);
        }
        Ok(Intake::Rows(Rows::new(self.conform.batch(rows), self.event_time.bound())))
    }

    /// Keeps records as dead letters, or ends the run where the source says so.
    fn bury(&self, letters: Vec<Letter>, now_ns: i64) -> Result<()> {
        let Some(first) = letters.first() else { return Ok(()) };
        let offset = first.offset.unwrap_or_default();
        let place = format!("source \"{}\", {}, offset {offset}", self.plan.name, first.partition);
        if self.plan.on_bad == OnBad::Fail {
            return Err(Error::data(first.reason.clone()).with_detail(place).with_hint(
                "The source is declared with on_bad = 'fail'; with on_bad = 'dead_letter' such records are kept aside.",
            ));
        }
        let dead = &self.book().dead;
        if dead.fetch_add(letters.len() as u64, Ordering::AcqRel) == 0 {
            tracing::warn!("{place}: {} (further dead letters are counted in thalweg.sources)", first.reason);
        }
        for letter in letters {
            self.ledger.keep_dead(Letter { time_ns: now_ns, origin: self.plan.name.clone(), ..letter });
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
        self.ledger.keep_dead(Letter {
            time_ns: now_ns,
            origin: self.plan.name.clone(),
            partition: partition.to_string(),
            offset: Some(offset),
            reason,
            attempts: 1,
            form: Form::Apart,
            raw: Vec::new(),
        });
        Ok(())
    }
}

fn span_of(chunk: &Chunk) -> Span {
    Span { partition: chunk.partition.name.clone(), start: chunk.start, end: chunk.end }
}

/// A row that is typed already, as the raw form of a dead letter.
fn raw_of(rows: &arrow::record_batch::RecordBatch, row: usize) -> Vec<u8> {
    let mut raw = thalweg_operators::evaluate::row_to_json(rows, row).into_bytes();
    raw.truncate(RAW_BYTES_MAX);
    raw
}
