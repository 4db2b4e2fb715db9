//! Constants: queries without FROM, and VALUES. All of them are computed from one row that a source gives once, so that they
//! are as durable as rows of any other source.

use super::{Lowered, Lowering, Place};
use crate::bind::Mode;
use arrow::array::{Array, ArrayRef, ListArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{EmptyRelation, Values, col};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use std::sync::Arc;
use thalweg_operators::filter::FilterSpec;
use thalweg_operators::plan::{OnBad, Plan, SourcePlan};
use thalweg_operators::project::ProjectSpec;
use thalweg_operators::unnest::UnnestSpec;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;
use thalweg_schemas::table::{Column, Origin, schema_of};
use thalweg_schemas::wanted::Wanted;

/// The connector of the source that `VALUES` and queries without FROM are computed from.
pub const CONNECTOR: &str = "once";
/// The source: no name that is written without quotes.
pub(crate) const SOURCE: &str = "$once";

/// Whether a source is the one that constants are computed from, or a further reading of it.
pub fn is_constant(source: &str) -> bool {
    source.strip_prefix(SOURCE).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// The source of the row that all constants are computed from.
pub(crate) fn source() -> SourcePlan {
    let columns = columns();
    SourcePlan {
        name: SOURCE.to_string(),
        connector: CONNECTOR.to_string(),
        options: Options::default(),
        format: None,
        format_options: Options::default(),
        wanted: vec![Wanted::Nothing; columns.len()],
        columns,
        generated: Vec::new(),
        key: Vec::new(),
        is_table: false,
        watermark: None,
        on_bad: OnBad::DeadLetter,
    }
}

/// A column that nobody reads: a row has one at least.
fn columns() -> Vec<Column> {
    vec![Column { name: "row".to_string(), data_type: DataType::Int64, nullable: false, origin: Origin::Field }]
}

fn row() -> Plan {
    Plan::Source { name: SOURCE.to_string(), schema: schema_of(&columns()) }
}

impl Lowering<'_> {
    /// What a query without FROM reads: one row, or none.
    pub(super) fn empty(&self, relation: &EmptyRelation) -> Result<Lowered> {
        let schema = relation.schema.as_arrow();
        if relation.produce_one_row && schema.fields().is_empty() {
            let lowered = Lowered::straight(row(), Mode::Append, vec![None], Some(Vec::new()));
            return Ok(Lowered { columns: Vec::new(), ..lowered });
        }
        let null = |field: &Arc<Field>| {
            let value = ScalarValue::try_from(field.data_type()).map_err(|error| Error::bug(error.to_string()))?;
            Ok(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>)
        };
        let exprs = schema.fields().iter().map(null).collect::<Result<Vec<_>>>()?;
        let nothing = Literal::new(ScalarValue::Boolean(Some(relation.produce_one_row)));
        let plan = Plan::Filter(FilterSpec { input: Box::new(row()), predicate: Arc::new(nothing) });
        Ok(computed(plan, exprs, Arc::new(schema.clone())))
    }

    /// `VALUES (..), (..)`: the rows are a list, unnested.
    pub(super) fn values(&self, values: &Values) -> Result<Lowered> {
        let fields = values.schema.as_arrow().fields();
        let columns = (0..fields.len()).map(|at| self.column(values, at)).collect::<Result<Vec<_>>>()?;
        // Under names of their own: columns of VALUES may have none, or any.
        let inner = fields.iter().enumerate();
        let inner = inner.map(|(at, field)| Arc::new(Field::new(format!("c{at}"), field.data_type().clone(), true)));
        let inner: arrow::datatypes::Fields = inner.collect();
        let bug = |error: arrow::error::ArrowError| Error::bug(error.to_string());
        let rows = StructArray::try_new(inner, columns, None).map_err(bug)?;
        let item = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        let list = ListArray::try_new(item.clone(), offsets, Arc::new(rows), None).map_err(bug)?;
        const LIST: &str = "values";
        let of_type = |data_type| Arc::new(Schema::new(vec![Field::new(LIST, data_type, true)]));
        let list_type = of_type(list.data_type().clone());
        let literal = Arc::new(Literal::new(ScalarValue::List(Arc::new(list))));
        let listed = ProjectSpec { input: Box::new(row()), exprs: vec![literal], schema: list_type };
        let unnested = of_type(item.data_type().clone());
        let spec = UnnestSpec { input: Box::new(Plan::Project(listed)), column: 0, schema: unnested.clone() };
        let logical = DFSchema::try_from(unnested).map_err(|error| Error::bug(error.to_string()))?;
        let field = |at: usize| self.physical(&get_field(col(LIST), format!("c{at}")), &logical);
        let exprs = (0..fields.len()).map(field).collect::<Result<_>>()?;
        let nullable = fields.iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
        Ok(computed(Plan::Unnest(spec), exprs, Arc::new(Schema::new(nullable.collect::<Vec<_>>()))))
    }

    /// What the rows have at place `at`.
    fn column(&self, values: &Values, at: usize) -> Result<ArrayRef> {
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let nothing = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one);
        let nothing = nothing.map_err(|error| Error::bug(error.to_string()))?;
        let translate = |error| crate::bind::messages::translate(error, self.scope, self.words);
        let value = |row: &Vec<datafusion::logical_expr::Expr>| {
            let expr = self.physical(&row[at], &DFSchema::empty())?;
            let value = expr.evaluate(&nothing).and_then(|value| value.into_array(1)).map_err(translate)?;
            ScalarValue::try_from_array(&value, 0).map_err(translate)
        };
        let wanted = values.schema.field(at).data_type();
        let cells = values.values.iter().map(value).collect::<Result<Vec<_>>>()?;
        let cells = cells.iter().map(|cell| cell.cast_to(wanted)).collect::<Result<Vec<_>, _>>().map_err(translate)?;
        ScalarValue::iter_to_array(cells).map_err(translate)
    }
}

fn computed(input: Plan, exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Lowered {
    let width = exprs.len();
    let plan = Plan::Project(ProjectSpec { input: Box::new(input), exprs, schema });
    let lowered = Lowered::straight(plan, Mode::Append, vec![None; width], None);
    Lowered { columns: (0..width).map(Place::Base).collect(), ..lowered }
}
