//! The keys of a table outside that rows wait for: asked by operators on workers' threads, answered by the table's reader.
//!
//! What is asked is kept until it is answered, however often reading fails. It is not kept over a crash: who waits is part
//! of the state, and asks again; what was answered in an epoch that is taken in once more is off the list before the reader
//! is asked for anything.

use crate::error::Result;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The questions about one table.
#[derive(Debug)]
pub struct Questions {
    schema: SchemaRef,
    rows: RowConverter,
    state: Mutex<State>,
    came: Condvar,
    askers: AtomicU32,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A key that somebody waits for.
type Question = (u32, OwnedRow);

#[derive(Debug, Default)]
struct State {
    /// What is not answered.
    open: BTreeSet<Question>,
    /// What nobody has gone to ask yet; some of it may be answered by now.
    queue: VecDeque<Question>,
}

/// Questions that somebody goes to ask.
#[derive(Debug)]
pub struct Taken {
    /// Each key once.
    pub keys: RecordBatch,
    questions: Vec<Question>,
}

/// How often a key was looked up whose answer was known, and how often not, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Rows that found an answer.
    pub hits: u64,
    /// Rows that had to wait for one.
    pub misses: u64,
}

impl Questions {
    /// About a table whose key has the columns of `schema`; an error where values of such a type cannot be told apart.
    pub fn new(schema: SchemaRef) -> Result<Questions> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?;
        let (state, came, askers) = (Mutex::default(), Condvar::new(), AtomicU32::new(0));
        Ok(Questions { schema, rows, state, came, askers, hits: AtomicU64::new(0), misses: AtomicU64::new(0) })
    }

    /// A number by which one who asks is known: the answer that one has is none for another.
    pub fn asker(&self) -> u32 {
        self.askers.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks for keys, given by their columns.
    pub fn ask(&self, asker: u32, keys: &[ArrayRef]) -> Result<()> {
        let rows = self.rows.convert_columns(keys)?;
        let mut state = self.state();
        for row in &rows {
            let question = (asker, row.owned());
            if state.open.insert(question.clone()) {
                state.queue.push_back(question);
            }
        }
        self.came.notify_all();
        Ok(())
    }

    /// The asker knows the answers for these keys, and waits for them no more.
    pub fn answered(&self, asker: u32, keys: &[ArrayRef]) -> Result<()> {
        let rows = self.rows.convert_columns(keys)?;
        let mut state = self.state();
        for row in &rows {
            state.open.remove(&(asker, row.owned()));
        }
        Ok(())
    }

    /// About `most` keys to be asked for, those first that have waited longest; `None` where there are none for as long as
    /// `patience` lasts.
    pub fn take(&self, most: usize, patience: Duration) -> Result<Option<Taken>> {
        let mut state = self.state();
        if state.queue.is_empty() {
            state = self.came.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut keys, mut questions) = (BTreeSet::new(), Vec::new());
        while keys.len() < most
            && let Some(question) = state.queue.pop_front()
        {
            if state.open.contains(&question) {
                keys.insert(question.1.clone());
                questions.push(question);
            }
        }
        drop(state);
        if questions.is_empty() {
            return Ok(None);
        }
        let columns = self.rows.convert_rows(keys.iter().map(OwnedRow::row))?;
        Ok(Some(Taken { keys: RecordBatch::try_new(self.schema.clone(), columns)?, questions }))
    }

    /// These could not be asked, and are asked again behind all others.
    pub fn put_back(&self, taken: Taken) {
        self.state().queue.extend(taken.questions);
    }

    /// Whether nobody waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.state().open.is_empty()
    }

    /// Counts rows by whether their key's answer was known.
    pub fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// Which of `keys` are among `found`, both given by their columns, by the last place in `found`.
    pub fn places(&self, keys: &[ArrayRef], found: &[ArrayRef]) -> Result<Vec<Option<usize>>> {
        let (keys, found) = (self.rows.convert_columns(keys)?, self.rows.convert_columns(found)?);
        let by_key: BTreeMap<_, usize> = found.iter().zip(0..).collect();
        Ok(keys.iter().map(|key| by_key.get(&key).copied()).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use std::sync::Arc;

    fn questions() -> Questions {
        Questions::new(Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)]))).unwrap()
    }

    fn keys(keys: &[i64]) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(keys.to_vec()))]
    }

    fn taken(questions: &Questions, most: usize) -> Option<(Taken, Vec<i64>)> {
        let taken = questions.take(most, Duration::ZERO).unwrap()?;
        let values = taken.keys.column(0).as_primitive::<Int64Type>().values().to_vec();
        Some((taken, values))
    }

    #[test]
    fn a_key_is_asked_for_once_until_it_is_answered() {
        let questions = questions();
        let (a, b) = (questions.asker(), questions.asker());
        questions.ask(a, &keys(&[1, 2, 3])).unwrap();
        questions.ask(a, &keys(&[2])).unwrap();
        questions.ask(b, &keys(&[2])).unwrap();
        let (first, values) = taken(&questions, 2).unwrap();
        assert_eq!(values, [1, 2]);
        // What could not be asked comes again, behind the rest.
        questions.put_back(first);
        assert_eq!(taken(&questions, 2).unwrap().1, [2, 3]);
        assert_eq!(taken(&questions, 9).unwrap().1, [1, 2]);
        assert!(taken(&questions, 9).is_none());
        questions.answered(a, &keys(&[1, 2, 3])).unwrap();
        assert!(!questions.is_empty(), "b has not been answered");
        questions.answered(b, &keys(&[2])).unwrap();
        assert!(questions.is_empty());
        questions.ask(a, &keys(&[1])).unwrap();
        assert_eq!(taken(&questions, 9).unwrap().1, [1]);
    }

    #[test]
    fn what_was_answered_meanwhile_is_not_asked_for() {
        let questions = questions();
        let asker = questions.asker();
        questions.ask(asker, &keys(&[1, 2])).unwrap();
        questions.answered(asker, &keys(&[1])).unwrap();
        assert_eq!(taken(&questions, 9).unwrap().1, [2]);
    }

    #[test]
    fn the_last_row_of_a_key_is_its_place() {
        let places = questions().places(&keys(&[1, 2, 3]), &keys(&[3, 1, 3])).unwrap();
        assert_eq!(places, [Some(1), None, Some(2)]);
    }
}
