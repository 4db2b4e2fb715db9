//! Tables outside that are asked for the rows of keys, as they are looked up: on a thread of their own, many keys at once.
//!
//! What cannot be asked is asked again for as long as it takes, fewer keys at a time: one that the table stumbles over holds
//! up none but itself. Of each key there is an answer: that there is no row, and behind it the row, if there is one. Whoever
//! takes both in goes by the last; a row that turns out not to be one is as good as none.

use crate::listener::{IsOver, Listener, Tell};
use crate::snapshot_changes::News;
use crate::snapshots::{Bystander, Table, pause_after};
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use thalweg_schemas::epoch::WorkerId;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::{OptionKind, OptionSpec};
use thalweg_schemas::questions::{Questions, Taken};
use thalweg_schemas::source::{Reader, Refreshes, Source, SourceRequest};

/// How many answers are held.
pub(crate) const CACHE_ROWS: OptionSpec = OptionSpec {
    name: "cache_rows",
    kind: OptionKind::Count,
    default: Some("100000"),
    required: false,
    doc: "With cache = 'lru': how many keys each lookup join holds the answers of, that there is no row among them. Those \
          used least lately go first.",
};

/// How old an answer may be.
pub(crate) const CACHE_TTL: OptionSpec = OptionSpec {
    name: "cache_ttl",
    kind: OptionKind::Duration,
    default: Some("1 minute"),
    required: false,
    doc: "With cache = 'lru': for how long an answer is used before the table is asked again.",
};

/// So many keys are asked for at once, at most.
const KEYS_AT_ONCE: usize = 256;
/// How often the thread looks whether anybody listens.
const LOOK: Duration = Duration::from_millis(100);
/// The pause before fewer keys are asked for than could not be.
const SHORT_PAUSE: Duration = Duration::from_millis(50);
/// So many answers may wait to be taken in.
const ANSWERS_WAITING: usize = 4;

/// Opens a table as one that is asked.
pub(crate) fn open(table: Arc<Table>, request: &SourceRequest) -> Result<Arc<dyn Source>> {
    let key: Vec<_> = request.key.iter().map(|at| request.fields.field(*at).clone()).collect();
    if let Some(field) = key.iter().find(|field| field.data_type().is_nested() || field.data_type().is_binary()) {
        let (column, name) = (field.name(), &request.name);
        return Err(Error::user(format!(
            "table \"{name}\" cannot be asked by column \"{column}\": its values are no text"
        ))
        .with_hint("Read it whole: cache = 'full'."));
    }
    let questions = Arc::new(Questions::new(Arc::new(Schema::new(key)))?);
    Ok(Arc::new(Asked(Arc::new(Asking { table, questions }))))
}

/// The source.
struct Asked(Arc<Asking>);

struct Asking {
    table: Arc<Table>,
    questions: Arc<Questions>,
}

impl Source for Asked {
    fn reader(&self, worker: WorkerId) -> Result<Box<dyn Reader>> {
        if !self.0.table.is_read_by(worker) {
            return Ok(Box::new(Bystander));
        }
        let asking = self.0.clone();
        let serve = move |tell: Tell<'_>, is_over: IsOver<'_>| asking.serve(tell, is_over);
        Ok(Box::new(Listener::new(self.0.table.clone(), ANSWERS_WAITING, true, serve)))
    }

    fn bounded(&self) -> bool {
        false
    }

    fn refreshes(&self) -> Option<Refreshes> {
        Some(*self.0.table.refreshes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn questions(&self) -> Option<Arc<Questions>> {
        Some(self.0.questions.clone())
    }
}

impl Asking {
    /// Asks for as long as anybody listens.
    fn serve(&self, tell: Tell<'_>, is_over: IsOver<'_>) {
        let (mut at_once, mut failed) = (KEYS_AT_ONCE, 0);
        loop {
            let answers = match self.questions.take(at_once, LOOK) {
                Ok(None) if is_over(Duration::ZERO) => return,
                Ok(None) => continue,
                Ok(Some(taken)) => self.ask(taken),
                Err(error) => Err(error),
            };
            let Err(error) = &answers else {
                (at_once, failed) = ((at_once * 2).min(KEYS_AT_ONCE), 0);
                if tell(answers) {
                    return;
                }
                continue;
            };
            // Of several keys it may be one that is refused: the others are found at once. One alone is told of.
            if at_once > 1 {
                tracing::debug!("{error}; asking for fewer rows");
                at_once = (at_once / 2).max(1);
                if is_over(SHORT_PAUSE) {
                    return;
                }
                continue;
            }
            failed += 1;
            if tell(answers) || is_over(pause_after(failed)) {
                return;
            }
        }
    }

    fn ask(&self, taken: Taken) -> Result<News> {
        let answers = self.answers(&taken.keys);
        if answers.is_err() {
            self.questions.put_back(taken);
        }
        self.table.noted(answers)
    }

    /// What becomes of the row with each key: `-1` there is none, `1` it is this; and how many there are.
    fn answers(&self, keys: &RecordBatch) -> Result<(News, u64)> {
        let options = FormatOptions::default();
        let texts = keys.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let texts: Vec<ArrayFormatter> = texts.collect::<Result<_, _>>()?;
        let text = |row| texts.iter().map(|column| column.value(row).to_string()).collect();
        let wanted: Vec<Vec<String>> = (0..keys.num_rows()).map(text).collect();
        let (found, mut faults) = self.table.rows(|take| self.table.fetch.find(&wanted, take))?;
        let of_key = |name: &String| -> Result<ArrayRef> {
            let column = found.column_by_name(name).cloned();
            let column = column.unwrap_or_else(|| new_null_array(&DataType::Null, found.num_rows()));
            let wanted = keys.column_by_name(name).map_or(DataType::Null, |key| key.data_type().clone());
            Ok(cast(&column, &wanted)?)
        };
        let found_keys: Vec<ArrayRef> = self.table.key.iter().map(of_key).collect::<Result<_>>()?;
        let places = self.questions.places(keys.columns(), &found_keys)?;
        let at: UInt64Array = places.iter().flatten().map(|place| *place as u64).collect();
        let unasked = found.num_rows() - at.len();
        if unasked > 0 {
            faults.push(format!("{unasked} rows have another key than was asked for, or that of another row"));
        }
        let schema = found.schema();
        let columns = schema.fields().iter().zip(found.columns()).map(|(field, column)| {
            let none = match keys.column_by_name(field.name()) {
                Some(key) => cast(key, field.data_type())?,
                None => new_null_array(field.data_type(), keys.num_rows()),
            };
            Ok(concat(&[&none, &take(column, &at, None)?])?)
        });
        let rows = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?;
        let diffs = std::iter::repeat_n(-1, keys.num_rows()).chain(std::iter::repeat_n(1, at.len()));
        let changes = Some((rows, Int64Array::from_iter_values(diffs)));
        Ok((News { changes, faults }, at.len() as u64))
    }
}
