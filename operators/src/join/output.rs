//! What a join says: pairs, and rows for themselves with what stands for the partner that they do not have.

use super::JoinKind;
use super::held::{Held, Shown};
use super::process::{Join, LEFT, Part, RIGHT};
use crate::aggregate::keyed::Keys;
use crate::evaluate::{dead_rows, evaluate_rows, fault};
use crate::operator::{DeadRow, Output};
use crate::rows::Rows;
use arrow::array::{Array, new_null_array};
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{and, is_not_null, not, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::cast::as_boolean_array;
use datafusion_common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::utils::collect_columns;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// So many pairs are looked at together, whatever two sides of one key would make.
pub(super) const PAIRS_AT_ONCE: usize = 65_536;

/// A row of the part that is taken in, and a held one.
#[derive(Default)]
pub(super) struct Pairs {
    own: Vec<u32>,
    held: Vec<u32>,
}

impl Pairs {
    pub fn push(&mut self, own: u32, held: u32) {
        self.own.push(own);
        self.held.push(held);
    }

    pub fn len(&self) -> usize {
        self.own.len()
    }

    fn keep(&mut self, keep: &BooleanArray) {
        let mut at = 0..keep.len();
        self.own.retain(|_| at.next().is_some_and(|at| keep.value(at)));
        at = 0..keep.len();
        self.held.retain(|_| at.next().is_some_and(|at| keep.value(at)));
    }
}

/// The condition of a pair beside its key, over no more columns than it reads.
pub(super) struct Filter {
    expr: Arc<dyn PhysicalExpr>,
    /// The columns of the left side that it reads, then those of the right side.
    pub columns: [Vec<usize>; 2],
    schema: SchemaRef,
}

impl Filter {
    /// For each of `pairs` pairs, given by the [`columns`](Self::columns), whether the condition holds. Those for which it
    /// cannot be computed go to `dead`, and do not.
    pub fn holds(&self, columns: Vec<ArrayRef>, pairs: usize, dead: Option<&mut Vec<DeadRow>>) -> Result<BooleanArray> {
        let rows = record_batch(&self.schema, columns, pairs)?;
        let (values, failed) = evaluate_rows(&self.expr, &rows)?;
        if let Some(dead) = dead {
            dead.extend(dead_rows(&rows, &failed));
        }
        let values = as_boolean_array(&values).map_err(fault)?;
        Ok((0..values.len()).map(|at| Some(values.is_valid(at) && values.value(at))).collect())
    }

    pub fn new(expr: &Arc<dyn PhysicalExpr>, sides: &[SchemaRef; 2]) -> Result<Filter> {
        let width = sides[LEFT].fields().len();
        let mut read: Vec<usize> = collect_columns(expr).into_iter().map(|column| column.index()).collect();
        read.sort_unstable();
        let fields = read.iter().map(|at| match at.checked_sub(width) {
            None => sides[LEFT].field(*at).clone(),
            Some(right) => sides[RIGHT].field(right).clone(),
        });
        let schema = Arc::new(Schema::new(fields.map(|f| f.with_nullable(true)).collect::<Vec<Field>>()));
        let narrowed = |e: Arc<dyn PhysicalExpr>| match (e.as_ref() as &dyn std::any::Any).downcast_ref::<Column>() {
            Some(column) => {
                let at = read.binary_search(&column.index()).unwrap_or(usize::MAX);
                Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
            }
            None => Ok(Transformed::no(e)),
        };
        let expr = expr.clone().transform_up(narrowed).data().map_err(fault)?;
        let (left, right): (Vec<usize>, Vec<usize>) = read.iter().partition(|at| **at < width);
        let right = right.into_iter().map(|at| at - width).collect();
        Ok(Filter { expr, columns: [left, right], schema })
    }
}

impl Join {
    /// Says what the pairs of `part` with held rows make, and notes that they met.
    pub(super) fn settle_pairs(&mut self, part: &mut Part, mut pairs: Pairs, output: &mut Output) -> Result<()> {
        self.filter_pairs(part, &mut pairs, output)?;
        if pairs.len() == 0 {
            return Ok(());
        }
        let other = 1 - part.side;
        if self.matched && self.judged[part.side] {
            for (own, held) in pairs.own.iter().zip(&pairs.held) {
                let met = &mut part.met[*own as usize];
                *met = met.saturating_add(self.held[other].counts[*held as usize]);
            }
        }
        if self.matched && self.judged[other] {
            let held_rows = &mut self.held[other];
            for (own, held) in pairs.own.iter().zip(&pairs.held) {
                let (matches, copies) = (&mut held_rows.matches[*held as usize], part.copies[*own as usize]);
                *matches = if part.retracted { matches.saturating_sub(copies) } else { matches.saturating_add(copies) };
                held_rows.columns.note(*held);
            }
            self.touched[other].extend(&pairs.held);
        }
        if self.pairs { self.send_pairs(part, &pairs, output) } else { Ok(()) }
    }

    fn filter_pairs(&self, part: &Part, pairs: &mut Pairs, output: &mut Output) -> Result<()> {
        let Some(filter) = self.filter.as_ref().filter(|_| pairs.len() > 0) else { return Ok(()) };
        let mut columns = Vec::new();
        for side in [LEFT, RIGHT] {
            columns.extend(self.columns_of(part, pairs, side, &filter.columns[side])?);
        }
        pairs.keep(&filter.holds(columns, pairs.len(), self.reports.then_some(&mut output.dead))?);
        Ok(())
    }

    fn send_pairs(&self, part: &Part, pairs: &Pairs, output: &mut Output) -> Result<()> {
        let counts = &self.held[1 - part.side].counts;
        let copies =
            |at: usize| part.copies[pairs.own[at] as usize] as usize * counts[pairs.held[at] as usize] as usize;
        let mut expanded = Pairs::default();
        let pairs = if (0..pairs.len()).all(|at| copies(at) == 1) {
            pairs
        } else {
            for at in 0..pairs.len() {
                expanded.own.extend(std::iter::repeat_n(pairs.own[at], copies(at)));
                expanded.held.extend(std::iter::repeat_n(pairs.held[at], copies(at)));
            }
            &expanded
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for side in [LEFT, RIGHT] {
            let all: Vec<usize> = (0..self.schemas[side].fields().len()).collect();
            columns.extend(self.columns_of(part, pairs, side, &all)?);
        }
        let diff = if part.retracted { -1 } else { 1 };
        self.send(columns, std::iter::repeat_n(diff, pairs.len()).collect(), output)
    }

    /// `columns` of a side for all pairs.
    fn columns_of(&self, part: &Part, pairs: &Pairs, side: usize, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        if side != part.side {
            return self.gathered(side, &pairs.held, columns);
        }
        let (own, numbers) = (UInt32Array::from(pairs.own.clone()), || {
            pairs.own.iter().map(|own| part.numbers[*own as usize]).collect::<Vec<_>>()
        });
        // A key is always told as it was first seen, so that a retraction repeats it bit for bit.
        let keys = if columns.iter().any(|at| *at < self.width) { self.keys.values(&numbers())? } else { Vec::new() };
        let column = |at: &usize| match *at < self.width {
            true => Ok(keys[*at].clone()),
            false => Ok(take(part.batch.rows.column(*at), &own, None)?),
        };
        columns.iter().map(column).collect()
    }

    /// `columns` of held rows.
    fn gathered(&self, side: usize, rows: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        gathered(&self.keys, &self.held[side], self.width, rows, columns)
    }

    /// Brings the standing of `rows` for themselves to what it should be, `expired` ones for the last time.
    pub(super) fn settle(&mut self, side: usize, rows: &[u32], expired: bool, output: &mut Output) -> Result<()> {
        let rows = if self.not_in() { self.settled_together(rows) } else { rows.to_vec() };
        let (mut told, mut diffs, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let mut later = Vec::new();
        for row in rows {
            let (before, now) = (self.held[side].shown[row as usize], self.standing(side, row, expired));
            let mut say = |shown: Shown, copies: i64| {
                let list = if copies < 0 { &mut told } else { &mut later };
                list.extend(std::iter::repeat_n((row, shown.mark), copies.unsigned_abs() as usize));
            };
            if before.mark == now.mark {
                say(now, i64::from(now.copies) - i64::from(before.copies));
            } else {
                say(before, -i64::from(before.copies));
                say(now, i64::from(now.copies));
            }
            self.held[side].shown[row as usize] = now;
        }
        diffs.resize(told.len(), -1i64);
        told.extend(later);
        diffs.resize(told.len(), 1);
        if told.is_empty() {
            return Ok(());
        }
        marks.extend(told.iter().map(|(_, mark)| *mark));
        let rows: Vec<u32> = told.into_iter().map(|(row, _)| row).collect();
        let all: Vec<usize> = (0..self.schemas[side].fields().len()).collect();
        let own = self.gathered(side, &rows, &all)?;
        self.send_own(side, own, diffs, marks, output)
    }

    /// All held rows of the left side where the set has become one that decides for all of them.
    fn settled_together(&mut self, rows: &[u32]) -> Vec<u32> {
        let now = self.set();
        if std::mem::replace(&mut self.set_before, now) == now {
            return rows.to_vec();
        }
        (0..self.held[LEFT].counts.len() as u32).collect()
    }

    /// How often a row is to be shown for itself.
    pub(super) fn standing(&self, side: usize, row: u32, expired: bool) -> Shown {
        let held = &self.held[side];
        let (count, number) = (held.counts[row as usize], held.numbers[row as usize]);
        let partner = if self.matched { held.matches[row as usize] > 0 } else { self.held[1 - side].total(number) > 0 };
        let shown = match self.kind {
            JoinKind::Inner => false,
            JoinKind::Mark => true,
            JoinKind::Semi => partner,
            JoinKind::Anti if self.not_in() => !partner && self.set().lets_pass(self.is_null(number)),
            JoinKind::Left | JoinKind::Right | JoinKind::Full | JoinKind::Anti => !partner && (expired || !self.finals),
        };
        Shown { copies: if shown { count } else { 0 }, mark: self.kind == JoinKind::Mark && partner }
    }

    /// Tells of rows that can have no partner.
    pub(super) fn send_alone(&self, side: usize, alone: &Batch, output: &mut Output) -> Result<()> {
        let diffs: Vec<i64> = (0..alone.num_rows()).map(|row| alone.diff(row)).collect();
        let marks = vec![false; alone.num_rows()];
        self.send_own(side, alone.rows.columns().to_vec(), diffs, marks, output)
    }

    /// Rows for themselves, with what stands for the other side.
    fn send_own(
        &self,
        side: usize,
        mut own: Vec<ArrayRef>,
        diffs: Vec<i64>,
        marks: Vec<bool>,
        output: &mut Output,
    ) -> Result<()> {
        let nulls = |side: usize| {
            let fields = self.schemas[side].fields();
            fields.iter().map(|field| new_null_array(field.data_type(), diffs.len())).collect::<Vec<_>>()
        };
        match self.kind {
            JoinKind::Semi | JoinKind::Anti => {}
            JoinKind::Mark => own.push(Arc::new(BooleanArray::from(marks))),
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full if side == LEFT => {
                own.extend(nulls(RIGHT));
            }
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                own = nulls(LEFT).into_iter().chain(own).collect();
            }
        }
        self.send(own, diffs, output)
    }

    fn send(&self, columns: Vec<ArrayRef>, diffs: Vec<i64>, output: &mut Output) -> Result<()> {
        let rows = record_batch(&self.schema, columns, diffs.len())?;
        let batch = if self.appends {
            if diffs.iter().any(|diff| *diff < 0) {
                return Err(Error::bug("a join of rows that only come takes one back"));
            }
            Batch::append(rows)
        } else {
            Batch::changes(rows, Int64Array::from(diffs))
        };
        output.send(0, Rows::unbounded(batch));
        Ok(())
    }
}

/// `columns` of held rows, whose keys are the first `width` columns.
pub(super) fn gathered(
    keys: &Keys,
    held: &Held,
    width: usize,
    rows: &[u32],
    columns: &[usize],
) -> Result<Vec<ArrayRef>> {
    let numbers = || rows.iter().map(|row| held.numbers[*row as usize]).collect::<Vec<_>>();
    let values = if columns.iter().any(|at| *at < width) { keys.values(&numbers())? } else { Vec::new() };
    let column = |at: &usize| match at.checked_sub(width) {
        None => Ok(values[*at].clone()),
        Some(own) => held.columns.gather(own, rows),
    };
    columns.iter().map(column).collect()
}

/// `columns` at the places that `rows` say one after the other, NULL where a row has none: the next row where it has one.
pub(super) fn spread(columns: Vec<ArrayRef>, rows: &[Option<u32>]) -> Result<Vec<ArrayRef>> {
    if rows.iter().all(Option::is_some) {
        return Ok(columns);
    }
    let mut next = 0..;
    let at: UInt32Array = rows.iter().map(|row| row.and_then(|_| next.next())).collect();
    Ok(columns.iter().map(|column| take(column, &at, None)).collect::<Result<_, _>>()?)
}

/// The rows of which none of `columns` is NULL, and the others if there are any.
pub(super) fn without_null(batch: &Batch, columns: impl Iterator<Item = usize>) -> Result<(Batch, Option<Batch>)> {
    let mut there: Option<BooleanArray> = None;
    for column in columns {
        let column = batch.rows.column(column);
        if column.null_count() > 0 {
            let known = is_not_null(column)?;
            there = Some(there.map_or(Ok(known.clone()), |there| and(&there, &known))?);
        }
    }
    match there {
        None => Ok((batch.clone(), None)),
        Some(there) => Ok((batch.filter(&there)?, Some(batch.filter(&not(&there)?)?))),
    }
}

/// Rows of the left side with NULLs in the place of the right side's columns.
pub(super) fn beside_nulls(schema: &SchemaRef, left: &RecordBatch, right: &SchemaRef) -> Result<RecordBatch> {
    let rows = left.num_rows();
    let nulls = right.fields().iter().map(|field| new_null_array(field.data_type(), rows));
    record_batch(schema, left.columns().iter().cloned().chain(nulls).collect(), rows)
}

pub(super) fn record_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
