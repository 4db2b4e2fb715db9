//! Evaluating expressions over a batch such that one bad row spoils nothing but itself.

use crate::operator::DeadRow;
use arrow::array::{ArrayRef, UInt64Array, new_empty_array};
use arrow::compute::{concat, take_record_batch};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::error::{Error, Result};

/// The values of all `exprs` for those rows of `batch` for which each can be computed, and these rows.
///
/// The other rows go to `dead`, with the first reason.
pub(crate) fn evaluate(
    exprs: &[Arc<dyn PhysicalExpr>],
    batch: Batch,
    dead: &mut Vec<DeadRow>,
) -> Result<(Batch, Vec<ArrayRef>)> {
    let mut columns = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let (values, failed) = evaluate_rows(expr, &batch.rows)?;
        if !failed.is_empty() {
            dead.extend(dead_rows(&batch.rows, &failed));
            let rest = batch.take(&others(batch.num_rows(), &failed))?;
            return evaluate(exprs, rest, dead);
        }
        columns.push(values);
    }
    Ok((batch, columns))
}

/// A fault of DataFusion's kernels on values that were checked: a bug, not a bad row.
pub(crate) fn fault(error: datafusion_common::DataFusionError) -> Error {
    Error::bug(error.strip_backtrace().to_string())
}

/// The values of `expr` for the rows of `rows`, and the rows for which it failed, with the reason.
///
/// The values have one entry for every row; those of failed rows are NULL. Only when the batch as a whole fails is it
/// halved until the failing rows stand alone, so the usual case costs one evaluation.
pub fn evaluate_rows(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<(ArrayRef, Vec<(usize, String)>)> {
    match values_of(expr, rows) {
        Ok(values) => Ok((values, Vec::new())),
        Err(_) => {
            let data_type = expr.data_type(rows.schema_ref()).map_err(fault)?;
            let mut failed = Vec::new();
            let mut parts = Vec::new();
            halve(expr, rows, 0, &data_type, &mut parts, &mut failed);
            if parts.is_empty() {
                return Ok((new_empty_array(&data_type), failed));
            }
            Ok((concat(&parts.iter().map(|p| p.as_ref()).collect::<Vec<_>>())?, failed))
        }
    }
}

fn halve(
    expr: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    first: usize,
    data_type: &arrow::datatypes::DataType,
    parts: &mut Vec<ArrayRef>,
    failed: &mut Vec<(usize, String)>,
) {
    match values_of(expr, rows) {
        Ok(values) => parts.push(values),
        Err(reason) if rows.num_rows() <= 1 => {
            failed.push((first, reason));
            parts.push(arrow::array::new_null_array(data_type, rows.num_rows()));
        }
        Err(_) => {
            let half = rows.num_rows() / 2;
            halve(expr, &rows.slice(0, half), first, data_type, parts, failed);
            halve(expr, &rows.slice(half, rows.num_rows() - half), first + half, data_type, parts, failed);
        }
    }
}

fn values_of(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef, String> {
    let value = expr.evaluate(rows).and_then(|value| value.into_array(rows.num_rows()));
    value.map_err(|error| error.strip_backtrace().to_string())
}

/// The rows at the positions `failed`, as dead rows with their reasons.
pub fn dead_rows(rows: &RecordBatch, failed: &[(usize, String)]) -> Vec<DeadRow> {
    let dead = |(row, reason): &(usize, String)| DeadRow { row: row_to_json(rows, *row), reason: reason.clone() };
    failed.iter().map(dead).collect()
}

/// The rows of `rows` that are not at the positions `failed`, as indices.
pub fn others(rows: usize, failed: &[(usize, String)]) -> UInt64Array {
    let mut good = vec![true; rows];
    failed.iter().for_each(|(row, _)| good[*row] = false);
    UInt64Array::from_iter_values((0..rows as u64).filter(|row| good[*row as usize]))
}

/// All rows as JSON objects; what JSON cannot say is left out.
pub(crate) fn rows_to_json(rows: &RecordBatch) -> Vec<String> {
    let write = || -> Option<Vec<String>> {
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(rows).ok()?;
        writer.finish().ok()?;
        let lines: Vec<String> = String::from_utf8(writer.into_inner()).ok()?.lines().map(str::to_string).collect();
        Some(lines).filter(|lines| lines.len() == rows.num_rows())
    };
    // One that cannot be said does not take the others with it.
    write().unwrap_or_else(|| (0..rows.num_rows()).map(|row| row_to_json(rows, row)).collect())
}

/// One row as a JSON object; what JSON cannot say is left out.
pub fn row_to_json(rows: &RecordBatch, row: usize) -> String {
    let write = || -> Option<String> {
        let one = take_record_batch(rows, &UInt64Array::from(vec![row as u64])).ok()?;
        let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
        writer.write(&one).ok()?;
        writer.finish().ok()?;
        String::from_utf8(writer.into_inner()).ok()
    };
    write().map_or_else(|| String::from("{}"), |line| line.trim_end().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion_expr::Operator;
    use datafusion_physical_expr::expressions::{binary, col, lit};

    #[test]
    fn a_row_that_fails_fails_alone() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let values = Int64Array::from(vec![Some(1), Some(0), None, Some(4), Some(0)]);
        let rows = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(values)]).unwrap();
        let expr = binary(lit(100i64), Operator::Divide, col("a", &schema).unwrap(), &schema).unwrap();
        let (values, failed) = evaluate_rows(&expr, &rows).unwrap();
        let values: Vec<_> = values.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(values, [Some(100), None, None, Some(25), None]);
        assert_eq!(failed.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(others(5, &failed).values(), &[0, 2, 3]);
        let mut dead = Vec::new();
        let (batch, columns) = evaluate(&[expr], Batch::append(rows), &mut dead).unwrap();
        assert_eq!((batch.num_rows(), columns[0].len(), dead.len()), (3, 3, 2));
        assert_eq!(dead[0].row, r#"{"a":0}"#);
        assert!(dead[0].reason.contains("Divide by zero"), "{}", dead[0].reason);
    }
}
