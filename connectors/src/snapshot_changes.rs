//! What changed between two readings of a table, by its primary key: of the one before it is enough to know a hash of each row.

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use thalweg_schemas::error::Result;

/// So many records that are no rows are kept as faults of one reading.
const FAULTS_MAX: usize = 100;

/// What a reading brought: nothing where all is as it was.
#[derive(Default)]
pub(super) struct News {
    pub changes: Option<(RecordBatch, Int64Array)>,
    /// Records that are no rows.
    pub faults: Vec<String>,
}

/// What is to be handed over of `rows`, which are all that there are now, and of records that are no rows; `before` is
/// what was handed over of those before.
pub(super) fn compare(
    rows: RecordBatch,
    mut bad: Vec<String>,
    key: &[String],
    before: &mut Option<Known>,
) -> Result<News> {
    let schema = rows.schema();
    let anew = before.as_ref().is_none_or(|known| known.schema != schema);
    let mut known = match before.take() {
        Some(known) if !anew => known,
        _ => Known::new(schema.clone(), key)?,
    };
    let (now, twice) = known.fingerprints(&rows)?;
    if twice > 0 {
        bad.push(format!("{twice} rows have the primary key of another one, the last of which counts"));
    }
    bad.truncate(FAULTS_MAX);
    let differs = now.iter().filter(|(key, (print, _))| known.rows.get(*key).is_none_or(|(before, _)| before != print));
    let mut changed: Vec<u64> = differs.map(|(_, (_, row))| *row).collect();
    changed.sort_unstable();
    let gone: Vec<&[u8]> = known.rows.keys().filter(|key| !now.contains_key(*key)).map(|key| &**key).collect();
    let changes = match anew || !changed.is_empty() || !gone.is_empty() {
        true => Some(known.changes(&rows, anew, &changed, &gone)?),
        false => None,
    };
    let faults = bad.iter().filter(|fault| !known.faults.contains(*fault)).cloned().collect();
    known.rows = now;
    known.faults = bad.into_iter().collect();
    *before = Some(known);
    Ok(News { changes, faults })
}

/// What was handed over of a table.
pub(super) struct Known {
    schema: SchemaRef,
    /// Where the key's columns are.
    key: Vec<usize>,
    keys: RowConverter,
    whole: RowConverter,
    /// By key, a hash of the row, and where it was.
    rows: BTreeMap<Box<[u8]>, (u128, u64)>,
    faults: BTreeSet<String>,
}

impl Known {
    fn new(schema: SchemaRef, key: &[String]) -> Result<Known> {
        let key: Vec<usize> = key.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        let field = |at: usize| SortField::new(schema.field(at).data_type().clone());
        Ok(Known {
            keys: RowConverter::new(key.iter().map(|at| field(*at)).collect())?,
            whole: RowConverter::new((0..schema.fields().len()).map(field).collect())?,
            key,
            schema,
            rows: BTreeMap::new(),
            faults: BTreeSet::new(),
        })
    }

    /// The rows by their keys, each with its hash and where it is; and how many have the key of another one.
    fn fingerprints(&self, rows: &RecordBatch) -> Result<(BTreeMap<Box<[u8]>, (u128, u64)>, usize)> {
        let of_key: Vec<ArrayRef> = self.key.iter().map(|at| rows.column(*at).clone()).collect();
        let (keys, whole) = (self.keys.convert_columns(&of_key)?, self.whole.convert_columns(rows.columns())?);
        let mut found = BTreeMap::new();
        for (row, (key, whole)) in keys.iter().zip(&whole).enumerate() {
            found.insert(key.data().into(), (hash(whole.data()), row as u64));
        }
        let twice = rows.num_rows() - found.len();
        Ok((found, twice))
    }

    /// The rows that changed and the keys that are gone, behind the mark that all before are gone where they come `anew`.
    fn changes(
        &self,
        rows: &RecordBatch,
        anew: bool,
        changed: &[u64],
        gone: &[&[u8]],
    ) -> Result<(RecordBatch, Int64Array)> {
        let (marks, at) = (usize::from(anew), UInt64Array::from(changed.to_vec()));
        let parser = self.keys.parser();
        let gone_keys = self.keys.convert_rows(gone.iter().map(|key| parser.parse(key)))?;
        let columns = rows.columns().iter().enumerate().map(|(position, column)| {
            let put = take(column, &at, None)?;
            let mark = new_null_array(column.data_type(), marks);
            let gone = match self.key.iter().position(|key| *key == position) {
                Some(key) => gone_keys[key].clone(),
                None => new_null_array(column.data_type(), gone.len()),
            };
            concat(&[&mark, &put, &gone])
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        let diffs = std::iter::repeat_n(0, marks).chain(std::iter::repeat_n(1, changed.len()));
        let diffs = Int64Array::from_iter_values(diffs.chain(std::iter::repeat_n(-1, gone.len())));
        let options = RecordBatchOptions::new().with_row_count(Some(diffs.len()));
        Ok((RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?, diffs))
    }
}

/// Long enough that no two rows of a table have the same by chance.
fn hash(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
