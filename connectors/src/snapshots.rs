//! Tables outside: read whole, again and again, on a thread of their own; what changed is handed over.
//!
//! The first reading after a start is handed over whole, behind a record that all rows before it are gone: nobody here
//! knows what an earlier run had. From then on a reading is compared with the one before by the primary key, and only rows
//! that came, changed or went are handed over. All of a reading is one chunk, so it is seen in one epoch or not at all.
//! A table that is asked for the rows of keys instead (`asked.rs`) is read in pieces, and decoded alike.

use crate::asked;
use crate::listener::{IsOver, Listener, Tell};
use crate::snapshot_changes::{Known, News, compare};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{can_cast_types, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{DecodeRequest, Decoded, Decoder, by_name};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::source::{Partition, Payload, Polled, Reader, Refreshes, Source, SourceRequest};
use thalweg_schemas::wanted::Wanted;

/// How a table is held that is always read whole.
pub(crate) const CACHE: OptionSpec = OptionSpec {
    name: "cache",
    kind: OptionKind::OneOf(&["full"]),
    default: Some("full"),
    required: false,
    doc: "All rows are held in memory.",
};

/// How a table is held that can be asked for single rows as well.
pub(crate) const CACHE_OF_KEYS: OptionSpec = OptionSpec {
    kind: OptionKind::OneOf(&["full", "lru"]),
    doc: "'full': the table is read whole, and all rows are held in memory. 'lru': it is asked for the row of a key when one \
          is looked up, and the answers used last are held.",
    ..CACHE
};

/// How often it is read.
pub(crate) const REFRESH: OptionSpec = OptionSpec {
    name: "refresh",
    kind: OptionKind::Duration,
    default: Some("1 minute"),
    required: false,
    doc: "Time between two readings, at least 100ms. After one that failed the next comes sooner.",
};

/// How large it may be.
pub(crate) const SIZE_MAX: OptionSpec = OptionSpec {
    name: "size_max",
    kind: OptionKind::Size,
    default: Some("256MB"),
    required: false,
    doc: "How many bytes of memory a reading may take, at most 1GB; a larger one fails, and the rows stay those of the one before.",
};

/// The shortest time between two readings.
const SHORTEST: Duration = Duration::from_millis(100);
/// The largest reading that may be allowed.
const LARGEST: u64 = 1 << 30;
/// The pause after a reading that failed, the first time and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Who can read a table whole.
pub(crate) trait Fetch: Send + Sync + 'static {
    /// The table for people, without anything secret.
    fn place(&self) -> String;

    /// Reads it: `take` gets its records piece by piece, in the format of the request, or as rows. An error says what went
    /// wrong and not where; nothing of such a reading is used.
    fn fetch(&self, take: Take<'_>) -> Result<()>;

    /// Reads the rows of `keys` alone, in the same way. Each is given as the texts of its columns, in the order of the
    /// primary key. Only asked of tables that have [`CACHE_OF_KEYS`].
    fn find(&self, _keys: &[Vec<String>], _take: Take<'_>) -> Result<()> {
        Err(Error::bug("this table is only read whole"))
    }
}

/// Who gets what is read: the header of its piece, where the format has one, and the records.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Option<&[u8]>, Payload) -> Result<()>;

/// Opens a table whose records, where they are bytes, have `format`.
pub(crate) fn open(request: &SourceRequest, format: Option<&str>, fetch: impl Fetch) -> Result<Arc<dyn Source>> {
    let refresh = request.options.duration(REFRESH.name).unwrap_or(SHORTEST);
    if refresh < SHORTEST {
        let given = request.options.get(REFRESH.name).unwrap_or_default();
        return Err(Error::user(format!("option \"refresh\" takes at least 100ms, not '{given}'")));
    }
    let size_max = request.options.size(SIZE_MAX.name).unwrap_or(u64::MAX);
    if size_max > LARGEST {
        let given = request.options.get(SIZE_MAX.name).unwrap_or_default();
        return Err(Error::user(format!("option \"size_max\" takes at most 1GB, not '{given}'"))
            .with_detail("All of a reading is one record of the epoch log."));
    }
    let fields = request.fields.fields().iter().map(|field| SortField::new(field.data_type().clone()));
    RowConverter::new(fields.collect()).map_err(|error| {
        Error::user(format!("the columns of \"{}\" cannot be compared: {error}", request.name))
            .with_hint("Declare those that it names as TEXT.")
    })?;
    let table = Arc::new(Table {
        name: request.name.clone(),
        partition: Partition { index: 0, name: fetch.place().into() },
        format: format.map(str::to_string),
        decoding: DecodeRequest {
            wanted: request.wanted.iter().copied().map(Wanted::from).collect(),
            options: request.format_options.clone(),
            ..DecodeRequest::new(request.fields.clone())
        },
        key: request.key.iter().map(|at| request.fields.field(*at).name().clone()).collect(),
        refresh,
        size_max,
        fetch: Box::new(fetch),
        refreshes: Mutex::default(),
    });
    if request.options.get(CACHE.name) == Some("lru") {
        return asked::open(table, request);
    }
    Ok(Arc::new(Outside(table)))
}

/// The source.
struct Outside(Arc<Table>);

impl Source for Outside {
    /// One worker reads, another one for each table.
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        if !self.0.is_read_by(worker) {
            return Ok(Box::new(Bystander));
        }
        let table = self.0.clone();
        // A reading that nobody has taken yet is enough.
        Ok(Box::new(Listener::new(self.0.clone(), 1, false, move |tell, is_over| table.read_again(tell, is_over))))
    }

    fn bounded(&self) -> bool {
        false
    }

    fn refreshes(&self) -> Option<Refreshes> {
        Some(*self.0.refreshes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The share of the other workers: nothing.
pub(crate) struct Bystander;

impl Reader for Bystander {
    fn poll(&mut self, _budget: usize) -> Result<Polled> {
        Ok(Polled::Ended)
    }
}

pub(crate) struct Table {
    pub name: String,
    pub partition: Partition,
    format: Option<String>,
    decoding: DecodeRequest,
    /// The names of the key's columns.
    pub key: Vec<String>,
    refresh: Duration,
    size_max: u64,
    pub fetch: Box<dyn Fetch>,
    pub refreshes: Mutex<Refreshes>,
}

pub(crate) fn pause_after(failed: u32) -> Duration {
    PAUSE.0.saturating_mul(1 << (failed - 1).min(6)).min(PAUSE.1)
}

impl Table {
    /// Whether this worker reads it.
    pub fn is_read_by(&self, worker: WorkerId) -> bool {
        self.name.bytes().map(usize::from).sum::<usize>() % worker.peers.max(1) == worker.index
    }

    /// Reads the table again and again, for as long as anybody listens.
    fn read_again(&self, tell: Tell<'_>, is_over: IsOver<'_>) {
        let (mut before, mut failed) = (None, 0);
        loop {
            let read = self.read(&mut before);
            failed = if read.is_ok() { 0 } else { failed + 1 };
            let pause = if failed == 0 { self.refresh } else { self.refresh.min(pause_after(failed)) };
            if tell(read) || is_over(pause) {
                return;
            }
        }
    }

    /// Reads the table, and compares it with what it was `before`.
    fn read(&self, before: &mut Option<Known>) -> Result<News> {
        let read = self.rows(|take| self.fetch.fetch(take));
        self.noted(read.and_then(|(rows, bad)| {
            let count = rows.num_rows() as u64;
            Ok((compare(rows, bad, &self.key, before)?, count))
        }))
    }

    /// What was read, with a note of how that went, and of how many rows.
    pub fn noted<T>(&self, read: Result<(T, u64)>) -> Result<T> {
        let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok((read, rows)) => {
                *refreshes = Refreshes { done: refreshes.done + 1, last_ns: now_ns(), rows, ..*refreshes };
                Ok(read)
            }
            Err(error) => {
                refreshes.failed += 1;
                let message =
                    format!("table \"{}\" was not read from {}: {}", self.name, self.partition.name, error.message);
                // Whatever it was, the table is read again.
                Err(Error { kind: thalweg_schemas::error::ErrorKind::Retry, message, ..error })
            }
        }
    }

    /// All rows that `fetch` finds, and what is wrong with records that are none.
    pub fn rows(&self, fetch: impl FnOnce(Take<'_>) -> Result<()>) -> Result<(RecordBatch, Vec<String>)> {
        let (mut pieces, mut bad, mut bytes): (Vec<RecordBatch>, Vec<String>, u64) = Default::default();
        let mut decoder: Option<Box<dyn Decoder>> = None;
        fetch(&mut |header, payload| {
            let rows = match payload {
                Payload::Rows(rows) => rows,
                Payload::Bytes(text) => {
                    let decoder = match &mut decoder {
                        Some(decoder) => decoder,
                        None => decoder.insert(self.decoder()?),
                    };
                    if let Some(header) = header {
                        decoder.header(header)?;
                    }
                    let Decoded { rows, bad: wrong, .. } = decoder.decode(&text, 0)?;
                    bad.extend(wrong.into_iter().map(|record| {
                        let text: String = String::from_utf8_lossy(&record.raw).chars().take(200).collect();
                        format!("{}: {}", record.reason, text.trim_end())
                    }));
                    rows
                }
                Payload::Formatted { .. } | Payload::Messages(_) | Payload::Changes { .. } => {
                    return Err(Error::bug("a table is read in its own format, or as rows"));
                }
            };
            bytes += rows.get_array_memory_size() as u64;
            if bytes > self.size_max {
                return Err(Error::retry(format!("its rows take more than {} bytes", self.size_max)).with_hint(
                    "Give it more with size_max, declare fewer columns, or look up in a view outside that has fewer rows.",
                ));
            }
            pieces.push(rows);
            Ok(())
        })?;
        Ok((self.together(pieces)?, bad))
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>> {
        let make = self.format.as_deref().and_then(by_name).and_then(|format| format.decoder);
        make.ok_or_else(|| Error::bug(format!("table \"{}\" hands over bytes but has no format", self.name)))?(
            self.decoding.clone(),
        )
    }

    /// The pieces as one batch of those declared columns that they have.
    fn together(&self, pieces: Vec<RecordBatch>) -> Result<RecordBatch> {
        let declared = &self.decoding.fields;
        let found = pieces.first().map_or_else(|| declared.clone(), |piece| piece.schema());
        let mut fields = Vec::new();
        for field in declared.fields() {
            let Some((_, given)) = found.column_with_name(field.name()) else { continue };
            if !can_cast_types(given.data_type(), field.data_type()) {
                let (name, from, to) = (field.name(), given.data_type(), field.data_type());
                return Err(Error::retry(format!("column \"{name}\" has type {from}, which cannot become {to}"))
                    .with_hint("Declare the column with that type."));
            }
            fields.push(Field::new(field.name(), given.data_type().clone(), true));
        }
        if let Some(missing) = self.key.iter().find(|key| !fields.iter().any(|field| field.name() == *key)) {
            return Err(Error::retry(format!("there is no column \"{missing}\", which is part of the primary key")));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let picked = pieces.iter().map(|piece| {
            let columns = schema.fields().iter().map(|field| {
                let column = piece.column_by_name(field.name()).filter(|c| c.data_type() == field.data_type());
                let differs = || Error::retry(format!("column \"{}\" is not of one type in all pieces", field.name()));
                column.cloned().ok_or_else(differs)
            });
            let options = RecordBatchOptions::new().with_row_count(Some(piece.num_rows()));
            Ok(RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &options)?)
        });
        Ok(concat_batches(&schema, &picked.collect::<Result<Vec<_>>>()?)?)
    }
}

fn now_ns() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "when a table was read, for people")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::options;
    use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Int64Type};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, VecDeque};
    use thalweg_schemas::options::Options;

    /// A table that is in turn what the list says.
    struct Scripted(Mutex<VecDeque<Result<Payload>>>);

    impl Fetch for Scripted {
        fn place(&self) -> String {
            "nowhere".to_string()
        }

        fn fetch(&self, take: Take<'_>) -> Result<()> {
            let next = self.0.lock().unwrap().pop_front();
            take(None, next.unwrap_or_else(|| Err(Error::outside("the script is over")))?)
        }
    }

    fn table(readings: Vec<Result<Payload>>, given: &[(&str, &str)]) -> Arc<Table> {
        let fields = vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Int64, true)];
        let request = SourceRequest {
            name: "t".into(),
            options: options(&[CACHE, REFRESH, SIZE_MAX], given),
            format: None,
            format_options: Options::default(),
            wanted: vec![true; 2],
            key: vec![0],
            fields: Arc::new(Schema::new(fields)),
            metadata: Vec::new(),
        };
        let fetch = Scripted(Mutex::new(readings.into()));
        Arc::new(Table {
            name: request.name.clone(),
            partition: Partition { index: 0, name: "nowhere".into() },
            format: Some("json".to_string()),
            decoding: DecodeRequest::new(request.fields.clone()),
            key: vec!["k".to_string()],
            refresh: Duration::from_secs(60),
            size_max: request.options.size("size_max").unwrap(),
            fetch: Box::new(fetch),
            refreshes: Mutex::default(),
        })
    }

    fn json(lines: &[&str]) -> Result<Payload> {
        Ok(Payload::Bytes(lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()))
    }

    /// What a reading hands over, line by line.
    fn said(news: &News) -> Vec<String> {
        let Some((rows, diffs)) = &news.changes else { return Vec::new() };
        let (keys, values) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
        let value = |row: usize| values.is_valid(row).then(|| values.value(row));
        let key = |row: usize| keys.is_valid(row).then(|| keys.value(row));
        (0..rows.num_rows())
            .map(|row| match diffs.value(row) {
                0 => "all go".to_string(),
                1 => format!("+ {:?} {:?}", key(row).unwrap(), value(row)),
                _ => format!("- {:?} {:?}", key(row).unwrap(), value(row)),
            })
            .collect()
    }

    #[test]
    fn a_reading_brings_what_changed_since_the_one_before() {
        let readings = vec![
            json(&[r#"{"k":"a","v":1}"#, r#"{"k":"b","v":2}"#]),
            json(&[r#"{"k":"b","v":2}"#, r#"{"k":"a","v":1}"#]),
            Err(Error::outside("it is away")),
            json(&[r#"{"k":"a","v":7}"#, r#"{"k":"c"}"#]),
            json(&[]),
        ];
        let (table, mut before) = (table(readings, &[]), None);
        let mut read = || table.read(&mut before);
        assert_eq!(said(&read().unwrap()), ["all go", "+ \"a\" Some(1)", "+ \"b\" Some(2)"]);
        assert_eq!(said(&read().unwrap()), [""; 0]);
        let error = read().err().unwrap();
        assert_eq!(error.message, "table \"t\" was not read from nowhere: it is away");
        assert_eq!(error.kind, thalweg_schemas::error::ErrorKind::Retry);
        assert_eq!(said(&read().unwrap()), ["+ \"a\" Some(7)", "+ \"c\" None", "- \"b\" None"]);
        assert_eq!(said(&read().unwrap()), ["- \"a\" None", "- \"c\" None"]);
        let refreshes = *table.refreshes.lock().unwrap();
        assert_eq!((refreshes.done, refreshes.failed, refreshes.rows), (4, 1, 0));
    }

    #[test]
    fn records_that_are_no_rows_are_told_once_and_the_others_count() {
        let lines = [r#"{"k":"a","v":1}"#, r#"{"k":"b","v":"many"}"#, r#"{"k":"a","v":3}"#];
        let (table, mut before) = (table(vec![json(&lines), json(&lines), json(&lines[..2])], &[]), None);
        let mut read = || table.read(&mut before).unwrap();
        let first = read();
        assert_eq!(said(&first), ["all go", "+ \"a\" Some(3)"]);
        assert!(first.faults[0].starts_with("column \"v\""), "{:?}", first.faults);
        assert_eq!(first.faults[1], "1 rows have the primary key of another one, the last of which counts");
        assert!(read().faults.is_empty());
        assert_eq!(said(&read()), ["+ \"a\" Some(1)"]);
    }

    #[test]
    fn rows_of_other_types_come_anew_and_those_that_do_not_fit_do_not() {
        let rows = |name: &str, values: ArrayRef| {
            let keys: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
            Ok(Payload::Rows(
                RecordBatch::try_from_iter([("other", values.clone()), (name, keys), ("v", values)]).unwrap(),
            ))
        };
        let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
        let list: ArrayRef =
            Arc::new(arrow::array::ListArray::new_null(Arc::new(Field::new("item", DataType::Binary, true)), 1));
        let readings = vec![
            rows("k", Arc::new(Int64Array::from(vec![1]))),
            rows("k", text.clone()),
            rows("k", list),
            rows("key", text),
        ];
        let (table, mut before) = (table(readings, &[]), None);
        let mut read = || table.read(&mut before);
        assert_eq!(said(&read().unwrap()), ["all go", "+ \"a\" Some(1)"]);
        assert_eq!(read().unwrap().changes.unwrap().1, Int64Array::from(vec![0, 1]));
        let message = |news: Result<News>| news.err().unwrap().message;
        assert!(message(read()).contains("column \"v\" has type List"));
        assert!(message(read()).ends_with("there is no column \"k\", which is part of the primary key"));
    }

    #[test]
    fn a_table_that_is_too_large_is_not_taken() {
        let (table, mut before) = (table(vec![json(&[r#"{"k":"a","v":1}"#])], &[("size_max", "8")]), None);
        let error = table.read(&mut before).err().unwrap();
        assert!(error.message.ends_with("its rows take more than 8 bytes"), "{}", error.message);
        assert!(error.hint.unwrap().contains("size_max"));
    }

    #[test]
    fn pauses_after_failures_grow_and_end() {
        let seconds = |failed| pause_after(failed).as_secs_f64();
        assert_eq!([seconds(1), seconds(2), seconds(7), seconds(u32::MAX)], [0.5, 1.0, 30.0, 30.0]);
    }

    proptest! {
        #[test]
        fn what_is_handed_over_adds_up_to_the_last_reading(
            readings in prop::collection::vec(prop::collection::btree_map(0u8..6, 0i64..3, 0..6), 1..8),
        ) {
            let lines = |rows: &BTreeMap<u8, i64>| {
                let lines: Vec<String> = rows.iter().map(|(k, v)| format!("{{\"k\":\"{k}\",\"v\":{v}}}")).collect();
                json(&lines.iter().map(String::as_str).collect::<Vec<_>>())
            };
            let (table, mut before) = (table(readings.iter().map(lines).collect(), &[]), None);
            let mut held = BTreeMap::from([("of an earlier run".to_string(), 0)]);
            for rows in readings {
                if let Some((batch, diffs)) = table.read(&mut before).unwrap().changes {
                    let (keys, values) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
                    for row in 0..batch.num_rows() {
                        match diffs.value(row) {
                            0 => held.clear(),
                            1 => drop(held.insert(keys.value(row).to_string(), values.value(row))),
                            _ => drop(held.remove(keys.value(row))),
                        }
                    }
                }
                let expected: BTreeMap<String, i64> = rows.iter().map(|(k, v)| (k.to_string(), *v)).collect();
                prop_assert_eq!(&held, &expected);
            }
        }
    }
}
