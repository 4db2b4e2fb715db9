//! The rows of one view on one worker: immutable Arrow chunks, and for each a bitmap of the rows that still count.
//!
//! An epoch's insertions become a chunk; its retractions clear bits. Several chunks of similar size are merged into one, as in a
//! tiered LSM tree, so that a row is rewritten a few times at most and a scan meets few chunks. A published version
//! shares the chunks; only bitmaps that changed are copied.

use arrow::array::{Array, BooleanArray, Int64Array, RecordBatch, UInt64Array, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortOptions, concat_batches, filter_record_batch, not, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::exchange::hash_rows;
use thalweg_operators::horizon::{behind, earliest};
use thalweg_operators::state::{Section, fresh_id};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// A chunk is not merged any further once it has this many rows.
const CHUNK_ROWS_MAX: usize = 1 << 16;

/// So many chunks of about one size become one: a row is copied a few times, and there are few chunks.
const CHUNKS_TOGETHER: usize = 4;

/// The rows of a view on one worker.
pub(crate) struct ViewStore {
    schema: SchemaRef,
    chunks: BTreeMap<u64, Chunk>,
    next_chunk: u64,
    /// Where the rows are, by hash; kept only from the first retraction on, since an append stream has none.
    index: Option<HashTable<Place>>,
}

struct Chunk {
    /// See [`thalweg_operators::state::Section::id`].
    section: u64,
    rows: RecordBatch,
    /// A hash a row, made when the index is first needed.
    hashes: Option<Vec<u64>>,
    live: Vec<bool>,
    live_rows: usize,
    bytes: u64,
    /// The bitmap as last published.
    mask: Option<Arc<BooleanArray>>,
    /// A time that no row is before, where rows go by their times and it has been looked for.
    earliest: Option<i64>,
}

#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    chunk: u64,
    row: u32,
}

/// The rows of a view on one worker as of one epoch; shared with the store, never changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    /// Its chunks.
    pub chunks: Vec<super::Chunk>,
    /// Rows that count.
    pub rows: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
    /// Whether these bytes are those of an operator.
    pub lent: bool,
}

impl Version {
    /// Rows that lie with an operator, in chunks of any size.
    pub fn lent(chunks: &[super::Chunk]) -> Version {
        let mut version = Version { lent: true, ..Version::default() };
        for super::Chunk { rows, live } in chunks {
            version.bytes += rows.get_array_memory_size() as u64;
            for from in (0..rows.num_rows()).step_by(CHUNK_ROWS_MAX) {
                let length = CHUNK_ROWS_MAX.min(rows.num_rows() - from);
                let live = live.as_ref().map(|live| Arc::new(live.slice(from, length)));
                let chunk = super::Chunk { rows: rows.slice(from, length), live };
                version.rows += chunk.len() as u64;
                version.chunks.push(chunk);
            }
        }
        version
    }

    /// The rows, each chunk filtered to those that count.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().map(super::Chunk::live_rows).collect()
    }
}

impl ViewStore {
    pub fn new(schema: SchemaRef) -> ViewStore {
        ViewStore { schema, chunks: BTreeMap::new(), next_chunk: 0, index: None }
    }

    /// Takes in the changes of one epoch, in any order.
    pub fn apply(&mut self, batches: &[Batch]) -> Result<()> {
        let mut inserted = Vec::new();
        let mut retracted = Vec::new();
        for batch in batches {
            let changes = batch.diffs.as_ref().filter(|diffs| diffs.values().iter().any(|diff| *diff != 1));
            let Some(diffs) = changes else {
                inserted.push(batch.rows.clone());
                continue;
            };
            let (mut plus, mut minus) = (Vec::new(), Vec::new());
            for (row, &diff) in diffs.values().iter().enumerate() {
                let target = if diff > 0 { &mut plus } else { &mut minus };
                target.extend(std::iter::repeat_n(row as u64, diff.unsigned_abs() as usize));
            }
            inserted.push(take_record_batch(&batch.rows, &UInt64Array::from(plus))?);
            retracted.push(take_record_batch(&batch.rows, &UInt64Array::from(minus))?);
        }
        inserted.retain(|rows| rows.num_rows() > 0);
        retracted.retain(|rows| rows.num_rows() > 0);
        if !retracted.is_empty() && self.index.is_none() {
            self.index = Some(self.build_index()?);
        }
        if !inserted.is_empty() {
            self.insert(concat_batches(&self.schema, &inserted)?)?;
        }
        for rows in &retracted {
            self.retract(rows)?;
        }
        self.merge()
    }

    /// Takes in the changes of one epoch, of a view that shows no row whose time, in `column`, is up to `bound`; gives them with
    /// what goes for that.
    pub fn apply_within(&mut self, batches: Vec<Batch>, column: usize, bound: i64) -> Result<Vec<Batch>> {
        let mut changes = Vec::with_capacity(batches.len() + 1);
        for batch in batches {
            let gone = behind(batch.rows.column(column), bound)?;
            changes.push(if gone.true_count() == 0 { batch } else { batch.filter(&not(&gone)?)? });
        }
        self.apply(&changes)?;
        for rows in self.take_behind(column, bound)? {
            let diffs = Int64Array::from_value(-1, rows.num_rows());
            changes.push(Batch::changes(rows, diffs));
        }
        Ok(changes)
    }

    /// Takes out the rows whose time is up to `bound`.
    fn take_behind(&mut self, column: usize, bound: i64) -> Result<Vec<RecordBatch>> {
        let mut taken = Vec::new();
        for (id, chunk) in &mut self.chunks {
            let earliest = match chunk.earliest {
                Some(earliest) => earliest,
                None => *chunk.earliest.insert(earliest(chunk.rows.column(column))?.unwrap_or(i64::MAX)),
            };
            if earliest > bound {
                continue;
            }
            let times = behind(chunk.rows.column(column), bound)?;
            let gone: Vec<usize> = (0..chunk.live.len()).filter(|row| chunk.live[*row] && times.value(*row)).collect();
            let rows = UInt64Array::from_iter_values(gone.iter().map(|row| *row as u64));
            taken.push(take_record_batch(&chunk.rows, &rows)?);
            for row in gone {
                chunk.live[row] = false;
                chunk.live_rows -= 1;
                if let (Some(index), Some(hashes)) = (&mut self.index, &chunk.hashes)
                    && let Ok(entry) = index.find_entry(hashes[row], |p| p.chunk == *id && p.row == row as u32)
                {
                    entry.remove();
                }
            }
            chunk.mask = None;
            // Of those that are left the earliest is behind the bound.
            chunk.earliest = Some(bound.saturating_add(1));
        }
        taken.retain(|rows| rows.num_rows() > 0);
        if !taken.is_empty() {
            self.chunks.retain(|_, chunk| chunk.live_rows > 0);
            self.merge()?;
        }
        Ok(taken)
    }

    /// The rows as they are now.
    pub fn version(&mut self) -> Version {
        let mut version = Version::default();
        for chunk in self.chunks.values_mut() {
            version.rows += chunk.live_rows as u64;
            version.bytes += chunk.bytes;
            version.chunks.push(super::Chunk { rows: chunk.rows.clone(), live: chunk.mask() });
        }
        version
    }

    fn build_index(&mut self) -> Result<HashTable<Place>> {
        let mut index = HashTable::with_capacity(self.chunks.values().map(|c| c.live_rows).sum());
        for (&id, chunk) in &mut self.chunks {
            add_places(&mut index, id, chunk)?;
        }
        Ok(index)
    }

    fn insert(&mut self, rows: RecordBatch) -> Result<()> {
        self.add_chunk(Chunk::new(rows, None))
    }

    /// Its rows for a checkpoint: each chunk, followed by the bitmap of the rows that still count if not all do.
    pub fn sections(&mut self) -> Vec<Section> {
        let mut sections = Vec::new();
        for chunk in self.chunks.values_mut() {
            let rows = chunk.rows.clone();
            sections.push(section(CHUNK, chunk.section, move || Ok(rows)));
            if let Some(mask) = chunk.mask() {
                sections.push(section(MASK, fresh_id(), move || {
                    let schema = Schema::new(vec![Field::new("live", DataType::Boolean, false)]);
                    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(mask.as_ref().clone())])?)
                }));
            }
        }
        sections
    }

    /// Takes in rows of an earlier run.
    pub fn restore(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        // Field names and metadata are those of this plan.
        self.insert(RecordBatch::try_new(self.schema.clone(), rows.columns().to_vec())?)
    }

    fn add_chunk(&mut self, mut chunk: Chunk) -> Result<()> {
        let id = self.next_chunk;
        self.next_chunk += 1;
        if let Some(index) = &mut self.index {
            add_places(index, id, &mut chunk)?;
        }
        self.chunks.insert(id, chunk);
        Ok(())
    }

    fn retract(&mut self, rows: &RecordBatch) -> Result<()> {
        for (row, &hash) in hashes_of(rows)?.iter().enumerate() {
            let place = self.find(rows, row, hash)?.ok_or_else(|| {
                Error::bug("a view was told to retract a row that is not in it")
                    .with_detail(format!("the row is {}", display_row(rows, row)))
            })?;
            if let Some(index) = &mut self.index
                && let Ok(entry) =
                    index.find_entry(hash, |p| p.hash == hash && p.chunk == place.chunk && p.row == place.row)
            {
                entry.remove();
            }
            if let Some(chunk) = self.chunks.get_mut(&place.chunk) {
                chunk.live[place.row as usize] = false;
                chunk.live_rows -= 1;
                chunk.mask = None;
            }
        }
        self.chunks.retain(|_, chunk| chunk.live_rows > 0);
        Ok(())
    }

    /// Where row `row` of `rows` lies. The row is in the view, so a single place with its hash is the one; only when
    /// several rows share the hash (copies of the row, or a collision) are they compared.
    fn find(&self, rows: &RecordBatch, row: usize, hash: u64) -> Result<Option<Place>> {
        let Some(index) = &self.index else { return Ok(None) };
        let mut places: Vec<Place> = index.iter_hash(hash).filter(|p| p.hash == hash).copied().collect();
        if places.len() <= 1 {
            return Ok(places.pop());
        }
        // Which of several copies goes must not depend on the layout of the table.
        places.sort_by_key(|p| (p.chunk, p.row));
        for place in places {
            let Some(chunk) = self.chunks.get(&place.chunk) else { continue };
            if same_row(&chunk.rows, place.row as usize, rows, row)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Merges the youngest chunks once there are several of a size, and rewrites half-empty ones.
    fn merge(&mut self) -> Result<()> {
        loop {
            let (mut together, mut rows, mut sparse) = (Vec::new(), 0, 0);
            let youngest = self.chunks.values().next_back().map_or(0, |chunk| chunk.live_rows);
            for (&id, chunk) in self.chunks.iter().rev() {
                rows += chunk.live_rows;
                if rows > CHUNK_ROWS_MAX || chunk.live_rows / CHUNKS_TOGETHER > youngest {
                    break;
                }
                together.push(id);
                sparse += usize::from(chunk.is_sparse());
            }
            if together.len() < CHUNKS_TOGETHER && (sparse == 0 || together.len() < 2) {
                break;
            }
            together.reverse();
            self.merge_chunks(&together)?;
        }
        // Retractions can empty chunks in the middle; one rewrite an epoch keeps the waste bounded.
        let sparse = self.chunks.iter().find(|(_, chunk)| chunk.is_sparse()).map(|(&id, _)| id);
        match sparse {
            Some(id) => self.merge_chunks(&[id]),
            None => Ok(()),
        }
    }

    /// Puts the rows that count of some chunks into one, in whose place they are found then.
    fn merge_chunks(&mut self, ids: &[u64]) -> Result<()> {
        let (mut rows, mut hashes) = (Vec::new(), self.index.is_some().then(Vec::new));
        let merged = self.next_chunk;
        self.next_chunk += 1;
        let mut next_row = 0;
        for id in ids {
            let Some(chunk) = self.chunks.remove(id) else { continue };
            if let (Some(index), Some(hashes), Some(own)) = (&mut self.index, &mut hashes, &chunk.hashes) {
                for (row, &hash) in own.iter().enumerate().filter(|(row, _)| chunk.live[*row]) {
                    let place = index.find_mut(hash, |p| p.hash == hash && p.chunk == *id && p.row == row as u32);
                    let place = place.ok_or_else(|| Error::bug("a row of a view is not in its index"))?;
                    (place.chunk, place.row) = (merged, next_row);
                    next_row += 1;
                    hashes.push(hash);
                }
            }
            rows.push(filter_record_batch(&chunk.rows, &BooleanArray::from(chunk.live))?);
        }
        self.chunks.insert(merged, Chunk::new(concat_batches(&self.schema, &rows)?, hashes));
        Ok(())
    }
}

impl Chunk {
    fn new(rows: RecordBatch, hashes: Option<Vec<u64>>) -> Chunk {
        let (live_rows, bytes) = (rows.num_rows(), rows.get_array_memory_size() as u64);
        let live = vec![true; live_rows];
        Chunk { section: fresh_id(), live, hashes, rows, live_rows, bytes, mask: None, earliest: None }
    }

    /// Whether most of its rows do not count any more.
    fn is_sparse(&self) -> bool {
        self.live_rows * 2 < self.rows.num_rows()
    }

    /// The rows that count; `None`: all.
    fn mask(&mut self) -> Option<Arc<BooleanArray>> {
        (self.live_rows < self.rows.num_rows()).then(|| {
            let live = &self.live;
            let mask = self.mask.get_or_insert_with(|| {
                Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(live.len(), |row| live[row]), None))
            });
            mask.clone()
        })
    }
}

/// The label of a chunk's rows in a checkpoint.
pub(crate) const CHUNK: &str = "chunk";
/// The label of the bitmap that belongs to the chunk before it.
pub(crate) const MASK: &str = "mask";

fn section(label: &str, id: u64, rows: impl FnOnce() -> Result<RecordBatch> + Send + 'static) -> Section {
    Section { label: label.to_string(), id, keys: 0, rows: Box::new(rows) }
}

fn hashes_of(rows: &RecordBatch) -> Result<Vec<u64>> {
    hash_rows(rows.columns(), rows.num_rows()).map_err(|e| Error::bug(e.to_string()))
}

fn add_places(index: &mut HashTable<Place>, id: u64, chunk: &mut Chunk) -> Result<()> {
    let hashes = match &mut chunk.hashes {
        Some(hashes) => hashes,
        None => chunk.hashes.insert(hashes_of(&chunk.rows)?),
    };
    index.reserve(chunk.live_rows, |p| p.hash);
    for (row, &hash) in hashes.iter().enumerate().filter(|(row, _)| chunk.live[*row]) {
        index.insert_unique(hash, Place { hash, chunk: id, row: row as u32 }, |p| p.hash);
    }
    Ok(())
}

fn same_row(left: &RecordBatch, left_row: usize, right: &RecordBatch, right_row: usize) -> Result<bool> {
    for (l, r) in left.columns().iter().zip(right.columns()) {
        let compare = make_comparator(l.as_ref(), r.as_ref(), SortOptions::default())?;
        if compare(left_row, right_row) != Ordering::Equal {
            return Ok(false);
        }
    }
    Ok(true)
}

fn display_row(rows: &RecordBatch, row: usize) -> String {
    let one = rows.slice(row, 1);
    let cell = |c: &Arc<dyn Array>| arrow::util::display::array_value_to_string(c, 0).unwrap_or_default();
    one.columns().iter().map(cell).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringArray, TimestampNanosecondArray};
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, false)]))
    }

    fn batch(changes: &[(Option<u8>, i64, i64)]) -> Batch {
        let keys = StringArray::from_iter(changes.iter().map(|c| c.0.map(|k| format!("k{k}"))));
        let values = Int64Array::from_iter_values(changes.iter().map(|c| c.1));
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
        Batch::changes(rows, Int64Array::from_iter_values(changes.iter().map(|c| c.2)))
    }

    fn contents(version: &Version) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        for batch in version.batches().unwrap() {
            rows.extend((0..batch.num_rows()).map(|row| display_row(&batch, row)));
        }
        rows.sort();
        rows
    }

    proptest! {
        #[test]
        fn a_version_is_the_sum_of_all_changes(
            epochs in proptest::collection::vec(
                proptest::collection::vec((proptest::option::of(0u8..4), 0i64..4, any::<bool>()), 0..30), 0..20),
        ) {
            let mut store = ViewStore::new(schema());
            let mut model: Vec<(Option<u8>, i64)> = Vec::new();
            let mut versions = Vec::new();
            for epoch in epochs {
                let mut changes = Vec::new();
                for (k, v, insert) in epoch {
                    if insert || model.is_empty() {
                        model.push((k, v));
                        changes.push((k, v, 1));
                    } else {
                        let (k, v) = model.swap_remove((v as usize * 7) % model.len());
                        // Retractions first: the order within an epoch must not matter.
                        changes.insert(0, (k, v, -1));
                    }
                }
                store.apply(&[batch(&changes)]).unwrap();
                let version = store.version();
                let mut expected: Vec<String> =
                    model.iter().map(|(k, v)| format!("{}, {v}", k.map_or(String::new(), |k| format!("k{k}")))).collect();
                expected.sort();
                prop_assert_eq!(contents(&version), expected.clone());
                prop_assert_eq!(version.rows as usize, model.len());
                versions.push((version, expected));
            }
            // Later changes leave earlier versions alone.
            for (version, expected) in versions {
                prop_assert_eq!(contents(&version), expected);
            }
        }
    }

    proptest! {
        /// Rows go by their times, and a change of one that has gone changes nothing.
        #[test]
        fn a_view_shows_what_is_not_behind(
            epochs in proptest::collection::vec(
                (proptest::collection::vec((proptest::option::of(0i64..60), 0usize..8, any::<bool>()), 0..20), 0i64..6), 1..25),
        ) {
            let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
            let schema = Arc::new(Schema::new(vec![Field::new("t", time, true), Field::new("v", DataType::Int64, false)]));
            let (mut store, mut model, mut told) = (ViewStore::new(schema.clone()), Vec::new(), BTreeMap::new());
            let mut bound = -1;
            for (changes, step) in epochs {
                bound += step;
                let (mut rows, mut diffs) = (Vec::new(), Vec::new());
                for (time, at, insert) in changes {
                    // What has gone from the view is still known to who computes it.
                    let (row, diff) = match insert || model.is_empty() {
                        true => ((time, 1), 1),
                        false => (model.swap_remove(at % model.len()), -1),
                    };
                    if diff > 0 {
                        model.push(row);
                    }
                    rows.push(row);
                    diffs.push(diff);
                }
                let times = TimestampNanosecondArray::from_iter(rows.iter().map(|row: &(Option<i64>, i64)| row.0));
                let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
                let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(times), Arc::new(values)]).unwrap();
                let said = store.apply_within(vec![Batch::changes(rows, Int64Array::from(diffs))], 0, bound).unwrap();
                for batch in said {
                    for row in 0..batch.num_rows() {
                        *told.entry(display_row(&batch.rows, row)).or_insert(0) += batch.diff(row);
                    }
                }
                told.retain(|_, times| *times != 0);
                let shown = |row: &&(Option<i64>, i64)| row.0.is_none_or(|time| time > bound);
                prop_assert_eq!(store.version().rows as usize, model.iter().filter(shown).count());
                prop_assert_eq!(told.values().sum::<i64>(), store.version().rows as i64);
                let contents = contents(&store.version());
                prop_assert!(told.iter().all(|(row, times)| contents.iter().filter(|line| *line == row).count() as i64 == *times));
            }
        }
    }

    #[test]
    fn many_small_epochs_leave_few_chunks() {
        let mut store = ViewStore::new(schema());
        for i in 0..1000 {
            store.apply(&[batch(&[(Some(1), i, 1)])]).unwrap();
        }
        assert!(store.chunks.len() < 16, "{} chunks", store.chunks.len());
    }

    #[test]
    fn retracting_what_is_not_there_is_an_error_that_shows_the_row() {
        let mut store = ViewStore::new(schema());
        let error = store.apply(&[batch(&[(Some(1), 7, -1)])]).unwrap_err();
        assert_eq!(error.detail.as_deref(), Some("the row is k1, 7"));
    }
}
