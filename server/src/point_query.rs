//! The short way for point queries: `SELECT columns FROM view WHERE column = value [AND ..] [LIMIT n]`.
//!
//! Dashboards and programs ask these by the thousand, and planning costs far more than answering them. What such a
//! statement means is read off its syntax tree, the rows are filtered with Arrow's kernels, and everything that is not
//! exactly of this form, or whose values are not plainly of the column's type, takes the long way.

use arrow::array::{Array, ArrayRef, Datum, RecordBatch, RecordBatchOptions, Scalar, StringArray, UInt32Array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{CastOptions, cast_with_options, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, LimitClause, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::sync::Arc;
use thalweg_engine::view::Chunk;

/// A point query over one view.
#[derive(Clone, Debug)]
pub struct PointQuery {
    /// The view.
    pub view: String,
    /// The columns of the answer.
    pub schema: SchemaRef,
    columns: Vec<usize>,
    conditions: Vec<(usize, Operand)>,
    limit: Option<usize>,
}

/// What a column is compared with.
#[derive(Clone, Debug)]
enum Operand {
    /// A value of the column's type, an array of one.
    Value(ArrayRef),
    /// `$n`, from 0.
    Parameter(usize),
}

impl PointQuery {
    /// Reads `text`; `columns_of` tells the columns of a materialized view. `None`: it is another kind of statement.
    pub fn read(text: &str, columns_of: impl Fn(&str) -> Option<SchemaRef>) -> Option<PointQuery> {
        // A text without these words is not worth reading, and most statements with others are not either.
        let start = text.trim_start().get(..6)?;
        if !start.eq_ignore_ascii_case("select") || text.len() > 1_000 {
            return None;
        }
        let mut statements = Parser::parse_sql(&GenericDialect {}, text).ok()?;
        let Statement::Query(query) = statements.pop().filter(|_| statements.is_empty())? else { return None };
        let (select, limit) = plain(&query)?;
        let view = view_of(select)?;
        let view_schema = columns_of(&view)?;
        let (columns, schema) = projected(&select.projection, &view_schema)?;
        let mut conditions = Vec::new();
        collect(select.selection.as_ref()?, &view_schema, &mut conditions)?;
        Some(PointQuery { view, schema, columns, conditions, limit })
    }

    /// How many parameters it has, and of which types: those of the columns that they are compared with.
    pub fn parameters(&self, columns: &Schema) -> Vec<Option<DataType>> {
        let mut types = Vec::new();
        for (column, operand) in &self.conditions {
            if let Operand::Parameter(number) = operand {
                if *number >= types.len() {
                    types.resize(number + 1, None);
                }
                types[*number] = Some(columns.field(*column).data_type().clone());
            }
        }
        types
    }

    /// The rows of `chunks` that it asks for; `None` where a parameter is not plainly of its column's type.
    pub fn answer(&self, chunks: &[Chunk], parameters: &[ScalarValue]) -> Result<Option<Vec<RecordBatch>>, ArrowError> {
        let mut values = Vec::with_capacity(self.conditions.len());
        for (column, operand) in &self.conditions {
            let value = match operand {
                Operand::Value(value) => value.clone(),
                Operand::Parameter(number) => {
                    let Some(value) = parameters.get(*number).and_then(|value| value.to_array().ok()) else {
                        return Ok(None);
                    };
                    value
                }
            };
            values.push((*column, value));
        }
        // Numbers and times are compared many times faster than texts, and mostly leave few rows to compare.
        values.sort_by_key(|(_, value)| !value.data_type().is_primitive());
        let mut found = Vec::new();
        let mut wanted = self.limit.unwrap_or(usize::MAX);
        for chunk in chunks {
            if wanted == 0 {
                break;
            }
            let Some(matching) = matching(chunk, &values)? else { return Ok(None) };
            let rows = matching.len();
            if rows == 0 {
                continue;
            }
            let taken = self.columns.iter().map(|column| take(chunk.rows.column(*column), &matching, None));
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let rows =
                RecordBatch::try_new_with_options(self.schema.clone(), taken.collect::<Result<_, _>>()?, &options)?;
            let rows = rows.slice(0, rows.num_rows().min(wanted));
            wanted -= rows.num_rows();
            found.push(rows);
        }
        Ok(Some(found))
    }
}

/// Which rows meet all conditions; `None` where types differ. Each condition is asked only of the rows that met those
/// before it.
fn matching(chunk: &Chunk, values: &[(usize, ArrayRef)]) -> Result<Option<UInt32Array>, ArrowError> {
    if values.iter().any(|(column, value)| chunk.rows.column(*column).data_type() != value.data_type()) {
        return Ok(None);
    }
    let mut rows: Option<UInt32Array> = None;
    for (column, value) in values {
        let column = chunk.rows.column(*column);
        let asked = match &rows {
            Some(rows) => take(column, rows, None)?,
            None => column.clone(),
        };
        let equal = eq(&asked.as_ref() as &dyn Datum, &Scalar::new(value.clone()))?;
        let equal = if equal.null_count() > 0 { prep_null_mask_filter(&equal) } else { equal };
        let kept = equal.values().set_indices();
        rows = Some(match (&rows, &chunk.live) {
            (Some(rows), _) => kept.map(|row| rows.value(row)).collect(),
            (None, Some(live)) => kept.filter(|row| live.value(*row)).map(|row| row as u32).collect(),
            (None, None) => kept.map(|row| row as u32).collect(),
        });
    }
    Ok(rows)
}

/// The select of a query that is nothing but one, and its limit.
fn plain(query: &Query) -> Option<(&Select, Option<usize>)> {
    let unadorned = query.with.is_none()
        && query.order_by.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    let limit = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by }) if limit_by.is_empty() => {
            Some(whole_number(limit)?)
        }
        Some(_) => return None,
    };
    match query.body.as_ref() {
        SetExpr::Select(select) if unadorned => Some((select, limit)),
        _ => None,
    }
}

fn whole_number(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The one relation that a select reads, if it only picks rows and columns.
fn view_of(select: &Select) -> Option<String> {
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    let picks_only = ungrouped
        && select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && select.qualify.is_none()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty();
    let [from] = &select.from[..] else { return None };
    let TableFactor::Table { name, alias: None, args: None, sample: None, .. } = &from.relation else { return None };
    match &name.0[..] {
        [ObjectNamePart::Identifier(name)] if picks_only && from.joins.is_empty() => Some(folded(name)),
        _ => None,
    }
}

/// A name as DataFusion takes it: in lower case unless it is quoted.
fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn projected(items: &[SelectItem], view: &SchemaRef) -> Option<(Vec<usize>, SchemaRef)> {
    if let [SelectItem::Wildcard(options)] = items {
        let bare = options.opt_ilike.is_none()
            && options.opt_exclude.is_none()
            && options.opt_except.is_none()
            && options.opt_replace.is_none()
            && options.opt_rename.is_none();
        return bare.then(|| ((0..view.fields().len()).collect(), view.clone()));
    }
    let mut columns = Vec::with_capacity(items.len());
    let mut fields: Vec<Field> = Vec::with_capacity(items.len());
    for item in items {
        let (name, alias) = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => (name, None),
            SelectItem::ExprWithAlias { expr: Expr::Identifier(name), alias } => (name, Some(alias)),
            _ => return None,
        };
        let (at, field) = view.column_with_name(&folded(name))?;
        let field = field.clone().with_name(folded(alias.unwrap_or(name)));
        // Two columns of one name are an error on the long way.
        if fields.iter().any(|other| other.name() == field.name()) {
            return None;
        }
        columns.push(at);
        fields.push(field);
    }
    Some((columns, Arc::new(Schema::new(fields))))
}

/// The conditions of `a = 1 AND b = $1 ..`.
fn collect(expression: &Expr, view: &SchemaRef, conditions: &mut Vec<(usize, Operand)>) -> Option<()> {
    match expression {
        Expr::Nested(inner) => collect(inner, view, conditions),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            collect(left, view, conditions)?;
            collect(right, view, conditions)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (Expr::Identifier(name), Expr::Value(value)) = (left.as_ref(), right.as_ref()) else { return None };
            let (column, field) = view.column_with_name(&folded(name))?;
            conditions.push((column, operand(&value.value, field.data_type())?));
            Some(())
        }
        _ => None,
    }
}

/// A literal as a value of the column's type, where there is no doubt about it.
fn operand(value: &Value, column: &DataType) -> Option<Operand> {
    let text = match (value, column) {
        (Value::Placeholder(name), _) => {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            return Some(Operand::Parameter(number.checked_sub(1)?));
        }
        (Value::SingleQuotedString(text), DataType::Utf8 | DataType::Timestamp(_, None) | DataType::Date32) => text,
        (Value::Number(digits, false), column) if column.is_integer() && !digits.contains(['.', 'e', 'E']) => digits,
        _ => return None,
    };
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    let value = cast_with_options(&StringArray::from(vec![text.as_str()]), column, &exact).ok()?;
    (value.null_count() == 0).then_some(Operand::Value(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, BooleanArray, Int32Array};
    use arrow::datatypes::Int32Type;

    fn view() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("host", Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("a")])) as ArrayRef),
            ("status", Arc::new(Int32Array::from(vec![200, 200, 500, 500]))),
        ])
        .unwrap()
    }

    fn read(text: &str) -> Option<PointQuery> {
        PointQuery::read(text, |name| (name == "v").then(|| view().schema()))
    }

    fn rows(text: &str, parameters: &[ScalarValue]) -> usize {
        let chunks = [Chunk { rows: view(), live: None }];
        let found = read(text).unwrap().answer(&chunks, parameters).unwrap().unwrap();
        found.iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn rows_are_found_by_literals_and_parameters() {
        assert_eq!(rows("SELECT * FROM v WHERE host = 'a'", &[]), 2);
        assert_eq!(rows("select Status AS s from v where host = 'a' and (status = 500)", &[]), 1);
        assert_eq!(rows("select status from v where host = $1 limit 1", &[ScalarValue::from("a")]), 1);
        assert_eq!(rows("select status from v where host = 'c'", &[]), 0);
        assert_eq!(rows("select host from v where host = 'b' and status = 500", &[]), 0);
        assert_eq!(rows("select host from v where host = 'a' and status = 200 and host = 'a'", &[]), 1);
    }

    #[test]
    fn rows_that_were_retracted_are_not_found() {
        let live = Some(Arc::new(BooleanArray::from(vec![false, true, true, true])));
        let query = read("SELECT status FROM v WHERE host = 'a'").unwrap();
        let found = query.answer(&[Chunk { rows: view(), live }], &[]).unwrap().unwrap();
        assert_eq!(found[0].column(0).as_primitive::<Int32Type>().values(), &[500]);
    }

    #[test]
    fn a_parameter_of_another_type_takes_the_long_way() {
        let query = read("select status from v where status = $1").unwrap();
        let chunks = [Chunk { rows: view(), live: None }];
        assert!(query.answer(&chunks, &[ScalarValue::from("x")]).unwrap().is_none());
        assert_eq!(query.parameters(&view().schema()), [Some(DataType::Int32)]);
    }

    #[test]
    fn everything_else_takes_the_long_way() {
        for text in [
            "SELECT * FROM v",
            "SELECT * FROM w WHERE host = 'a'",
            "SELECT * FROM v WHERE host = 'a' OR host = 'b'",
            "SELECT * FROM v WHERE host <> 'a'",
            "SELECT * FROM v WHERE nope = 'a'",
            "SELECT * FROM v WHERE status = '200'",
            "SELECT * FROM v WHERE status = 99999999999",
            "SELECT count(*) FROM v WHERE host = 'a'",
            "SELECT host, host FROM v WHERE host = 'a'",
            "SELECT DISTINCT host FROM v WHERE host = 'a'",
            "SELECT * FROM v WHERE host = 'a' ORDER BY status",
            "SELECT * FROM v, v WHERE host = 'a'",
            "SELECT * FROM v AS x WHERE host = 'a'",
            "WITH v AS (SELECT 1) SELECT * FROM v WHERE host = 'a'",
            "SELECT * FROM v WHERE host = 'a'; SELECT 1",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
