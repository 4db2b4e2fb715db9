//! `exemplars(limit, rank, columns..)`: of each group the few rows of the highest rank, as JSON.
//!
//! It is planned beneath alerts, so that an event can show rows behind what an aggregate says; SQL does not know it. Which
//! rows it keeps depends on the rows alone: of one rank those of the greatest hash, so that any cut into batches, workers
//! and slices gives the same. Most rows that are kept give way to better ones soon: they are written as JSON when they are
//! asked for.

use super::alone::{Alone, Asked};
use crate::evaluate::{row_to_json, rows_to_json};
use crate::exchange::hash_rows;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    UInt64Array,
};
use arrow::compute::{cast, interleave_record_batch, take};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema, SchemaRef};
use datafusion_common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::sync::Arc;

/// What it is called.
pub const NAME: &str = "exemplars";

/// So many rows are taken in at a time: what the first of them are is known when the next come, of which most are left out.
const BLOCK_ROWS: usize = 512;
/// So many rows of blocks are held before those that are kept are written down, if the groups are few.
const BLOCK_ROWS_MAX: usize = 16 << 10;
/// Longer texts are cut, to so many characters.
const TEXT_CHARS_MAX: usize = 120;
/// Of a longer row the last columns are left out, in bytes of JSON.
const ROW_BYTES_MAX: usize = 800;

/// The function: `limit` is a literal, `rank` a number that tells which rows weigh most (NULL: least of all).
pub fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Exemplars { signature: Signature::variadic_any(Volatility::Immutable) }))
}

/// Rows as JSON objects of bounded size: long texts are cut, and the last columns of long rows left out.
pub(crate) fn short_json(rows: &RecordBatch) -> Vec<String> {
    let Ok(rows) = with_short_texts(rows) else { return vec!["{}".to_string(); rows.num_rows()] };
    let all = rows_to_json(&rows).into_iter().enumerate();
    all.map(|(row, json)| if json.len() > ROW_BYTES_MAX { fitting(&rows, row) } else { json }).collect()
}

fn fitting(rows: &RecordBatch, row: usize) -> String {
    let mut width = rows.num_columns();
    while width > 1 {
        width = width * 2 / 3;
        let columns: Vec<usize> = (0..width).collect();
        let json = rows.project(&columns).map(|rows| row_to_json(&rows, row)).unwrap_or_default();
        if json.len() <= ROW_BYTES_MAX {
            return json;
        }
    }
    "{}".to_string()
}

fn with_short_texts(rows: &RecordBatch) -> Result<RecordBatch> {
    let short = |column: &ArrayRef| -> Result<ArrayRef> {
        let texts = match column.data_type() {
            DataType::Utf8 => column.clone(),
            DataType::LargeUtf8 | DataType::Utf8View => cast(column, &DataType::Utf8)?,
            _ => return Ok(column.clone()),
        };
        let texts = texts.as_string::<i32>();
        if texts.iter().flatten().all(|text| text.len() <= TEXT_CHARS_MAX) {
            return Ok(Arc::new(texts.clone()));
        }
        let cut = |text: &str| match text.char_indices().nth(TEXT_CHARS_MAX) {
            Some(_) => text.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect(),
            None => text.to_string(),
        };
        Ok(Arc::new(texts.iter().map(|text| text.map(cut)).collect::<StringArray>()))
    };
    let columns = rows.columns().iter().map(short).collect::<Result<Vec<_>>>()?;
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
        Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true))
    });
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>())), columns)?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exemplars {
    signature: Signature,
}

impl AggregateUDFImpl for Exemplars {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "rows"), DataType::Binary, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Alone(Groups::new(&args)?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(&args)?))
    }
}

/// A row that is kept.
#[derive(Clone, Debug)]
struct Kept {
    rank: u64,
    hash: u64,
    row: Row,
}

#[derive(Clone, Debug)]
enum Row {
    /// In this block, at this place.
    At(u32, u32),
    Json(Box<str>),
}

impl Kept {
    fn order(&self) -> (u64, u64) {
        (self.rank, self.hash)
    }

    fn json(&self) -> &str {
        match &self.row {
            Row::Json(json) => json,
            Row::At(..) => "{}",
        }
    }
}

/// The rows of each group, those that weigh most first.
struct Groups {
    limit: usize,
    schema: SchemaRef,
    groups: Vec<Vec<Kept>>,
    /// Rows that were kept when they came.
    blocks: Vec<RecordBatch>,
    block_rows: usize,
}

impl Groups {
    fn new(args: &AccumulatorArgs) -> Result<Groups> {
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let limit = match args.exprs.first().map(|limit| limit.evaluate(&nothing)).transpose()? {
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(limit)))) => usize::try_from(limit).unwrap_or(0),
            _ => return plan_err!("how many exemplars are kept must be a literal"),
        };
        let columns = args.expr_fields.get(2..).unwrap_or_default();
        let columns = columns.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        Ok(Groups {
            limit,
            schema: Arc::new(Schema::new(columns.collect::<Vec<_>>())),
            groups: Vec::new(),
            blocks: Vec::new(),
            block_rows: 0,
        })
    }

    /// Whether a row of this rank may be among the first of its group: its hash, which says the rest, is dear.
    fn may_keep(&self, group: usize, rank: u64) -> bool {
        let best = &self.groups[group];
        best.len() < self.limit || best.last().is_some_and(|last| last.rank <= rank)
    }

    /// Whether a row of this order is among the first of its group.
    fn is_better(&self, group: usize, order: (u64, u64)) -> bool {
        let best = &self.groups[group];
        best.len() < self.limit || best.last().is_some_and(|last| last.order() < order)
    }

    /// Keeps a row that is among the first of its group.
    fn keep(&mut self, group: usize, kept: Kept) {
        let best = &mut self.groups[group];
        let at = best.partition_point(|other| other.order() >= kept.order());
        best.insert(at, kept);
        best.truncate(self.limit);
    }

    /// Keeps what is better of some rows, which are of these groups and have these ranks.
    fn offer(&mut self, rows: RecordBatch, of: impl Iterator<Item = (usize, u64)>) -> Result<()> {
        let (block, mut any) = (self.blocks.len() as u32, false);
        for (at, ((group, rank), hash)) in of.zip(hash_rows(rows.columns(), rows.num_rows())?).enumerate() {
            if self.is_better(group, (rank, hash)) {
                self.keep(group, Kept { rank, hash, row: Row::At(block, at as u32) });
                any = true;
            }
        }
        if any {
            self.block_rows += rows.num_rows();
            self.blocks.push(rows);
        }
        Ok(())
    }

    /// Writes down the rows that are kept, and lets go of the blocks where they lie.
    fn write_down(&mut self) -> Result<()> {
        let kept = self.groups.iter().flatten();
        let places: Vec<(usize, usize)> = kept
            .filter_map(|kept| match kept.row {
                Row::At(block, at) => Some((block as usize, at as usize)),
                Row::Json(_) => None,
            })
            .collect();
        let blocks = std::mem::take(&mut self.blocks);
        self.block_rows = 0;
        if places.is_empty() {
            return Ok(());
        }
        let rows = interleave_record_batch(&blocks.iter().collect::<Vec<_>>(), &places)?;
        let mut texts = short_json(&rows).into_iter();
        for kept in self.groups.iter_mut().flatten().filter(|kept| matches!(kept.row, Row::At(..))) {
            kept.row = Row::Json(texts.next().unwrap_or_default().into());
        }
        Ok(())
    }

    fn bytes_of(best: &[Kept], bytes: &mut Vec<u8>) {
        for kept in best {
            let json = kept.json();
            bytes.extend(kept.rank.to_le_bytes());
            bytes.extend(kept.hash.to_le_bytes());
            bytes.extend((json.len() as u32).to_le_bytes());
            bytes.extend(json.as_bytes());
        }
    }

    fn merge(&mut self, group: usize, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let (rank, rest) = bytes.split_first_chunk()?;
            let (hash, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let (rank, hash) = (u64::from_le_bytes(*rank), u64::from_le_bytes(*hash));
            if self.is_better(group, (rank, hash)) {
                self.keep(group, Kept { rank, hash, row: Row::Json(std::str::from_utf8(json).ok()?.into()) });
            }
            bytes = rest;
        }
        Some(())
    }
}

/// A number in an order of its own: NULL and what is no number before all others.
fn in_order(rank: Option<f64>) -> u64 {
    const SIGN: u64 = 1 << 63;
    match rank.filter(|rank| !rank.is_nan()).map(f64::to_bits) {
        None => 0,
        Some(bits) if bits & SIGN == 0 => bits | SIGN,
        Some(bits) => !bits,
    }
}

fn text_of(best: &[Kept]) -> String {
    format!("[{}]", best.iter().map(Kept::json).collect::<Vec<_>>().join(","))
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Vec::new);
        let [_, ranks, columns @ ..] = values else { return exec_err!("exemplars without a rank") };
        let ranks = ranks.as_primitive::<Float64Type>();
        let rank = |at: usize| in_order(ranks.is_valid(at).then(|| ranks.value(at)));
        let passes = |at: usize| opt_filter.is_none_or(|filter| filter.is_valid(at) && filter.value(at));
        for from in (0..group_indices.len()).step_by(BLOCK_ROWS) {
            let block = from..group_indices.len().min(from + BLOCK_ROWS);
            let hopeful: Vec<usize> =
                block.filter(|at| passes(*at) && self.may_keep(group_indices[*at], rank(*at))).collect();
            if hopeful.is_empty() {
                continue;
            }
            let places = UInt64Array::from_iter_values(hopeful.iter().map(|at| *at as u64));
            let rows = columns.iter().map(|column| take(column, &places, None)).collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(hopeful.len()));
            let rows = RecordBatch::try_new_with_options(self.schema.clone(), rows, &options)?;
            self.offer(rows, hopeful.iter().map(|at| (group_indices[*at], rank(*at))))?;
        }
        // What lies in blocks may be several times what is kept of it.
        if self.block_rows > BLOCK_ROWS_MAX.max(4 * self.limit * self.groups.len()) {
            self.write_down()?;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.write_down()?;
        let groups = emit_to.take_needed(&mut self.groups);
        let mut texts = StringBuilder::with_capacity(groups.len(), groups.len() * 256);
        groups.iter().for_each(|best| texts.append_value(text_of(best)));
        Ok(Arc::new(texts.finish()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.write_down()?;
        let groups = emit_to.take_needed(&mut self.groups);
        let mut states = BinaryBuilder::with_capacity(groups.len(), groups.len() * 256);
        let mut bytes = Vec::new();
        for best in &groups {
            bytes.clear();
            Groups::bytes_of(best, &mut bytes);
            states.append_value(&bytes);
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, Vec::new);
        for (group, state) in group_indices.iter().zip(values[0].as_binary::<i32>()) {
            if self.merge(*group, state.unwrap_or_default()).is_none() {
                return exec_err!("the state of exemplars is damaged");
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        let row = |kept: &Kept| size_of::<Kept>() + kept.json().len();
        let blocks: usize = self.blocks.iter().map(RecordBatch::get_array_memory_size).sum();
        blocks + self.groups.capacity() * size_of::<Vec<Kept>>() + self.groups.iter().flatten().map(row).sum::<usize>()
    }

    fn convert_to_state(&self, _values: &[ArrayRef], _filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("exemplars are combined before their state is taken")
    }
}

impl Asked for Groups {
    fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exemplars({})", self.limit)
    }

    fn answer_of_first(&mut self) -> Result<ScalarValue> {
        self.write_down()?;
        Ok(ScalarValue::Utf8(Some(text_of(self.groups.first().map_or(&[], Vec::as_slice)))))
    }

    fn state_of_first(&mut self) -> Vec<u8> {
        // What cannot be written down is an empty object.
        drop(self.write_down());
        let mut bytes = Vec::new();
        Groups::bytes_of(self.groups.first().map_or(&[], Vec::as_slice), &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use datafusion_physical_expr::PhysicalExpr;
    use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
    use datafusion_physical_expr::expressions::{col, lit};
    use proptest::prelude::*;

    fn schema() -> SchemaRef {
        let text = Field::new("note", DataType::Utf8, true);
        Arc::new(Schema::new(vec![Field::new("ms", DataType::Float64, true), text]))
    }

    fn aggregate(limit: i64) -> AggregateFunctionExpr {
        let column = |name: &str| col(name, &schema()).unwrap();
        let arguments: Vec<Arc<dyn PhysicalExpr>> = vec![lit(limit), column("ms"), column("ms"), column("note")];
        AggregateExprBuilder::new(function(), arguments).schema(schema()).alias("rows").build().unwrap()
    }

    fn values(rows: &[(Option<f64>, String)]) -> Vec<ArrayRef> {
        let ms: ArrayRef = Arc::new(rows.iter().map(|(ms, _)| *ms).collect::<Float64Array>());
        let notes: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, note)| note)));
        vec![Arc::new(Int64Array::from(vec![0; rows.len()])), ms.clone(), ms, notes]
    }

    fn texts(array: &ArrayRef) -> Vec<serde_json::Value> {
        array.as_string::<i32>().iter().map(|text| serde_json::from_str(text.unwrap()).unwrap()).collect()
    }

    fn row(ms: f64, note: &str) -> (Option<f64>, String) {
        (Some(ms), note.to_string())
    }

    #[test]
    fn the_greatest_rows_of_each_group_come_first() {
        let rows = [row(5.0, "a"), row(90.0, "b"), (None, "c".into()), row(-3.0, "d"), row(7.0, "e")];
        let mut groups = aggregate(2).create_groups_accumulator().unwrap();
        groups.update_batch(&values(&rows), &[0, 0, 1, 1, 0], None, 3).unwrap();
        let expected = serde_json::json!([
            [{"ms": 90.0, "note": "b"}, {"ms": 7.0, "note": "e"}], [{"ms": -3.0, "note": "d"}, {"note": "c"}], []]);
        assert_eq!(serde_json::Value::Array(texts(&groups.evaluate(EmitTo::All).unwrap())), expected);
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let note = "é".repeat(5_000);
        let mut one = aggregate(5).create_accumulator().unwrap();
        one.update_batch(&values(&vec![row(1.0, &note); 50])).unwrap();
        let ScalarValue::Utf8(Some(text)) = one.evaluate().unwrap() else { panic!("no text") };
        let shown: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!((shown.len(), shown[0]["note"].as_str().unwrap().chars().count()), (5, TEXT_CHARS_MAX));
        assert!(text.len() < 5 * ROW_BYTES_MAX && shown[4]["note"].as_str().unwrap().ends_with('…'));
        // Of a wide row the last columns are left out.
        let wide = (0..40).map(|at| (format!("c{at}"), Arc::new(StringArray::from(vec!["x".repeat(100)])) as ArrayRef));
        let json = short_json(&RecordBatch::try_from_iter(wide).unwrap());
        assert!(json[0].len() <= ROW_BYTES_MAX && json[0].starts_with(r#"{"c0":"#), "{json:?}");
    }

    proptest! {
        /// Whatever the cut into batches and workers, the rows are those that sorting all of them gives.
        #[test]
        fn any_cut_gives_the_same(
            rows in prop::collection::vec((prop::option::of(-3i8..3), 0u8..4, 0usize..3, 0usize..4), 1..60),
            limit in 1i64..6,
        ) {
            let row = |(ms, note, ..): &(Option<i8>, u8, usize, usize)| (ms.map(f64::from), format!("n{note}"));
            let all: Vec<_> = rows.iter().map(row).collect();
            let groups: Vec<usize> = rows.iter().map(|(_, _, group, _)| *group).collect();
            let mut whole = aggregate(limit).create_groups_accumulator().unwrap();
            whole.update_batch(&values(&all), &groups, None, 3).unwrap();
            let whole = texts(&whole.evaluate(EmitTo::All).unwrap());

            let mut merged = aggregate(limit).create_groups_accumulator().unwrap();
            for worker in 0..4 {
                let mut part = aggregate(limit).create_groups_accumulator().unwrap();
                let own: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].3 == worker).collect();
                for cut in own.chunks(3) {
                    let cut_rows: Vec<_> = cut.iter().map(|at| all[*at].clone()).collect();
                    let cut_groups: Vec<usize> = cut.iter().map(|at| groups[*at]).collect();
                    part.update_batch(&values(&cut_rows), &cut_groups, None, 3).unwrap();
                }
                part.update_batch(&values(&[]), &[], None, 3).unwrap();
                merged.merge_batch(&part.state(EmitTo::All).unwrap(), &[0, 1, 2], 3).unwrap();
            }
            prop_assert_eq!(&texts(&merged.evaluate(EmitTo::All).unwrap()), &whole);

            for (group, shown) in whole.iter().enumerate() {
                let mut ranks: Vec<f64> = (0..rows.len())
                    .filter(|at| groups[*at] == group)
                    .map(|at| all[at].0.unwrap_or(f64::NEG_INFINITY))
                    .collect();
                ranks.sort_by(|a, b| b.total_cmp(a));
                ranks.truncate(usize::try_from(limit).unwrap());
                let shown = shown.as_array().unwrap().iter();
                let shown: Vec<f64> = shown.map(|row| row["ms"].as_f64().unwrap_or(f64::NEG_INFINITY)).collect();
                prop_assert_eq!(shown, ranks);
            }
        }
    }
}
