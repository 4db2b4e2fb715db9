//! What the rows of a regular join take beyond their own bytes, through the operator: as it says in `thalweg.operators`, and
//! as the process grows; and what is left when all of them have been taken back.

use crate::serving::Outcome;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use thalweg_operators::join::{Join, JoinKind, JoinSpec, NullKeys};
use thalweg_operators::operator::{Operator, Output, Times};
use thalweg_operators::plan::{Plan, Read};
use thalweg_operators::rows::Rows;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};

/// Rows that come in one epoch.
const LOT: usize = 8_192;
/// A number that rows of one key do not lie beside each other by.
const STRIDE: usize = 7_919;

/// What came out.
#[derive(Clone, Debug)]
pub struct Figure {
    /// How rows come and how many have one key.
    pub case: String,
    /// Rows of both sides.
    pub rows: usize,
    /// Bytes of a row's values, as Arrow lays them out.
    pub own: usize,
    /// Bytes that the operator says it holds for a row.
    pub held: usize,
    /// Bytes by which the process has grown for a row, where the system tells.
    pub resident: Option<usize>,
    /// Bytes that the operator says it still holds for a row after all were taken back.
    pub left: Option<usize>,
}

/// Measures joins of `rows` rows on each side.
pub fn measure(rows: usize) -> Outcome<Vec<Figure>> {
    let cases = [("appends", false, 1), ("changes", true, 1), ("changes", true, 100)];
    cases.into_iter().map(|(how, retracts, of_a_key)| run(how, retracts, rows, of_a_key)).collect()
}

/// The figures as a table, in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut out = String::from(
        "| rows | of both sides | own bytes | beyond, as held | beyond, as the process grows | left when all are gone |\n|---|--:|--:|--:|--:|--:|\n",
    );
    let shown = |bytes: Option<i64>| bytes.map_or(String::new(), |bytes| bytes.to_string());
    for figure in figures {
        let beyond = |bytes: usize| bytes as i64 - figure.own as i64;
        out += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            figure.case,
            figure.rows,
            figure.own,
            beyond(figure.held),
            shown(figure.resident.map(beyond)),
            shown(figure.left.map(|bytes| bytes as i64)),
        );
    }
    out
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("price", DataType::Int64, false),
    ]))
}

fn spec(retracts: bool) -> JoinSpec {
    let source = |name: &str| Box::new(Plan::Source { name: name.to_string(), schema: schema() });
    let both = schema().fields().iter().chain(schema().fields()).cloned().collect::<Vec<_>>();
    JoinSpec {
        left: source("left"),
        right: source("right"),
        left_retracts: retracts,
        right_retracts: retracts,
        kind: JoinKind::Inner,
        keys: 1,
        nulls: NullKeys::MatchNothing,
        filter: None,
        within: None,
        horizons: [None, None],
        state_ttl_ns: None,
        schema: Arc::new(Schema::new(both)),
    }
}

/// Rows of one side, of which the other has none of the same keys: pairs are no state.
fn batch(side: usize, numbers: std::ops::Range<usize>, keys: usize) -> Outcome<RecordBatch> {
    let key = |number: usize| (2 * (number * STRIDE % keys) + side) as i64;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers.clone().map(key))),
        Arc::new(Int64Array::from_iter_values(numbers.clone().map(|number| number as i64))),
        Arc::new(StringArray::from_iter_values(numbers.clone().map(|number| format!("customer {number:011}")))),
        Arc::new(Int64Array::from_iter_values(numbers.map(|number| number as i64 % 997))),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

fn run(how: &str, retracts: bool, rows: usize, of_a_key: usize) -> Outcome<Figure> {
    let mut join = Join::new(&spec(retracts), if retracts { Read::Changes } else { Read::Finals }, true)?;
    let (keys, both) = ((rows / of_a_key).max(1), 2 * rows);
    let before = resident();
    let own = pour(&mut join, rows, keys, retracts.then_some(1))? / both;
    let grown = before.zip(resident()).map(|(before, now)| now.saturating_sub(before) / both);
    let held = join.state().bytes as usize / both;
    let left = match retracts {
        true => {
            pour(&mut join, rows, keys, Some(-1))?;
            Some(join.state().bytes as usize / both)
        }
        false => None,
    };
    Ok(Figure { case: format!("{how}, {of_a_key} of a key"), rows: both, own, held, resident: grown, left })
}

/// Lets rows of both sides come, or go by their differences; gives the bytes of their values.
fn pour(join: &mut Join, rows: usize, keys: usize, diff: Option<i64>) -> Outcome<usize> {
    let mut bytes = 0;
    for (epoch, first) in (0..rows).step_by(LOT).enumerate() {
        let (epoch, mut output) = (Epoch(epoch as u64), Output::default());
        for side in [0, 1] {
            let rows = batch(side, first..rows.min(first + LOT), keys)?;
            bytes += rows
                .columns()
                .iter()
                .map(|column| column.to_data().get_slice_memory_size())
                .sum::<Result<usize, _>>()?;
            let diffs = diff.map(|diff| vec![diff; rows.num_rows()].into());
            let rows = Rows::unbounded(Batch { rows, diffs });
            match side {
                0 => join.process(epoch, rows, &mut output)?,
                _ => join.process_second(epoch, rows, &mut output)?,
            }
        }
        join.finish_epoch(
            epoch,
            Times { before: Watermark::MIN, now: Watermark::MIN, reached: Watermark::MIN },
            &mut output,
        )?;
    }
    Ok(bytes)
}

/// Bytes of the process that are in memory: the second number of Linux's `statm`, in pages of 4 KiB.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * 4_096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_more_than_their_own_bytes_and_leave_little_behind() {
        let figures = measure(20_000).unwrap();
        assert_eq!(figures.len(), 3);
        assert!(figures.iter().all(|figure| figure.held > figure.own), "{figures:?}");
        assert!(figures.iter().filter_map(|figure| figure.left).all(|left| left < 100), "{figures:?}");
        assert_eq!(table(&figures).lines().count(), figures.len() + 2);
    }
}
